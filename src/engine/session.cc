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
  if (state_.n_tokens() - n_tokens > state_.max_rollback()) restore_for(n_tokens);
  state_.rollback(std::max<int64_t>(0, state_.n_tokens() - n_tokens));
  tokens_.resize(static_cast<size_t>(state_.n_tokens()));
  std::erase_if(checkpoints_,
                [&](const StateCheckpoint& c) { return c.n_tokens() > state_.n_tokens(); });
}

// Restores the checkpoint from which the most of the first `n_tokens` tokens can be reached.
void Session::restore_for(int64_t n_tokens) {
  const auto reaches = [&](const StateCheckpoint& c) { return c.oldest() <= n_tokens; };
  const auto best = std::find_if(checkpoints_.rbegin(), checkpoints_.rend(), reaches);
  if (best == checkpoints_.rend()) {
    state_.clear();
  } else {
    state_.restore(*best);
  }
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
  if (!checkpoints_.empty() && checkpoints_.back().n_tokens() == state_.n_tokens()) return;
  if (checkpoints_.size() == kMaxCheckpoints) checkpoints_.erase(checkpoints_.begin());
  checkpoints_.push_back(state_.checkpoint(state_.max_rollback()));
}

}  // namespace dsv4
