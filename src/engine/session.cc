#include "engine/session.h"

#include <algorithm>

namespace dsv4 {
namespace {

constexpr size_t kMaxCheckpoints = 4;

int64_t common_prefix(std::span<const int32_t> a, std::span<const int32_t> b) {
  return std::ranges::mismatch(a, b).in1 - a.begin();
}

}  // namespace

Session::Session(Model& model)
    : model_(model), state_(model.state_layout()), logits_({1, model.config().vocab_size}) {}

void Session::return_to_prefix(int64_t n_tokens) {
  while (!checkpoints_.empty() && checkpoints_.back().n_tokens > n_tokens) checkpoints_.pop_back();
  const auto n_now = static_cast<int64_t>(tokens_.size());
  if (n_now - n_tokens <= state_.max_rollback()) {
    state_.rollback(n_now - n_tokens);
  } else if (!checkpoints_.empty()) {
    state_ = SequenceState::restore(model_.state_layout(), checkpoints_.back().state, "checkpoint");
  } else {
    state_.clear();
  }
  tokens_.resize(static_cast<size_t>(state_.n_tokens()));
}

bool Session::sync(std::span<const int32_t> ids, const Progress& progress) {
  CHECK(!ids.empty());
  const auto n_total = static_cast<int64_t>(ids.size());
  // The last token is always computed: its logits are wanted.
  return_to_prefix(std::min(common_prefix(tokens_, ids), n_total - 1));
  const int64_t n_reused = state_.n_tokens();
  n_computed_ = 0;
  while (state_.n_tokens() < n_total) {
    const int64_t n = std::min(model_.options().max_batch_tokens, n_total - state_.n_tokens());
    const auto chunk = ids.subspan(static_cast<size_t>(state_.n_tokens()), static_cast<size_t>(n));
    Batch batch;
    batch.add(state_, chunk);
    const View<const float, 3> streams = model_.forward(batch);
    tokens_.insert(tokens_.end(), chunk.begin(), chunk.end());
    n_computed_ += n;
    if (state_.n_tokens() == n_total) model_.logits(streams.slice(n - 1, 1), logits_.view());
    if (progress && !progress(n_computed_, n_total - n_reused)) return false;
  }
  return true;
}

void Session::remember() {
  if (!checkpoints_.empty() && checkpoints_.back().n_tokens == state_.n_tokens()) return;
  if (checkpoints_.size() == kMaxCheckpoints) checkpoints_.erase(checkpoints_.begin());
  checkpoints_.push_back({state_.n_tokens(), state_.snapshot()});
}

}  // namespace dsv4
