#include "server/access_log.h"

#include "base/error.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

#include <fmt/core.h>

namespace dsv4 {

std::string access_line(LogFormat format, const AccessRecord& record) {
  std::vector<LogField> fields = {
      {"time", log_time(record.unix_ms)}, {"id", record.id},
      {"key", record.key_name},           {"remote", record.remote},
      {"method", record.method},          {"path", record.path},
      {"status", record.status},          {"bytes", record.response_bytes}};
  const auto add = [&](const char* name, auto value) {
    if (value >= 0) fields.push_back({name, value});
  };
  add("duration_s", record.duration_s);
  add("ttft_s", record.first_token_s);
  add("tokens_in", record.tokens_in);
  add("tokens_cached", record.tokens_cached);
  add("tokens_out", record.tokens_out);
  fields.push_back({"client_gone", record.client_gone});
  return log_line(format, fields);
}

AccessLog::AccessLog(std::string file, LogFormat format)
    : file_(std::move(file)), format_(format), fd_(open_file()) {}

AccessLog::~AccessLog() {
  if (file_ != "-") ::close(fd_);
}

int AccessLog::open_file() const {
  if (file_ == "-") return STDOUT_FILENO;
  const int fd = ::open(file_.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640);
  if (fd >= 0) return fd;
  throw Error(ErrorCode::kIo, file_,
              fmt::format("cannot open the access log: {}", std::strerror(errno)));
}

void AccessLog::write(const AccessRecord& record) {
  const std::string line = access_line(format_, record);
  const std::lock_guard lock(mutex_);
  // A log that cannot be written is no reason to stop.
  static_cast<void>(!::write(fd_, line.data(), line.size()));
}

void AccessLog::reopen() {
  if (file_ == "-") return;
  const int fd = open_file();
  const std::lock_guard lock(mutex_);
  ::close(std::exchange(fd_, fd));
}

}  // namespace dsv4
