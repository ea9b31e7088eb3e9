#include "engine/sequence.h"

#include <algorithm>
#include <utility>

namespace dsv4 {
namespace {

SamplingParams sampling_of(const Request& request, int64_t choice) {
  SamplingParams params = request.sampling;
  params.seed += static_cast<uint64_t>(choice);
  return params;
}

int64_t most_tokens(const Request& request, int64_t context) {
  const auto n_prompt = static_cast<int64_t>(request.prompt.size());
  const int64_t room = context - n_prompt;
  return n_prompt + (request.max_tokens > 0 ? std::min(request.max_tokens, room) : room);
}

}  // namespace

Sequence::Sequence(std::shared_ptr<const Request> request, std::shared_ptr<EventStream> stream,
                   int64_t choice, const Tokenizer& tokenizer, int64_t context)
    : request_(std::move(request)),
      stream_(std::move(stream)),
      choice_(choice),
      max_tokens_(most_tokens(*request_, context)),
      sampling_(sampling_of(*request_, choice)),
      constraint_(request_->constraint ? request_->constraint->clone() : nullptr),
      text_(tokenizer, SkipSpecial::kNo),
      stops_(request_->stop_strings) {
  if (request_->thinking) thinking_ = Thinking::kOpen;
}

void Sequence::begin_reply() {
  tokens_ = request_->prompt;
  if (sampling_.repetition_penalty != 1) counts_.add_prompt(tokens_);
}

bool Sequence::is_stop_id(int32_t id) const {
  return std::ranges::find(request_->stop_ids, id) != request_->stop_ids.end();
}

// Unless nothing else may come.
void Sequence::forbid_stops(std::vector<uint64_t>& allowed) const {
  const auto is_none = [](uint64_t word) { return word == 0; };
  std::vector<uint64_t> others = allowed;
  for (const int32_t id : request_->stop_ids) {
    const auto i = static_cast<size_t>(id);
    others[i / 64] &= ~(uint64_t{1} << (i % 64));
  }
  if (!std::ranges::all_of(others, is_none)) allowed = std::move(others);
}

std::span<const uint64_t> Sequence::allowed_tokens(SamplingScratch& scratch) {
  bool restricted = constraint_ != nullptr && constraint_->mask(scratch.allowed);
  if (must_answer_) {
    if (!restricted) std::ranges::fill(scratch.allowed, ~uint64_t{0});
    forbid_stops(scratch.allowed);
    restricted = true;
  }
  return restricted ? std::span<const uint64_t>(scratch.allowed) : std::span<const uint64_t>();
}

bool Sequence::extend(std::span<const float> logits, SamplingScratch& scratch) {
  if (tokens_.empty()) begin_reply();
  if (thinking_ == Thinking::kOpen && n_thinking_ >= request_->thinking->tokens) {
    close_reasoning();
    return !ended_;
  }
  SampledToken token =
      scratch.sampler.sample(logits, sampling_, counts_, n_tokens(), allowed_tokens(scratch));
  // A model that stops inside its reasoning has not answered yet.
  if (thinking_ == Thinking::kOpen && is_stop_id(token.id)) {
    close_reasoning();
  } else {
    add(std::move(token));
  }
  return !ended_;
}

void Sequence::close_reasoning() {
  for (const int32_t id : request_->thinking->closing) {
    if (!ended_) add({.id = id});
  }
  thinking_ = Thinking::kClosed;
  must_answer_ = true;
}

void Sequence::add(SampledToken token) {
  const int32_t id = token.id;
  tokens_.push_back(id);
  if (sampling_.has_penalties()) counts_.add_reply(id);
  if (constraint_) constraint_->accept(id);
  must_answer_ = false;
  if (thinking_ == Thinking::kOpen) {
    ++n_thinking_;
    if (id == request_->thinking->closing.back()) thinking_ = Thinking::kClosed;
  }
  const bool stops = is_stop_id(id);
  StreamEvent event{.choice = choice_, .token = std::move(token)};
  if (!stops) event.text = stops_.push(text_.push(id));
  stream_->push(std::move(event));
  if (stops) {
    end(EndReason::kStopId);
  } else if (stops_.stopped_by()) {
    end(EndReason::kStopString);
  } else if (n_tokens() >= max_tokens_) {
    end(EndReason::kLength);
  }
}

void Sequence::end(EndReason reason, std::string error) {
  std::string text = stops_.push(text_.finish());
  text += stops_.finish();
  ended_ = true;
  StreamEvent event{.kind = StreamEvent::Kind::kEnd,
                    .choice = choice_,
                    .text = std::move(text),
                    .reason = reason,
                    .error = std::move(error)};
  if (const auto stop = stops_.stopped_by()) event.stop_string = request_->stop_strings[*stop];
  stream_->push(std::move(event));
}

}  // namespace dsv4
