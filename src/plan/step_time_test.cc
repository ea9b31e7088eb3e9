// Times of steps from speeds that were measured, against sums made by hand.
#include "plan/step_time.h"

#include "base/error.h"

#include <gtest/gtest.h>

namespace dsv4 {
namespace {

// Q8_0 reads 85 GB/s of 100 with one token, computes 1 ps + 1 ps for each token behind that.
Probe probe_of() {
  Probe probe;
  probe.product_call_s = 1e-6;
  for (const auto& [n, picoseconds] : {std::pair{1, 12.5}, {8, 13.0}, {16, 17.0}, {32, 33.0}}) {
    probe.products.push_back({"Q8_0", n, 1e12 / picoseconds, 100e9, 0});
  }
  return probe;
}

double seconds(double n_tokens, double read, const char* format = "Q8_0") {
  constexpr double kWeights = 1e9;
  return product_seconds(probe_of(), {format, n_tokens, 0, kWeights, 1.0625 * kWeights}, read) /
         kWeights * 1e12;
}

TEST(ProductSeconds, are_as_measured_where_computing_takes_them) {
  EXPECT_NEAR(seconds(16, 100e9), 17, 1e-9);
  EXPECT_NEAR(seconds(24, 100e9), 25, 1e-9) << "between";
  EXPECT_NEAR(seconds(64, 100e9), 66, 1e-9) << "beyond: at the time per token of the last";
}

TEST(ProductSeconds, follow_memory_where_they_wait_for_it) {
  EXPECT_NEAR(seconds(1, 100e9), 1.0625 / 0.9 / 100e9 * 1e12, 1e-9);
  EXPECT_NEAR(seconds(1, 50e9), 2 * seconds(1, 100e9), 1e-9);
  EXPECT_NEAR(seconds(16, 25e9), 4 * seconds(1, 100e9), 1e-9) << "slow memory makes more wait";
  // Faster memory helps until computing takes longer: 1 ps + 1 ps a token.
  EXPECT_NEAR(seconds(8, 1000e9), 9, 1e-9);
  EXPECT_NEAR(seconds(1, 1000e9), 2, 1e-9);
}

TEST(ProductSeconds, have_a_call_for_each_product) {
  const Probe probe = probe_of();
  const double none = product_seconds(probe, {"Q8_0", 16, 0, 1e6, 1e6}, 100e9);
  EXPECT_NEAR(product_seconds(probe, {"Q8_0", 16, 5, 1e6, 1e6}, 100e9) - none, 5e-6, 1e-15);
}

TEST(ProductSeconds, of_a_format_that_was_not_measured_are_those_of_the_next_larger) {
  EXPECT_EQ(seconds(16, 100e9, "Q6_K"), seconds(16, 100e9));
  EXPECT_THROW(seconds(16, 100e9, "F32"), Error);
}

TEST(CopySeconds, read_and_write_at_the_share_that_engines_reach) {
  Machine machine;
  machine.n_devices = 2;
  machine.rates.read = 100e9;
  const Efficiency share = memory_efficiency(machine.kind);
  const Estimate seconds = copy_seconds(1e9, machine);
  EXPECT_DOUBLE_EQ(seconds.low, 0.01 / share.high);
  EXPECT_DOUBLE_EQ(seconds.high, 0.01 / share.low);
}

TEST(CopySeconds, are_those_of_one_thread_where_it_was_measured) {
  Machine machine;
  machine.rates.read = 100e9;
  machine.probe = probe_of();
  EXPECT_DOUBLE_EQ(copy_seconds(1e9, machine).low, 0.02 / memory_efficiency(machine.kind).high);
  machine.probe->read_by_threads = {10e9, 20e9};
  EXPECT_DOUBLE_EQ(copy_seconds(1e9, machine).expected, 0.2);
}

TEST(StepTime, adds_products_and_operations_of_the_probe) {
  Machine machine;
  machine.memory_bytes = 1e12;
  machine.rates.read = 100e9;
  machine.probe = probe_of();
  machine.probe->operations["attend"] = {.call_s = 1e-3, .one_row = 1e6, .many_rows = 2e6};
  machine.probe->operations["rope"] = {.call_s = 0, .one_row = 1e6, .many_rows = 4e6};
  StepWork work;
  work.rows = 16;
  work.products = {{"Q8_0", 16, 0, 1e9, 1.0625e9}};
  work.operations["attend"] = {.calls = 2, .work = 1e6};
  work.operations["rope"] = {.calls = 1, .work = 1e6};
  const StepTime many = step_time(work, machine, preset_config("tiny"));
  EXPECT_NEAR(many.weights_s, 17e-3, 1e-9);
  EXPECT_NEAR(many.attention_s, 2e-3 + 0.5, 1e-9);
  EXPECT_NEAR(many.other_s, 0.25, 1e-9);
  EXPECT_NEAR(many.seconds.expected, 0.769, 1e-9);
  EXPECT_LT(many.seconds.low, many.seconds.expected);
  EXPECT_GT(many.seconds.high, many.seconds.expected);
  EXPECT_EQ(many.limit, Limit::kArithmetic);
  work.rows = 1;
  EXPECT_NEAR(step_time(work, machine, preset_config("tiny")).attention_s, 2e-3 + 1, 1e-9);
  machine.probe->operations.erase("rope");
  EXPECT_THROW(step_time(work, machine, preset_config("tiny")), Error);
}

}  // namespace
}  // namespace dsv4
