#include "engine/reply.h"

namespace dsv4 {

ReplyStream::ReplyStream(Session& session, const Tokenizer& tokenizer, GenerationOptions generation,
                         std::optional<LenientOptions> parsing)
    : generator_(session, tokenizer, std::move(generation)) {
  if (parsing) parser_.emplace(std::move(*parsing));
}

bool ReplyStream::start(std::span<const int32_t> prompt, const Session::Progress& progress) {
  return generator_.start(prompt, progress);
}

void ReplyStream::take_plain(std::string text, std::vector<ParseEvent>& events) {
  plain_.content += text;
  events.clear();
  events.push_back({ParseEvent::Kind::kContent, std::move(text)});
}

bool ReplyStream::next(std::vector<ParseEvent>& events) {
  events.clear();
  if (auto piece = generator_.next()) {
    if (piece->token) tokens_.push_back(std::move(*piece->token));
    if (parser_) {
      events = parser_->feed(piece->text);
    } else {
      take_plain(std::move(piece->text), events);
    }
    return true;
  }
  const bool ended = generator_.stop_reason() == StopReason::kStopId ||
                     generator_.stop_reason() == StopReason::kStopString;
  if (parser_) events = parser_->finish(ended ? FinishReason::kStop : FinishReason::kLength);
  return false;
}

}  // namespace dsv4
