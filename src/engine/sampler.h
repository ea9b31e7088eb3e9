// Logits to a token: biases, penalties, temperature, truncation, one counter-based draw.
#pragma once

#include "kernels/softmax.h"

#include <cstdint>
#include <map>
#include <span>
#include <unordered_map>
#include <vector>

namespace dsv4 {

// Applied in the order of the fields.
struct SamplingParams {
  std::map<int32_t, float> logit_bias = {};  // added to logits
  float repetition_penalty = 1;              // > 1 weakens tokens of prompt and reply
  float frequency_penalty = 0;               // subtracted per occurrence in the reply
  float presence_penalty = 0;                // subtracted once for a token of the reply
  float temperature = 1;                     // 0: the largest logit
  int64_t top_k = 0;                         // 0: all
  float top_p = 1;                           // smallest set of at least this probability
  float min_p = 0;                           // relative to the most probable token
  uint64_t seed = 0;
  int64_t n_logprobs = 0;  // most probable tokens to report; -1: not even the token's own

  // Whether it matters which tokens were there before.
  bool has_penalties() const {
    return repetition_penalty != 1 || presence_penalty != 0 || frequency_penalty != 0;
  }
  // Throws Error(kInvalidInput) naming the parameter that is out of its range.
  void validate() const;
};

struct TokenLogprob {
  int32_t id = 0;
  float logprob = 0;
};

struct SampledToken {
  int32_t id = 0;
  float logprob = 0;                   // under the model's own distribution
  std::vector<TokenLogprob> top = {};  // n_logprobs most probable, best first
};

// Counts what penalties depend on. Used by one sequence.
class TokenCounts {
 public:
  void add_prompt(std::span<const int32_t> ids);
  void add_reply(int32_t id) { ++counts_[id].reply; }

  struct Count {
    int64_t prompt = 0;
    int64_t reply = 0;
  };
  const std::unordered_map<int32_t, Count>& counts() const { return counts_; }

 private:
  std::unordered_map<int32_t, Count> counts_;
};

// Chooses tokens. Owns scratch memory of the size of the vocabulary; used by one thread at a time.
class Sampler {
 public:
  // The token for `position`. The draw depends on (seed, position) only, so that the same request
  // gives the same text whatever else runs. Equal logits: the lower id wins. `allowed`: bit i % 64
  // of word i / 64 says whether token i may come; empty: all may. Throws Error(kInvalidInput) where
  // it lets none come.
  SampledToken sample(std::span<const float> logits, const SamplingParams& params,
                      const TokenCounts& counts, int64_t position,
                      std::span<const uint64_t> allowed = {});

 private:
  std::span<const float> adjust(std::span<const float> logits, const SamplingParams& params,
                                const TokenCounts& counts, std::span<const uint64_t> allowed);
  int32_t draw_token(std::span<const float> logits, const SamplingParams& params, double random);

  std::vector<float> adjusted_;
  Softmax softmax_;
  std::vector<TokenLogprob> tokens_;  // the most probable ones
};

}  // namespace dsv4
