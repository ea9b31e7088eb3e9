#include "engine/sampler.h"

#include "base/error.h"
#include "base/rng.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>
#include <random>
#include <set>
#include <vector>

namespace dsv4 {
namespace {

const std::vector<float> kLogits = {1.0f, 3.0f, 2.0f, 3.0f, -1.0f};

int32_t pick(const std::vector<float>& logits, const SamplingParams& params, int64_t position = 0,
             const TokenCounts& counts = {}) {
  return Sampler().sample(logits, params, counts, position).id;
}

// How often each id is drawn over many positions.
std::vector<double> frequencies(const SamplingParams& params, int n) {
  std::vector<double> counts(kLogits.size(), 0);
  for (int position = 0; position < n; ++position) {
    counts[static_cast<size_t>(pick(kLogits, params, position))] += 1.0 / n;
  }
  return counts;
}

std::set<int32_t> support(const SamplingParams& params) {
  std::set<int32_t> ids;
  for (int position = 0; position < 2000; ++position) ids.insert(pick(kLogits, params, position));
  return ids;
}

TEST(Sampler, greedy_takes_the_first_of_the_largest) {
  EXPECT_EQ(pick(kLogits, {.temperature = 0}), 1);
}

TEST(Sampler, draws_follow_the_softmax_at_each_temperature) {
  for (const float temperature : {0.5f, 1.0f, 2.0f}) {
    const std::vector<double> seen = frequencies({.temperature = temperature}, 40000);
    double total = 0;
    for (const float logit : kLogits) total += std::exp(logit / temperature);
    for (size_t i = 0; i < kLogits.size(); ++i) {
      EXPECT_NEAR(seen[i], std::exp(kLogits[i] / temperature) / total, 0.01) << i;
    }
  }
}

TEST(Sampler, a_draw_depends_on_seed_and_position_only) {
  int differences = 0;
  for (int64_t position = 0; position < 200; ++position) {
    EXPECT_EQ(pick(kLogits, {.seed = 7}, position), pick(kLogits, {.seed = 7}, position));
    differences += pick(kLogits, {.seed = 7}, position) != pick(kLogits, {.seed = 8}, position);
  }
  EXPECT_GT(differences, 40);
}

TEST(Sampler, truncation_keeps_the_most_probable) {
  EXPECT_EQ(support({.top_k = 1}), (std::set<int32_t>{1}));
  EXPECT_EQ(support({.top_k = 3}), (std::set<int32_t>{1, 2, 3}));
  // Probabilities are .40 .40 .15 .05 .01 of ids 1 3 2 0 4.
  EXPECT_EQ(support({.top_p = 0.3f}), (std::set<int32_t>{1}));
  EXPECT_EQ(support({.top_p = 0.5f}), (std::set<int32_t>{1, 3}));
  EXPECT_EQ(support({.top_p = 0.9f}), (std::set<int32_t>{1, 2, 3}));
  EXPECT_EQ(support({.min_p = 0.9f}), (std::set<int32_t>{1, 3}));
  EXPECT_EQ(support({.min_p = 0.2f}), (std::set<int32_t>{1, 2, 3}));
  EXPECT_EQ(support({}), (std::set<int32_t>{0, 1, 2, 3, 4}));
}

// The token that the definition of truncation gives, most probable tokens first, all in double.
int32_t pick_by_definition(const std::vector<float>& logits, const SamplingParams& params,
                           int64_t position) {
  std::vector<int32_t> ids(logits.size());
  std::iota(ids.begin(), ids.end(), 0);
  std::ranges::stable_sort(ids, std::greater{}, [&](int32_t id) { return logits[size_t(id)]; });
  if (params.top_k > 0) ids.resize(static_cast<size_t>(params.top_k));
  const auto weight = [&](int32_t id) {
    return std::exp((double{logits[size_t(id)]} - logits[size_t(ids[0])]) / params.temperature);
  };
  double total = 0;
  for (const int32_t id : ids) total += weight(id);
  double kept = 0;
  size_t n = 0;
  while (n < ids.size() && (n == 0 || (kept < params.top_p * total &&
                                       weight(ids[n]) >= params.min_p * weight(ids[0])))) {
    kept += weight(ids[n++]);
  }
  double left = random_uniform(params.seed, 1, static_cast<uint64_t>(position)) * kept;
  for (size_t i = 0; i < n; ++i) {
    left -= weight(ids[i]);
    if (left < 0) return ids[i];
  }
  return ids[n - 1];
}

TEST(Sampler, truncation_of_a_large_vocabulary_is_what_its_definition_says) {
  std::mt19937 random(3);
  for (const float spread : {0.01f, 3.0f, 12.0f}) {  // nearly uniform, usual, nearly certain
    std::normal_distribution<float> normal(0, spread);
    std::vector<float> logits(5000);
    for (float& logit : logits) logit = std::round(normal(random) * 64) / 64;  // equal or apart
    for (const float temperature : {0.7f, 1.0f}) {
      for (const SamplingParams& params :
           {SamplingParams{.top_k = 40}, SamplingParams{.top_k = 4999},
            SamplingParams{.top_p = 0.9f}, SamplingParams{.top_p = 0.9999f},
            SamplingParams{.min_p = 0.05f}, SamplingParams{.min_p = 1e-5f},
            SamplingParams{.min_p = 1e-9f},
            SamplingParams{.top_k = 1000, .top_p = 0.8f, .min_p = 0.01f}}) {
        SamplingParams at = params;
        at.temperature = temperature;
        for (int64_t position = 0; position < 50; ++position) {
          EXPECT_EQ(pick(logits, at, position), pick_by_definition(logits, at, position))
              << spread << " " << at.top_k << " " << at.top_p << " " << at.min_p;
        }
      }
    }
  }
}

TEST(Sampler, penalties_and_biases_move_logits) {
  TokenCounts counts;
  counts.add_prompt(std::vector<int32_t>{1});
  counts.add_reply(3);
  counts.add_reply(3);
  const auto greedy = [&](SamplingParams params) {
    params.temperature = 0;
    return pick(kLogits, params, 0, counts);
  };
  EXPECT_EQ(greedy({}), 1);
  EXPECT_EQ(greedy({.repetition_penalty = 2}), 2);  // 1 and 3 have been seen
  EXPECT_EQ(greedy({.presence_penalty = -1}), 3);   // only the reply counts
  EXPECT_EQ(greedy({.frequency_penalty = -0.1f}), 3);
  EXPECT_EQ(greedy({.logit_bias = {{4, 10.0f}}}), 4);
  EXPECT_EQ(greedy({.logit_bias = {{1, -100.0f}, {99, 5.0f}}}), 3);
}

TEST(Sampler, reports_log_probabilities_of_the_model) {
  const SampledToken token = Sampler().sample(kLogits, {.temperature = 0, .n_logprobs = 2}, {}, 0);
  double total = 0;
  for (const float logit : kLogits) total += std::exp(logit);
  EXPECT_NEAR(token.logprob, 3 - std::log(total), 1e-6);
  ASSERT_EQ(token.top.size(), 2u);
  EXPECT_EQ(token.top[0].id, 1);
  EXPECT_EQ(token.top[1].id, 3);
}

TEST(Sampler, reports_as_many_as_are_asked_for_however_improbable) {
  const std::vector<float> logits = {-300, 0, -9, -20, -1, -100};
  const std::vector<int32_t> by_probability = {1, 4, 2, 3, 5, 0};
  for (const int64_t n : {1, 2, 3, 5, 6, 20}) {
    const SampledToken token = Sampler().sample(logits, {.temperature = 0, .n_logprobs = n}, {}, 0);
    ASSERT_EQ(std::ssize(token.top), std::min<int64_t>(n, 6));
    for (size_t i = 0; i < token.top.size(); ++i) EXPECT_EQ(token.top[i].id, by_probability[i]);
  }
}

TEST(Sampler, survives_broken_logits) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float inf = std::numeric_limits<float>::infinity();
  for (const std::vector<float>& logits :
       {std::vector<float>{nan, nan}, {inf, inf}, {-inf, -inf}, {nan, 1.0f}, {inf, 0.0f}}) {
    for (const float temperature : {0.0f, 1.0f}) {
      const int32_t id = pick(logits, {.temperature = temperature, .top_k = 2, .top_p = 0.9f});
      EXPECT_TRUE(id == 0 || id == 1);
    }
  }
  EXPECT_EQ(pick({nan, 1.0f}, {.temperature = 0}), 1);
}

TEST(Sampler, refuses_parameters_out_of_range) {
  for (const SamplingParams& params :
       {SamplingParams{.temperature = -1}, SamplingParams{.top_p = 0}, SamplingParams{.min_p = 2},
        SamplingParams{.repetition_penalty = 0}, SamplingParams{.top_k = -1},
        SamplingParams{.temperature = std::numeric_limits<float>::quiet_NaN()}}) {
    EXPECT_THROW(params.validate(), Error);
  }
  EXPECT_NO_THROW(SamplingParams{}.validate());
}

TEST(Sampler, never_takes_what_is_not_allowed) {
  const std::vector<uint64_t> allowed = {0b10100};
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float infinity = std::numeric_limits<float>::infinity();
  for (const float other : {1.0f, nan, -infinity}) {
    const std::vector<float> logits = {9.0f, infinity, other, 9.0f, -2.0f};
    for (int position = 0; position < 100; ++position) {
      for (const SamplingParams& params :
           {SamplingParams{.temperature = 0}, SamplingParams{.temperature = 2},
            SamplingParams{.temperature = 1, .top_k = 2}, SamplingParams{.top_p = 0.5f}}) {
        const int32_t id = Sampler().sample(logits, params, {}, position, allowed).id;
        EXPECT_TRUE(id == 2 || id == 4) << id << " with " << other;
      }
    }
  }
}

}  // namespace
}  // namespace dsv4
