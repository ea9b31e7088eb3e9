#include "plan/expert_replay.h"

#include "base/error.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <set>

namespace dsv4 {
namespace {

// Passes of one token each: its experts in two layers.
RoutingTrace trace_of(const std::vector<std::vector<uint16_t>>& passes) {
  RoutingTrace trace{.shape = {2, 4, 2, 0, {10, 100}}, .passes = {}, .ids = {}};
  for (const std::vector<uint16_t>& ids : passes) {
    trace.passes.push_back({std::ssize(ids) / 4, trace.ids.size()});
    trace.ids.insert(trace.ids.end(), ids.begin(), ids.end());
  }
  return trace;
}

TEST(ExpertReplay, counts_hits_and_bytes_by_pass) {
  // The last pass has two tokens: experts {0, 1, 2} of layer 0, {3} of layer 1 (named twice).
  const RoutingTrace trace = trace_of({{1, 0, 2, 3}, {0, 1, 2, 0}, {0, 1, 1, 2, 3, 3, 3, 3}});
  const ExpertReplay replay = replay_experts(trace, 1000);
  ASSERT_EQ(replay.passes.size(), 3u);
  EXPECT_EQ(replay.passes[0].loaded_bytes, 220);
  EXPECT_EQ(replay.passes[0].n_waits, 2);
  EXPECT_EQ(replay.passes[1].loaded_bytes, 100);
  EXPECT_EQ(replay.passes[1].n_hits, 3);
  EXPECT_EQ(replay.passes[1].n_waits, 1);
  EXPECT_EQ(replay.passes[2].loaded_bytes, 10);
  EXPECT_EQ(replay.passes[2].n_hits, 3);
  EXPECT_EQ(replay.n_tokens, 4);
  EXPECT_DOUBLE_EQ(replay.hit_rate(), 6.0 / 12.0);
  EXPECT_DOUBLE_EQ(replay.bytes_per_token(), 330.0 / 4.0);
  EXPECT_EQ(replay.stats.peak_bytes, 330);
  const ExpertReplay rest = since_pass(replay, 1);
  EXPECT_EQ(rest.n_tokens, 3);
  EXPECT_DOUBLE_EQ(rest.bytes_per_token(), 110.0 / 3.0);
  EXPECT_DOUBLE_EQ(rest.hit_rate(), 6.0 / 8.0);
}

TEST(ExpertReplay, reads_everything_again_where_nothing_may_stay) {
  const RoutingTrace trace = trace_of({{0, 1, 2, 3}, {0, 1, 2, 3}});
  const ExpertReplay replay = replay_experts(trace, 0);
  EXPECT_EQ(replay.stats.n_hits, 0);
  EXPECT_EQ(replay.stats.loaded_bytes, 440);
  EXPECT_EQ(replay.stats.peak_bytes, 200);  // what runs is there while it runs
  EXPECT_EQ(since_pass(replay, 0).stats, replay.stats);
  EXPECT_EQ(since_pass(replay, 1).stats.n_evicted, 4);
}

TEST(ExpertReplay, turns_bytes_into_time_by_the_rates_of_a_disk) {
  const RoutingTrace trace = trace_of({{0, 1, 2, 3}, {0, 1, 2, 3}, {0, 1, 2, 0}, {0, 2, 2, 1}});
  const ExpertReplay replay = replay_experts(trace, 1000);  // 220, 0, 100, 110 bytes
  const DiskRates disk{.read = 1000, .latency_s = 0.5};
  EXPECT_DOUBLE_EQ(read_seconds(replay.passes[0], disk), 1.22);
  EXPECT_DOUBLE_EQ(read_seconds(replay.passes[1], disk), 0);
  EXPECT_DOUBLE_EQ(read_seconds_quantile(replay, disk, 0), 0);
  EXPECT_DOUBLE_EQ(read_seconds_quantile(replay, disk, 0.25), 0);
  EXPECT_DOUBLE_EQ(read_seconds_quantile(replay, disk, 0.5), 0.6);
  EXPECT_DOUBLE_EQ(read_seconds_quantile(replay, disk, 0.75), 1.11);
  EXPECT_DOUBLE_EQ(read_seconds_quantile(replay, disk, 0.99), 1.22);
  EXPECT_DOUBLE_EQ(read_seconds_quantile(replay_experts(trace_of({}), 9), disk, 0.5), 0);
  EXPECT_EQ(read_seconds(replay.passes[0], {}), std::numeric_limits<double>::infinity());
}

const RoutingShape kShape{3, 64, 6, 0, {1, 1, 1}};

TEST(SyntheticTrace, has_distinct_experts_of_each_token_and_is_the_same_for_the_same_seed) {
  const RoutingSkew skew{.zipf = 3, .n_passes = 50, .tokens_per_pass = 4, .seed = 9};
  const RoutingTrace trace = synthetic_trace(kShape, skew);
  ASSERT_EQ(trace.passes.size(), 50u);
  for (const RoutingTrace::Pass& pass : trace.passes) {
    for (int64_t layer = 0; layer < 3; ++layer) {
      const auto ids = trace.chosen(pass, layer);
      for (size_t t = 0; t < 4; ++t) {
        const auto token = ids.subspan(t * 6, 6);
        EXPECT_EQ(std::set<uint16_t>(token.begin(), token.end()).size(), 6u);
      }
    }
  }
  EXPECT_EQ(synthetic_trace(kShape, skew).ids, trace.ids);
  EXPECT_NE(synthetic_trace(kShape, {3, 50, 4, 10}).ids, trace.ids);
}

// One expert a token: the shares of the ranks are those of the law itself.
TEST(SyntheticTrace, wants_experts_by_the_stated_law) {
  const RoutingShape shape{1, 4, 1, 0, {1}};
  for (const double zipf : {0.0, 1.0, 2.5}) {
    constexpr double kDraws = 40000;
    const RoutingTrace trace = synthetic_trace(shape, {zipf, 400, 100, 4});
    std::vector<double> shares(4);
    for (const uint16_t id : trace.ids) shares[id] += 1 / kDraws;
    std::sort(shares.rbegin(), shares.rend());
    double sum = 0;
    for (int r = 1; r <= 4; ++r) sum += std::pow(r, -zipf);
    for (int r = 1; r <= 4; ++r) {  // five standard deviations
      EXPECT_NEAR(shares[static_cast<size_t>(r - 1)], std::pow(r, -zipf) / sum, 0.0125) << zipf;
    }
  }
}

// Of 64 experts of which 6 are drawn at random a cache of a quarter has a quarter of the hits.
TEST(SyntheticTrace, uniform_routing_hits_by_the_share_that_is_kept) {
  const RoutingTrace trace = synthetic_trace(kShape, {0, 2000, 1, 1});
  const ExpertReplay replay = since_pass(replay_experts(trace, 3 * 16), 100);
  EXPECT_NEAR(replay.hit_rate(), 0.25, 0.04);
}

TEST(SyntheticTrace, refuses_skews_that_mean_nothing) {
  const auto refused = [](const RoutingSkew& skew, const char* field) {
    try {
      synthetic_trace(kShape, skew);
      ADD_FAILURE() << "accepted, expected " << field;
    } catch (const Error& error) {
      EXPECT_EQ(error.where(), field);
    }
  };
  refused({-1, 10, 1, 0}, "zipf");
  refused({std::nan(""), 10, 1, 0}, "zipf");
  refused({std::numeric_limits<double>::infinity(), 10, 1, 0}, "zipf");
  refused({1, 0, 1, 0}, "n_passes");
  refused({1, 10, 0, 0}, "tokens_per_pass");
  refused({1, int64_t{1} << 40, int64_t{1} << 40, 0}, "n_passes");
}

}  // namespace
}  // namespace dsv4
