#include "engine/reply.h"

#include <iterator>
#include <utility>

namespace dsv4 {
namespace {

bool ended_by_itself(EndReason reason) {
  return reason == EndReason::kStopId || reason == EndReason::kStopString;
}

void append(std::vector<ParseEvent>& events, std::vector<ParseEvent> more) {
  events.insert(events.end(), std::make_move_iterator(more.begin()),
                std::make_move_iterator(more.end()));
}

}  // namespace

const char* end_reason_name(EndReason reason) {
  switch (reason) {
    case EndReason::kStopId:
    case EndReason::kStopString:
      return "stop";
    case EndReason::kLength:
      return "length";
    case EndReason::kCancelled:
    case EndReason::kDeadline:
      return "cancelled";
    case EndReason::kError:
      break;
  }
  return "error";
}

Reply::Reply(std::optional<LenientOptions> parsing) {
  if (parsing) parser_.emplace(std::move(*parsing));
}

std::vector<int32_t> Reply::ids() const {
  std::vector<int32_t> ids;
  for (const SampledToken& token : tokens_) ids.push_back(token.id);
  return ids;
}

FinishReason Reply::finish_reason() const {
  if (parser_) return parser_->finish_reason();
  return reason_ && ended_by_itself(*reason_) ? FinishReason::kStop : FinishReason::kLength;
}

void Reply::take_text(std::string text, std::vector<ParseEvent>& events) {
  if (parser_) {
    append(events, parser_->feed(text));
  } else if (!text.empty()) {
    plain_.content += text;
    events.push_back({ParseEvent::Kind::kContent, std::move(text)});
  }
}

void Reply::take(StreamEvent event, std::vector<ParseEvent>& events) {
  switch (event.kind) {
    case StreamEvent::Kind::kStarted:
    case StreamEvent::Kind::kProgress:
    case StreamEvent::Kind::kPrompt:
      usage_ = event.usage;
      return;
    case StreamEvent::Kind::kToken:
      tokens_.push_back(std::move(*event.token));
      take_text(std::move(event.text), events);
      return;
    case StreamEvent::Kind::kEnd:
      reason_ = event.reason;
      error_ = std::move(event.error);
      take_text(std::move(event.text), events);
      if (!parser_) return;
      append(events, parser_->finish(ended_by_itself(event.reason) ? FinishReason::kStop
                                                                   : FinishReason::kLength));
  }
}

}  // namespace dsv4
