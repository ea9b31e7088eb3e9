// The one exception type of the project. Everything that a file, a request or the environment can
// cause is an Error; programmer errors are CHECKs (check.h).
#pragma once

#include <stdexcept>
#include <string>

namespace dsv4 {

enum class ErrorCode {
  kInvalidInput,  // malformed file, request, option or JSON
  kNotFound,      // a file or tensor that should be there is not
  kIo,            // the operating system refused
  kUnsupported,   // well-formed, but not something this build can do
  kOutOfRange,    // a limit (context length, rollback window, memory) is exceeded
};

// `message` says what was expected, what was found and what to do next; `where` names the file,
// tensor, byte offset or JSON path. what() is "where: message".
class Error : public std::runtime_error {
 public:
  Error(ErrorCode code, std::string where, const std::string& message)
      : std::runtime_error(where.empty() ? message : where + ": " + message),
        code_(code),
        where_(std::move(where)) {}

  ErrorCode code() const { return code_; }
  const std::string& where() const { return where_; }

 private:
  ErrorCode code_;
  std::string where_;
};

}  // namespace dsv4
