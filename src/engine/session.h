// One conversation with a model: the caller gives the whole token sequence each time, the session
// decides what of its state it can reuse.
#pragma once

#include "model/model.h"

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

namespace dsv4 {

// Used by one thread at a time; the model must outlive it.
class Session {
 public:
  explicit Session(Model& model);

  // Called after each chunk of a long prompt: tokens done of those to compute. Returning false
  // stops the work; sync then returns false too and the session holds what was done.
  using Progress = std::function<bool(int64_t n_done, int64_t n_total)>;

  // Brings the state to exactly `ids` (not empty), reusing the longest common prefix that it can
  // return to, and computes the logits after the last one. Throws Error as Model::forward does.
  bool sync(std::span<const int32_t> ids, const Progress& progress = {});

  // Remembers the present state, so that a later sequence that diverges after it can return to it.
  void remember();

  // Logits after the last token; valid until the next sync.
  std::span<const float> logits() const { return logits_.view()[0].span(); }
  const std::vector<int32_t>& tokens() const { return tokens_; }
  // Most tokens that the sequence may have.
  int64_t context() const { return model_.state_layout().max_tokens; }
  // Tokens that the last sync computed; the others came from the state.
  int64_t n_computed() const { return n_computed_; }

 private:
  void return_to_prefix(int64_t n_tokens);
  void restore_for(int64_t n_tokens);

  Model& model_;
  SequenceState state_;
  std::vector<int32_t> tokens_;
  std::vector<StateCheckpoint> checkpoints_;  // by rising n_tokens, all prefixes of tokens_
  Tensor<float, 2> logits_;                   // [1, V]
  int64_t n_computed_ = 0;
};

}  // namespace dsv4
