// Speed of the products by format and number of tokens, as the planner asks for it: weights that
// come from memory, since those of a model are read once in each step.
#pragma once

#include "bench/bench_weights.h"
#include "plan/machine.h"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

namespace dsv4 {

struct ProductPlan {
  BenchShape shape;
  size_t memory_bytes = size_t{256} << 20;  // that weights lie in, far more than the caches
  std::vector<int64_t> n_tokens = {1, 2, 4, 8, 12, 16, 24, 32, 64, 128, 512};
  double seconds = 0.06;       // for each number of tokens, each time
  double step_seconds = 0.01;  // about, of the products between two looks at the clock
  int64_t min_matrices = 1;    // in each step: threads share out their rows
};

class ProductBench {
 public:
  ProductBench(Ops& ops, ProductPlan plan);

  // Measures a format with each number of tokens. `read_roof` is asked before and after.
  void measure(WeightFormat format, const std::function<double()>& read_roof);

  // Of the calls of measure(), the one with the best memory: medians over its steps.
  std::vector<ProductRate> rates() const;

 private:
  // Of one call of measure().
  struct Round {
    WeightFormat format;
    double read = 0;
    std::vector<std::vector<double>> seconds_per_weight;  // as plan_.n_tokens
  };

  Ops& ops_;
  ProductPlan plan_;
  // In small pages, as a file that was just written; in huge ones products are up to a seventh
  // faster, of which a model shows little (docs/hardware.md).
  std::vector<std::byte> memory_;
  std::vector<Round> best_;  // by format, in the order of their first measurement
};

// Seconds that a product takes besides its weights: the median of those of 128 x 128.
double product_call_seconds(Ops& ops, double seconds);

}  // namespace dsv4
