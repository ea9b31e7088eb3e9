#include "plan/expert_forecast.h"

#include "base/error.h"
#include "plan/expert_replay.h"

#include <gtest/gtest.h>

namespace dsv4 {
namespace {

WeightTable tiny_table() { return weight_table(preset_config("tiny"), "Q8_0"); }

constexpr DiskRates kDisk{.read = 1e9};

TEST(ExpertForecast, memory_for_all_experts_reads_nothing_and_memory_for_none_all) {
  const WeightTable table = tiny_table();
  const ExpertModel model = expert_model_of_skew(table, {});
  const auto all = static_cast<double>(table.expert_bytes());
  const ExpertTraffic full = model(all, kDisk);
  EXPECT_EQ(full.hit_rate, 1);
  EXPECT_EQ(full.bytes_per_token, 0);
  EXPECT_EQ(full.p99_s, 0);
  const ExpertTraffic none = model(0, kDisk);
  EXPECT_EQ(none.hit_rate, 0);
  // 2 of 8 experts in each layer.
  EXPECT_DOUBLE_EQ(none.bytes_per_token, all / 4);
  EXPECT_DOUBLE_EQ(none.p50_s, all / 4 / 1e9);
  EXPECT_NEAR(none.mean_s, all / 4 / 1e9, 1e-12);
  const ExpertTraffic half = model(all / 2, kDisk);
  EXPECT_GT(half.hit_rate, 0.3);
  EXPECT_LT(half.hit_rate, 0.7);
}

TEST(ExpertForecast, a_skew_makes_the_same_memory_worth_more) {
  const WeightTable table = tiny_table();
  const auto half = static_cast<double>(table.expert_bytes()) / 2;
  const double even = expert_model_of_skew(table, {})(half, kDisk).hit_rate;
  const double skewed = expert_model_of_skew(table, {.expert_skew = 1.5})(half, kDisk).hit_rate;
  EXPECT_GT(skewed, even + 0.1);
}

TEST(ExpertForecast, refuses_a_trace_of_another_model) {
  RoutingTrace trace;
  trace.shape = {.n_layers = 4, .n_experts = 9, .n_active = 2, .expert_bytes = {1, 1, 1, 1}};
  EXPECT_THROW(expert_model_of_trace(tiny_table(), trace), Error);
  trace.shape.n_experts = 8;
  EXPECT_THROW(expert_model_of_trace(tiny_table(), trace), Error) << "no passes";
}

}  // namespace
}  // namespace dsv4
