#include "engine/generator.h"

#include "base/error.h"

#include <algorithm>

#include <fmt/core.h>

namespace dsv4 {

const char* stop_reason_name(StopReason reason) {
  switch (reason) {
    case StopReason::kStopId:
    case StopReason::kStopString:
      return "stop";
    case StopReason::kLength:
      return "length";
    case StopReason::kCancelled:
      break;
  }
  return "cancelled";
}

Generator::Generator(Session& session, const Tokenizer& tokenizer, GenerationOptions options)
    : session_(session),
      options_(std::move(options)),
      context_(session.context()),
      stream_(tokenizer, SkipSpecial::kNo),
      stops_(options_.stop_strings) {}

bool Generator::start(std::span<const int32_t> prompt, const Session::Progress& progress) {
  if (prompt.empty()) {
    throw Error(ErrorCode::kInvalidInput, "prompt", "is empty; give at least one token");
  }
  if (static_cast<int64_t>(prompt.size()) >= context_) {
    throw Error(
        ErrorCode::kOutOfRange, "prompt",
        fmt::format("has {} tokens, the context length is {}; shorten it or raise --context",
                    prompt.size(), context_));
  }
  sequence_.assign(prompt.begin(), prompt.end());
  counts_.add_prompt(prompt);
  if (session_.sync(sequence_, progress)) return true;
  cancel();
  return false;
}

bool Generator::is_stop_id(int32_t id) const {
  return std::ranges::find(options_.stop_ids, id) != options_.stop_ids.end();
}

// The end of the reply: what the streams still hold.
Generator::Piece Generator::flush() {
  std::string text = stops_.push(stream_.finish());
  text += stops_.finish();
  return {std::nullopt, std::move(text)};
}

std::optional<Generator::Piece> Generator::next() {
  if (stop_reason_) return std::nullopt;
  const auto n_reply = static_cast<int64_t>(ids_.size());
  const auto n_all = static_cast<int64_t>(sequence_.size());
  if ((options_.max_tokens > 0 && n_reply >= options_.max_tokens) || n_all >= context_) {
    stop_reason_ = StopReason::kLength;
    return flush();
  }
  if (n_reply > 0) session_.sync(sequence_);
  Piece piece{sample(session_.logits(), options_.sampling, counts_, n_all), {}};
  const int32_t id = piece.token->id;
  ids_.push_back(id);
  sequence_.push_back(id);
  counts_.add_reply(id);
  if (is_stop_id(id)) {
    stop_reason_ = StopReason::kStopId;
    piece.text = flush().text;
    return piece;
  }
  piece.text = stops_.push(stream_.push(id));
  if (stops_.stopped_by()) stop_reason_ = StopReason::kStopString;
  return piece;
}

}  // namespace dsv4
