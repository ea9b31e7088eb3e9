// A file to which lines are appended: the access log, traces.
#pragma once

#include <mutex>
#include <optional>
#include <string>
#include <string_view>

namespace dsv4 {

// May be used from any thread. A line is one write, so that several processes may share a file.
class LogFile {
 public:
  // Appends to a file, which is made if need be; "-" is the standard output. Throws Error(kIo).
  explicit LogFile(std::string path);
  ~LogFile();
  LogFile(const LogFile&) = delete;
  LogFile& operator=(const LogFile&) = delete;

  // `line` ends with its line feed. A file that cannot be written is no reason to stop.
  void write(std::string_view line);
  // Opens the file anew, after it has been renamed. Where that fails the old one stays in use, and
  // what is wrong is returned.
  std::optional<std::string> reopen();

 private:
  int open() const;

  const std::string path_;
  std::mutex mutex_;
  int fd_ = -1;
};

}  // namespace dsv4
