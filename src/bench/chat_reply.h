// One streamed chat completion as a client sees it.
#pragma once

#include "text/json.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace dsv4 {

struct ChatUsage {
  int64_t prompt = 0;
  int64_t cached = 0;  // of prompt
  int64_t completion = 0;
  int64_t reasoning = 0;  // of completion
};

// Used by one thread.
class ChatReply {
 public:
  // Takes the data of an event. Returns whether a part of the reply came with it. Throws
  // Error(kInvalidInput) for what is no chunk of a completion.
  bool take(const std::string& data);

  // Whether the reply came to its end: a reason and the mark of the end.
  bool complete() const { return done_ && !finish_.empty(); }
  const std::string& finish() const { return finish_; }
  const std::optional<ChatUsage>& usage() const { return usage_; }
  // What the server reported instead of a chunk, "" if nothing.
  const std::string& error() const { return error_; }

  // As an assistant's message of a later request.
  Json message() const;
  // Of the calls, in order.
  std::vector<std::string> call_ids() const;

 private:
  struct Call {
    std::string id;
    std::string name;
    std::string arguments;
  };

  bool take_delta(const Json& delta);
  void take_call(const Json& call, size_t position);
  void take_usage(const Json& usage);

  std::string content_;
  std::string reasoning_;
  std::vector<Call> calls_;
  std::string finish_;
  std::string error_;
  std::optional<ChatUsage> usage_;
  bool done_ = false;
};

}  // namespace dsv4
