#include "base/log.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <ctime>
#include <vector>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

namespace dsv4 {
namespace {

std::string quoted(const std::string& text) {
  return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

bool is_plain(const std::string& text) {
  return !text.empty() && std::ranges::all_of(text, [](char c) {
    return c > ' ' && c < 0x7f && c != '"' && c != '\\' && c != '=';
  });
}

const char* level_name(LogLevel level) {
  constexpr const char* kNames[] = {"info", "warning", "error"};
  return kNames[static_cast<int>(level)];
}

}  // namespace

LogField::LogField(std::string_view k, double v)
    : key(k), value(std::isfinite(v) ? fmt::format("{:.6g}", v) : "null"), is_bare(true) {}

std::string log_line(LogFormat format, std::span<const LogField> fields) {
  std::string line;
  const bool is_json = format == LogFormat::kJson;
  for (const LogField& field : fields) {
    if (is_json) {
      line += line.empty() ? "{" : ",";
      line += quoted(field.key) + ":" + (field.is_bare ? field.value : quoted(field.value));
    } else {
      if (!line.empty()) line += ' ';
      line += field.key + "=" + (is_plain(field.value) ? field.value : quoted(field.value));
    }
  }
  line += is_json ? (line.empty() ? "{}\n" : "}\n") : "\n";
  return line;
}

std::string log_time(int64_t unix_ms) {
  const std::time_t seconds = unix_ms / 1000;
  std::tm utc{};
  ::gmtime_r(&seconds, &utc);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z", 1900 + utc.tm_year,
                     utc.tm_mon + 1, utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec,
                     unix_ms % 1000);
}

void Log::write(LogLevel level, std::string_view message,
                std::initializer_list<LogField> fields) const {
  if (level < least_) return;
  using std::chrono::milliseconds;
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  const int64_t unix_ms = std::chrono::duration_cast<milliseconds>(now).count();
  std::vector<LogField> all = {
      {"time", log_time(unix_ms)}, {"level", level_name(level)}, {"message", message}};
  all.insert(all.end(), fields);
  const std::string line = log_line(format_, all);
  // A log that cannot be written is no reason to stop.
  static_cast<void>(!::write(fd_, line.data(), line.size()));
}

}  // namespace dsv4
