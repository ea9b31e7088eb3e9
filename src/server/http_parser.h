// Bytes of a connection -> requests. Stricter than the standard allows: what two programs might
// read differently (lengths, transfer codings, hosts) is refused, so that no request can hide
// another one.
#pragma once

#include "server/http_message.h"
#include "server/http_options.h"

#include <cstddef>
#include <memory>
#include <optional>
#include <string>

namespace dsv4 {

// Parses one request; a new object is needed for the next one. Used by one thread.
class RequestParser {
 public:
  enum class Status {
    kNeedMore,
    kHeader,    // once, when all headers are there: request() without its body
    kComplete,  // what follows in the input belongs to the next request
    kProblem,   // problem() says what; nothing more can be parsed
  };

  explicit RequestParser(const HttpLimits& limits);
  ~RequestParser();
  RequestParser(const RequestParser&) = delete;
  RequestParser& operator=(const RequestParser&) = delete;

  // Goes on with the bytes at the front of `input` and removes those that it has used. The result
  // does not depend on how the bytes are cut into calls.
  Status advance(std::string& input);

  // From kHeader on.
  HttpRequest& request();
  bool has_body() const;
  bool expects_continue() const;
  size_t body_bytes() const;  // that have come

  const HttpProblem& problem() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace dsv4
