// One line for each request, when it is over.
#pragma once

#include "base/log.h"

#include <cstdint>
#include <mutex>
#include <string>

namespace dsv4 {

// What is not known stays at its default; negative numbers are left out of the line.
struct AccessRecord {
  int64_t unix_ms = 0;  // when the request came
  std::string id;
  std::string key_name;  // "" without API keys
  std::string remote;
  std::string method;
  std::string path;
  int status = 0;
  int64_t response_bytes = 0;
  double duration_s = -1;
  double first_token_s = -1;  // from the request to the first token
  int64_t tokens_in = -1;
  int64_t tokens_cached = -1;  // of tokens_in
  int64_t tokens_out = -1;
  bool client_gone = false;
};

std::string access_line(LogFormat format, const AccessRecord& record);

// May be used from any thread. A line is one write, so that several processes may share a file.
class AccessLog {
 public:
  // Appends to a file, which is made if need be; "-" is the standard output. Throws Error(kIo).
  AccessLog(std::string file, LogFormat format);
  ~AccessLog();
  AccessLog(const AccessLog&) = delete;
  AccessLog& operator=(const AccessLog&) = delete;

  void write(const AccessRecord& record);
  // Opens the file anew, after it has been renamed. The old one stays in use if that fails, with
  // Error(kIo).
  void reopen();

 private:
  int open_file() const;

  const std::string file_;
  const LogFormat format_;
  std::mutex mutex_;
  int fd_ = -1;
};

}  // namespace dsv4
