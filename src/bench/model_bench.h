// Speed of a whole model: decoding at growing contexts and batches, prefill of prompts, and what a
// step reads and computes, so that speeds can be held against the machine's roofs.
#pragma once

#include "model/model.h"
#include "model/param_count.h"

#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace dsv4 {

// What one step reads, and the products of weights that it makes.
struct StepCost {
  std::array<int64_t, kTensorClasses> weight_bytes{};  // by class; of the experts those that ran
  int64_t state_bytes = 0;                             // entries of the sequences
  double ops = 0;                                      // a product and its sum count as two

  int64_t bytes() const;
};

struct ModelRow {
  std::string work;      // "decode" or "prefill"
  int64_t context = 0;   // tokens that a sequence has before the step
  int64_t n_tokens = 0;  // of the step: sequences of a batch, or tokens of a prompt
  double seconds = 0;    // of one step, the median
  double spread = 0;     // (third quartile - first quartile) / median
  int64_t n_steps = 0;
  StepCost cost;

  double tokens_per_second() const { return static_cast<double>(n_tokens) / seconds; }
  double bytes_per_second() const { return static_cast<double>(cost.bytes()) / seconds; }
  double ops_per_second() const { return cost.ops / seconds; }
};

// Measures steps of a model. Contexts are made of random entries instead of a prefill, which costs
// the same to attend to; token ids are random, so that experts vary.
class ModelBench {
 public:
  explicit ModelBench(Model& model);

  // Steps of one new token for each of `batch` sequences of `context` tokens.
  ModelRow decode(int64_t context, int64_t batch);
  // A prompt of n_tokens in passes of max_batch_tokens, with the logits of the last one.
  ModelRow prefill(int64_t n_tokens);

 private:
  ModelRow measure(const std::function<double()>& step, int64_t min_steps, double min_seconds);
  StepCost cost_of(const std::vector<int64_t>& expert_runs, int64_t context, int64_t batch) const;
  std::vector<int32_t> random_ids(int64_t n);

  Model& model_;
  StepCost fixed_;                     // weights that every step reads
  std::vector<int64_t> expert_bytes_;  // of one expert, by layer
  uint64_t n_drawn_ = 0;
};

// A sequence of `n_tokens` tokens with random entries.
SequenceState random_state(const StateLayout& layout, int64_t n_tokens);

}  // namespace dsv4
