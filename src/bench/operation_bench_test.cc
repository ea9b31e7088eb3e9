#include "bench/operation_bench.h"

#include "base/thread_pool.h"
#include "kernels/cpu/cpu_ops.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>
#include <string>

namespace dsv4 {
namespace {

TEST(OperationBench, fits_the_line_through_two_sizes) {
  // 3 microseconds and 100 units a microsecond; with many rows 400.
  const OperationRate rate =
      fit_operation({100, 4e-6}, {1000, 13e-6}, {64'000, 3e-6 + 64'000 / 400e6});
  EXPECT_NEAR(rate.call_s, 3e-6, 1e-12);
  EXPECT_NEAR(rate.one_row, 100e6, 1);
  EXPECT_NEAR(rate.many_rows, 400e6, 1);
}

TEST(OperationBench, fits_noisy_times_with_positive_numbers) {
  const OperationRate faster = fit_operation({100, 4e-6}, {1000, 2e-6}, {1000, 1e-6});
  EXPECT_DOUBLE_EQ(faster.call_s, 1e-9);
  EXPECT_DOUBLE_EQ(faster.one_row, 500e6);
  // A larger size that takes more than its share leaves nothing for the call.
  const OperationRate steep = fit_operation({100, 1e-6}, {200, 4e-6}, {1000, 1e-6});
  EXPECT_DOUBLE_EQ(steep.call_s, 1e-9);
  EXPECT_DOUBLE_EQ(steep.one_row, 50e6);
  // Many rows in less time than the call: half of it is theirs.
  const OperationRate call = fit_operation({100, 10e-6}, {200, 11e-6}, {1000, 8e-6});
  EXPECT_NEAR(call.call_s, 9e-6, 1e-12);
  EXPECT_NEAR(call.many_rows, 1000 / 4e-6, 1);
}

TEST(OperationBench, measures_every_operation_of_a_step) {
  ThreadPool pool(2);
  const auto ops = make_cpu_ops(pool);
  OperationBench bench(*ops, {.n_rows = 3, .n_threads = 2, .seconds = 0, .is_short = true});
  bench.measure();
  std::set<std::string> names;
  for (const auto& [name, rate] : bench.rates()) {
    names.insert(name);
    for (const double value : {rate.call_s, rate.one_row, rate.many_rows}) {
      EXPECT_TRUE(std::isfinite(value) && value > 0) << name << ": " << value;
    }
  }
  // As plan/step_cost.h lists them.
  const std::set<std::string> expected = {
      "rms_norm",   "head_norm", "scale_by_rms",   "hyper_connection_maps",
      "collapse",   "expand",    "rope",           "quantize_int8",
      "pool_slots", "hadamard",  "encode_entries", "indexer_scores",
      "top_k",      "attend",    "sqrt_softplus",  "swiglu",
      "add"};
  EXPECT_EQ(names, expected);
}

}  // namespace
}  // namespace dsv4
