// Speed of a whole model: decoding at growing contexts and batches, prefill of prompts, and what a
// step reads and computes, so that speeds can be held against the machine's roofs.
#pragma once

#include "bench/timing.h"
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
  StepCost cost;
  Timing timing;

  double tokens_per_second() const { return static_cast<double>(n_tokens) / timing.seconds.value; }
  double bytes_per_second() const {
    return static_cast<double>(cost.bytes()) / timing.seconds.value;
  }
  double ops_per_second() const { return cost.ops / timing.seconds.value; }
};

// Measures steps of a model. Contexts are made of random entries instead of a prefill, which costs
// the same to attend to; token ids are random, so that experts vary.
class ModelBench {
 public:
  // Both must outlive it.
  ModelBench(Model& model, RoofMeter& meter);

  // Steps of one new token for each of `batch` sequences of `context` tokens.
  ModelRow decode(int64_t context, int64_t batch);
  // A prompt of n_tokens in passes of max_batch_tokens, with the logits of the last one.
  ModelRow prefill(int64_t n_tokens);

 private:
  ModelRow measure(const SlicePlan& plan, const std::function<double()>& step, int64_t context,
                   int64_t batch);
  StepCost cost_of(const std::vector<int64_t>& expert_runs, int64_t context, int64_t batch) const;
  std::vector<int32_t> random_ids(int64_t n);

  Model& model_;
  RoofMeter& meter_;
  StepCost fixed_;                     // weights that every step reads
  std::vector<int64_t> expert_bytes_;  // of one expert, by layer
  uint64_t n_drawn_ = 0;
};

// A sequence of `n_tokens` tokens with random entries.
SequenceState random_state(const StateLayout& layout, int64_t n_tokens);

}  // namespace dsv4
