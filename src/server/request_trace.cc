#include "server/request_trace.h"

#include "engine/reply.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace dsv4 {
namespace {

double rounded_ms(RequestTrace::Clock::duration time) {
  return std::round(std::chrono::duration<double, std::micro>(time).count()) / 1000;
}

Json usage_json(const PromptUsage& usage) {
  return Json()
      .set("prompt", usage.n_prompt)
      .set("done", usage.n_done)
      .set("cached", usage.n_cached)
      .set("cached_disk", usage.n_cached_disk)
      .set("miss", usage.miss);
}

}  // namespace

RequestTrace::RequestTrace(std::string id, std::string path, Clock::time_point arrived)
    : id_(std::move(id)), path_(std::move(path)), arrived_(arrived) {}

double RequestTrace::ms_since_arrival() const { return rounded_ms(Clock::now() - arrived_); }

void RequestTrace::mark(const char* what, Json details) {
  Json event = Json().set("ms", ms_since_arrival()).set("what", what);
  if (!details.is_null()) event.set("details", std::move(details));
  events_.push_back(std::move(event));
}

void RequestTrace::encoded(const ApiRequest& request, const std::vector<Prompt>& prompts) {
  request_.set("model", request.model)
      .set("messages", request.messages)
      .set("n", request.n)
      .set("max_tokens", request.max_tokens)
      .set("temperature", double{request.sampling.temperature})
      .set("effort", effort_name(request.effort))
      .set("stream", request.stream);
  Json::Array lengths;
  for (const Prompt& prompt : prompts) {
    Json::Array boundaries;
    for (const int64_t boundary : prompt.boundaries) boundaries.push_back(boundary);
    lengths.push_back(Json()
                          .set("tokens", prompt.ids.size())
                          .set("boundaries", std::move(boundaries))
                          .set("replayed", prompt.n_replayed));
  }
  choices_.resize(prompts.size());
  mark("encoded", std::move(lengths));
}

RequestTrace::Choice& RequestTrace::choice(size_t prompt, int64_t index) {
  std::vector<Choice>& choices = choices_.at(prompt);
  const auto i = static_cast<size_t>(index);
  if (choices.size() <= i) choices.resize(i + 1);
  return choices[i];
}

void RequestTrace::take(size_t prompt, const StreamEvent& event) {
  Choice& reply = choice(prompt, event.choice);
  reply.text += event.text;
  switch (event.kind) {
    case StreamEvent::Kind::kStarted:
      return mark("started", usage_json(event.usage));
    case StreamEvent::Kind::kProgress:
      return mark("prompt piece", usage_json(event.usage));
    case StreamEvent::Kind::kPrompt:
      return mark("prompt computed", usage_json(event.usage));
    case StreamEvent::Kind::kToken: {
      const auto now = Clock::now();
      if (!reply.ids.empty()) reply.gaps_ms.push_back(rounded_ms(now - reply.last));
      if (reply.ids.empty()) mark("first token", Json());
      reply.last = now;
      reply.ids.push_back(event.token->id);
      return;
    }
    case StreamEvent::Kind::kEnd:
      reply.end = end_reason_name(event.reason);
      mark("end", Json().set("choice", event.choice).set("reason", reply.end));
  }
}

std::string RequestTrace::finish(int status, bool client_gone) {
  mark("answered", Json().set("status", status).set("client_gone", client_gone));
  Json::Array replies;
  for (std::vector<Choice>& choices : choices_) {
    for (Choice& reply : choices) {
      replies.push_back(Json()
                            .set("ids", std::move(reply.ids))
                            .set("gaps_ms", std::move(reply.gaps_ms))
                            .set("text", std::move(reply.text))
                            .set("end", std::move(reply.end)));
    }
  }
  Json line = Json().set("id", id_).set("path", path_).set("request", std::move(request_));
  line.set("events", std::move(events_)).set("replies", std::move(replies));
  return line.print() + "\n";
}

}  // namespace dsv4
