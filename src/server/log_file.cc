#include "server/log_file.h"

#include "base/error.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include <fmt/core.h>

namespace dsv4 {

LogFile::LogFile(std::string path) : path_(std::move(path)), fd_(open()) {}

LogFile::~LogFile() {
  if (path_ != "-") ::close(fd_);
}

int LogFile::open() const {
  if (path_ == "-") return STDOUT_FILENO;
  const int fd = ::open(path_.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640);
  if (fd >= 0) return fd;
  throw Error(ErrorCode::kIo, path_, fmt::format("cannot open the log: {}", std::strerror(errno)));
}

void LogFile::write(std::string_view line) {
  const std::lock_guard lock(mutex_);
  static_cast<void>(!::write(fd_, line.data(), line.size()));
}

std::optional<std::string> LogFile::reopen() {
  if (path_ == "-") return std::nullopt;
  try {
    const int fd = open();
    const std::lock_guard lock(mutex_);
    ::close(std::exchange(fd_, fd));
    return std::nullopt;
  } catch (const Error& error) {
    return error.what();
  }
}

}  // namespace dsv4
