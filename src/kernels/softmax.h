// Softmax over a vocabulary, for who chooses tokens. The same bits on every instruction set.
#pragma once

#include <span>
#include <vector>

namespace dsv4 {

// The largest number of x; -infinity where none is larger.
float largest_of(std::span<const float> x);

// Of logits: the probability of token i is weights[i] / total, weights within 1e-5 of their size, 0
// below e^-87 of the largest. What is not a number counts as -infinity. Where the largest logit is
// infinite (a broken model), those that equal it share all probability.
struct Softmax {
  std::vector<float> weights;
  double total = 0;
  float largest = 0;

  void compute(std::span<const float> logits);
  // The logarithm of the probability of a token with this logit.
  float logprob(float logit) const;

 private:
  double log_total_ = 0;
};

}  // namespace dsv4
