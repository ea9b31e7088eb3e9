// Speed of the products by format and number of tokens, as the planner asks for it: weights that
// come from memory, since those of a model are read once in each step.
#pragma once

#include "bench/bench_weights.h"
#include "plan/machine.h"

#include <cstddef>
#include <cstdint>
#include <map>
#include <utility>
#include <vector>

namespace dsv4 {

struct ProductPlan {
  BenchShape shape;
  size_t memory_bytes = size_t{256} << 20;  // that weights lie in, far more than the caches
  std::vector<int64_t> n_tokens = {1, 4, 16, 64, 256};
  double seconds = 0.06;       // for each number of tokens, each time
  double step_seconds = 0.01;  // about, of the products between two looks at the clock
  int64_t min_matrices = 1;    // in each step: threads share out their rows
};

class ProductBench {
 public:
  ProductBench(Ops& ops, ProductPlan plan);

  // Measures a format with each number of tokens, one or more times.
  void measure(WeightFormat format);

  // Of all that was measured: medians over all steps, in the order of the first measurement.
  std::vector<ProductRate> rates() const;

 private:
  struct Samples {
    WeightFormat format;
    int64_t n_tokens = 0;
    std::vector<double> seconds_per_weight;
  };
  std::vector<double>& samples_of(WeightFormat format, int64_t n_tokens);

  Ops& ops_;
  ProductPlan plan_;
  std::vector<std::byte> memory_;
  std::vector<Samples> samples_;
};

// Seconds that a product takes besides its weights: the median of those of 128 x 128.
double product_call_seconds(Ops& ops, double seconds);

}  // namespace dsv4
