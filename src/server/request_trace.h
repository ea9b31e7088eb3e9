// What happened to one request and when, for `dsv4 serve --trace`: one JSON object a request. It
// has the texts, so the file is as private as what users say.
#pragma once

#include "engine/event_stream.h"
#include "server/api_request.h"
#include "server/prompt.h"
#include "text/json.h"

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

namespace dsv4 {

// Used by one thread at a time.
class RequestTrace {
 public:
  using Clock = std::chrono::steady_clock;

  RequestTrace(std::string id, std::string path, Clock::time_point arrived);

  void encoded(const ApiRequest& request, const std::vector<Prompt>& prompts);
  void submitted() { mark("submitted", Json()); }
  // Every event of the engine; tokens are kept as ids with the milliseconds since the one before.
  void take(size_t prompt, const StreamEvent& event);
  // The line, with what the client was answered.
  std::string finish(int status, bool client_gone);

 private:
  struct Choice {
    Json::Array ids;
    Json::Array gaps_ms;
    std::string text;
    std::string end;
    Clock::time_point last;
  };

  double ms_since_arrival() const;
  void mark(const char* what, Json details);
  Choice& choice(size_t prompt, int64_t index);

  std::string id_;
  std::string path_;
  Clock::time_point arrived_;
  Json request_;
  Json::Array events_;
  std::vector<std::vector<Choice>> choices_;  // by prompt
};

}  // namespace dsv4
