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
  const ExpertModel model = expert_models_of_skew()(table, {});
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
  const double even = expert_models_of_skew()(table, {})(half, kDisk).hit_rate;
  const double skewed = expert_models_of_skew()(table, {.expert_skew = 1.5})(half, kDisk).hit_rate;
  EXPECT_GT(skewed, even + 0.1);
}

TEST(ExpertForecast, refuses_a_trace_of_another_model) {
  RoutingTrace trace;
  trace.shape = {.n_layers = 4, .n_experts = 9, .n_active = 2, .expert_bytes = {1, 1, 1, 1}};
  EXPECT_THROW(expert_models_of_trace(trace)(tiny_table(), {}), Error);
  trace.shape.n_experts = 8;
  EXPECT_THROW(expert_models_of_trace(trace)(tiny_table(), {}), Error) << "no passes";
}

// Four passes of a token that take turns between two pairs of experts: the first fills the cache.
TEST(ExpertForecast, a_trace_counts_behind_its_first_quarter_with_the_bytes_of_the_format) {
  const WeightTable table = tiny_table();
  RoutingTrace trace;
  trace.shape = {.n_layers = 4, .n_experts = 8, .n_active = 2, .expert_bytes = {1, 1, 1, 1}};
  for (const uint16_t first : {0, 2, 0, 0}) {
    trace.passes.push_back({1, trace.ids.size()});
    for (int layer = 0; layer < 4; ++layer) {
      trace.ids.push_back(first);
      trace.ids.push_back(static_cast<uint16_t>(first + 1));
    }
  }
  const auto all = static_cast<double>(table.expert_bytes());
  const ExpertTraffic roomy = expert_models_of_trace(trace)(table, {})(all, kDisk);
  EXPECT_NEAR(roomy.bytes_per_token, all / 4 / 3, 1) << "of the second pass alone";
  EXPECT_DOUBLE_EQ(roomy.hit_rate, 2.0 / 3);
  EXPECT_EQ(roomy.p50_s, 0);
  EXPECT_NEAR(roomy.p99_s, all / 4 / 1e9, 1e-9);
  EXPECT_EQ(expert_models_of_trace(trace)(table, {})(0, kDisk).hit_rate, 0);
}

}  // namespace
}  // namespace dsv4
