// One line for each request, when it is over.
#pragma once

#include "base/log.h"
#include "server/log_file.h"

#include <cstdint>
#include <string>
#include <utility>

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
  int64_t tokens_cached = -1;   // of tokens_in
  const char* cache_miss = "";  // why not more of them (dsv4_prefix_cache_misses_total)
  int64_t tokens_out = -1;
  bool client_gone = false;
};

std::string access_line(LogFormat format, const AccessRecord& record);

// May be used from any thread.
class AccessLog {
 public:
  // Throws Error(kIo) as LogFile does.
  AccessLog(std::string path, LogFormat format) : file_(std::move(path)), format_(format) {}

  void write(const AccessRecord& record) { file_.write(access_line(format_, record)); }
  LogFile& file() { return file_; }

 private:
  LogFile file_;
  const LogFormat format_;
};

}  // namespace dsv4
