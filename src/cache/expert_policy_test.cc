#include "cache/expert_policy.h"

#include "base/rng.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <numbers>
#include <utility>

namespace dsv4 {
namespace {

using Ids = std::vector<int32_t>;
using Evicted = std::vector<ExpertId>;

struct Answer {
  Ids missing;
  Evicted evicted;
  bool operator==(const Answer&) const = default;
};

Answer ask(ExpertPolicy& policy, int64_t layer, const Ids& experts) {
  const ExpertPolicy::Decision decision = policy.access(layer, experts);
  return {{decision.missing.begin(), decision.missing.end()},
          {decision.evicted.begin(), decision.evicted.end()}};
}

TEST(ExpertPolicy, keeps_what_fits_and_counts) {
  ExpertPolicy policy(100, 4, {10, 30});
  EXPECT_EQ(ask(policy, 0, {0, 3}), (Answer{{0, 3}, {}}));
  EXPECT_EQ(ask(policy, 1, {1, 2}), (Answer{{1, 2}, {}}));
  EXPECT_EQ(ask(policy, 0, {0, 1}), (Answer{{1}, {}}));
  EXPECT_EQ(ask(policy, 1, {2}), (Answer{{}, {}}));
  EXPECT_EQ(policy.stats(), (ExpertCacheStats{.n_hits = 2,
                                              .n_misses = 5,
                                              .n_evicted = 0,
                                              .loaded_bytes = 90,
                                              .resident_bytes = 90,
                                              .peak_bytes = 90}));
  EXPECT_DOUBLE_EQ(policy.stats().hit_rate(), 2.0 / 7.0);
}

TEST(ExpertPolicy, evicts_what_was_used_least_and_long_ago) {
  ExpertPolicy policy(3, 8, {1});
  for (const Ids& experts : {Ids{0, 1}, Ids{0, 1}, Ids{2}}) ask(policy, 0, experts);
  EXPECT_EQ(ask(policy, 0, {3}), (Answer{{3}, {{0, 2}}}));  // once, the others twice
  EXPECT_EQ(ask(policy, 0, {2}), (Answer{{2}, {{0, 3}}}));  // its uses count while it is away
  EXPECT_EQ(ask(policy, 0, {3}), (Answer{{3}, {{0, 0}}}));  // all twice: 0 and 1 longest ago
}

TEST(ExpertPolicy, evicts_by_last_use_where_uses_are_forgotten_quickly) {
  ExpertPolicy policy(3, 8, {1}, 0.5);
  for (const Ids& experts : {Ids{0}, Ids{0}, Ids{0}, Ids{1}, Ids{2}}) ask(policy, 0, experts);
  EXPECT_EQ(ask(policy, 0, {3}), (Answer{{3}, {{0, 0}}}));
  EXPECT_EQ(ask(policy, 0, {4}), (Answer{{4}, {{0, 1}}}));
}

TEST(ExpertPolicy, of_equals_it_evicts_the_lowest_layer_then_the_lowest_number) {
  ExpertPolicy policy(4, 4, {1, 1, 1});
  ask(policy, 0, {2, 3});
  ask(policy, 1, {0, 1});
  EXPECT_EQ(ask(policy, 2, {0, 1, 2}), (Answer{{0, 1, 2}, {{0, 2}, {0, 3}, {1, 0}}}));
}

TEST(ExpertPolicy, protects_the_present_call_and_trims_at_the_next) {
  ExpertPolicy policy(2, 8, {1, 1});
  ask(policy, 0, {7});
  EXPECT_EQ(ask(policy, 1, {0, 1, 2, 3}), (Answer{{0, 1, 2, 3}, {{0, 7}}}));
  EXPECT_EQ(policy.stats().resident_bytes, 4);
  EXPECT_EQ(policy.stats().peak_bytes, 4);
  // Trimmed although nothing is missing; what is asked for stays.
  EXPECT_EQ(ask(policy, 1, {0, 2}), (Answer{{}, {{1, 1}, {1, 3}}}));
  EXPECT_EQ(policy.stats().resident_bytes, 2);
  EXPECT_EQ(policy.stats().peak_bytes, 4);
}

TEST(ExpertPolicy, without_any_budget_every_call_starts_anew) {
  ExpertPolicy policy(0, 2, {5});
  ask(policy, 0, {0, 1});
  EXPECT_EQ(ask(policy, 0, {1}), (Answer{{}, {{0, 0}}}));
  EXPECT_EQ(ask(policy, 0, {0}), (Answer{{0}, {{0, 1}}}));
}

TEST(ExpertPolicy, what_could_not_be_loaded_is_missing_again) {
  ExpertPolicy policy(10, 4, {1, 2});
  ask(policy, 1, {0, 1, 2});
  policy.drop(1, Ids{0, 2});
  EXPECT_EQ(policy.stats().resident_bytes, 2);
  EXPECT_EQ(ask(policy, 1, {0, 1, 2}), (Answer{{0, 2}, {}}));
  EXPECT_EQ(policy.stats().resident_bytes, 6);
}

// The rule of the header, by looking at everything each time.
class NaivePolicy {
 public:
  NaivePolicy(int64_t budget, std::vector<int64_t> bytes, double half_life)
      : budget_(budget), bytes_(std::move(bytes)), growth_(1 + std::numbers::ln2 / half_life) {}

  Answer access(int64_t layer, const Ids& experts) {
    if (layer <= last_layer_) use_ *= growth_;
    last_layer_ = layer;
    Answer answer;
    int64_t need = 0;
    for (const int32_t e : experts) {
      const ExpertId id{static_cast<int32_t>(layer), e};
      scores_[id] += use_;
      if (resident_.contains(id)) continue;
      answer.missing.push_back(e);
      need += bytes_[static_cast<size_t>(layer)];
    }
    while (used() + need > budget_) {
      const ExpertId* worst = nullptr;
      for (const auto& [id, unused] : resident_) {  // ascending: the first of equals stays
        const bool asked = id.layer == layer && std::ranges::count(experts, id.expert) > 0;
        if (!asked && (worst == nullptr || scores_[id] < scores_[*worst])) worst = &id;
      }
      if (worst == nullptr) break;
      answer.evicted.push_back(*worst);
      resident_.erase(ExpertId(*worst));
    }
    for (const int32_t e : experts) resident_[{static_cast<int32_t>(layer), e}] = true;
    return answer;
  }

  int64_t used() const {
    int64_t sum = 0;
    for (const auto& [id, unused] : resident_) sum += bytes_[static_cast<size_t>(id.layer)];
    return sum;
  }

 private:
  int64_t budget_;
  std::vector<int64_t> bytes_;
  double growth_;
  double use_ = 1;
  int64_t last_layer_ = -1;
  std::map<ExpertId, double> scores_;
  std::map<ExpertId, bool> resident_;
};

TEST(ExpertPolicy, agrees_with_a_naive_one_on_random_accesses) {
  constexpr int64_t kExperts = 12;
  const std::vector<int64_t> bytes = {3, 5, 2, 7};
  for (const double half_life : {0.7, 64.0, 1e9}) {
    for (const int64_t budget : {0, 6, 40, 100, 203, 1000}) {
      ExpertPolicy policy(budget, kExperts, bytes, half_life);
      NaivePolicy naive(budget, bytes, half_life);
      uint64_t n_draws = 0;
      const auto below = [&](int64_t n) {
        return static_cast<int64_t>(random_bits(5, static_cast<uint64_t>(budget), n_draws++) %
                                    static_cast<uint64_t>(n));
      };
      for (int pass = 0; pass < 200; ++pass) {
        for (int64_t layer = below(2); layer < std::ssize(bytes); layer += 1 + below(3) / 2) {
          Ids experts;  // low numbers more often
          const int64_t share = 1 + below(5);
          for (int32_t e = 0; e < kExperts; ++e) {
            if (below(1 + e) < share) experts.push_back(e);
          }
          ASSERT_EQ(ask(policy, layer, experts), naive.access(layer, experts))
              << "pass " << pass << ", layer " << layer << ", budget " << budget;
          ASSERT_EQ(policy.stats().resident_bytes, naive.used());
        }
      }
    }
  }
}

TEST(ExpertPolicy, goes_on_when_scores_are_scaled_down) {
  // Half-lives of two passes reach the largest score after a thousand.
  ExpertPolicy policy(2, 4, {1}, 2);
  ask(policy, 0, {0, 1});
  for (int pass = 0; pass < 5000; ++pass) {
    ASSERT_EQ(ask(policy, 0, {1}), (Answer{{}, {}}));
  }
  EXPECT_EQ(ask(policy, 0, {2}), (Answer{{2}, {{0, 0}}}));
  EXPECT_EQ(ask(policy, 0, {1}), (Answer{{}, {}}));
  EXPECT_EQ(ask(policy, 0, {3}), (Answer{{3}, {{0, 2}}}));
}

}  // namespace
}  // namespace dsv4
