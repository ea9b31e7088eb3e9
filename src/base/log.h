// Log lines: a message and key=value fields, as text or as one JSON object each, to a descriptor.
#pragma once

#include <concepts>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>

namespace dsv4 {

enum class LogLevel { kInfo, kWarning, kError };
enum class LogFormat { kText, kJson };

// A value of a line. Numbers and truth values stand without quotes in JSON.
struct LogField {
  LogField(std::string_view k, std::string_view v) : key(k), value(v) {}
  LogField(std::string_view k, const std::string& v) : key(k), value(v) {}
  LogField(std::string_view k, const char* v) : key(k), value(v) {}
  LogField(std::string_view k, bool v) : key(k), value(v ? "true" : "false"), is_bare(true) {}
  LogField(std::string_view k, double v);  // "null" if it is not finite
  template <std::integral T>
  LogField(std::string_view k, T v) : key(k), value(std::to_string(v)), is_bare(true) {}

  std::string key;
  std::string value;
  bool is_bare = false;
};

// One line with its end. In text, values that have spaces, quotes or control characters are quoted
// as in JSON, so that a line has one meaning whatever a peer sent.
std::string log_line(LogFormat format, std::span<const LogField> fields);

// "2026-01-31T23:59:59.123Z".
std::string log_time(int64_t unix_ms);

// May be used from any thread. A line is one write to the descriptor.
class Log {
 public:
  explicit Log(LogLevel least = LogLevel::kInfo, LogFormat format = LogFormat::kText, int fd = 2)
      : least_(least), format_(format), fd_(fd) {}

  void write(LogLevel level, std::string_view message,
             std::initializer_list<LogField> fields = {}) const;
  void info(std::string_view message, std::initializer_list<LogField> fields = {}) const {
    write(LogLevel::kInfo, message, fields);
  }
  void warning(std::string_view message, std::initializer_list<LogField> fields = {}) const {
    write(LogLevel::kWarning, message, fields);
  }
  void error(std::string_view message, std::initializer_list<LogField> fields = {}) const {
    write(LogLevel::kError, message, fields);
  }

 private:
  const LogLevel least_;
  const LogFormat format_;
  const int fd_;
};

}  // namespace dsv4
