#include "cache/prefix_cache.h"

#include "cache/sequence_rows_testing.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace dsv4 {
namespace {

namespace fs = std::filesystem;

class PrefixCacheTest : public testing::TestWithParam<KvStorage> {
 protected:
  PrefixCacheTest() : layout_(small_layout(3, GetParam())) { layout_.max_tokens = 20000; }

  PrefixCache make(int64_t budget_bytes = int64_t{1} << 30) {
    return {layout_, pool_, {.budget_bytes = budget_bytes}};
  }
  TestSequence sequence(uint64_t seed) const {
    TestSequence sequence(layout_, seed);
    sequence.replace_state(SequenceState(layout_, pool_));
    return sequence;
  }
  static void store(PrefixCache& cache, TestSequence& sequence, uint64_t salt = 0,
                    CheckpointKind kind = CheckpointKind::kEnd) {
    cache.store(sequence.tokens(), salt, sequence.state(), kind);
  }
  // Feeds as the engine computes a prompt: a state at each stride.
  static void feed(PrefixCache& cache, TestSequence& sequence, int64_t n) {
    while (n > 0) {
      const int64_t stride = PrefixCache::kStrideTokens;
      const int64_t step = std::min(n, stride - sequence.n_tokens() % stride);
      sequence.feed(step);
      n -= step;
      if (sequence.n_tokens() % stride == 0) store(cache, sequence, 0, CheckpointKind::kStride);
    }
  }
  // What a prompt of the tokens of `sequence` finds; the rows must be those of its history.
  PrefixLookup look_up(PrefixCache& cache, const TestSequence& sequence, uint64_t salt = 0) const {
    const std::vector<int32_t> tokens = sequence.tokens();
    SequenceState state(layout_, pool_);
    const PrefixLookup expected = cache.find(tokens, salt);
    const PrefixLookup lookup = cache.restore(tokens, salt, state);
    EXPECT_EQ(lookup.n_tokens, state.n_tokens());
    EXPECT_EQ(lookup.n_tokens, expected.n_tokens);
    EXPECT_EQ(lookup.miss, expected.miss);
    TestSequence history = sequence.fork();
    history.cut(state.n_tokens());
    history.replace_state(std::move(state));
    expect_rows(history);
    return lookup;
  }

  StateLayout layout_;
  std::shared_ptr<PagePool> pool_ = std::make_shared<PagePool>();
};
INSTANTIATE_TEST_SUITE_P(Storage, PrefixCacheTest, testing::ValuesIn(kStorages));

TEST_P(PrefixCacheTest, gives_back_the_longest_prefix_and_says_why_not_more) {
  PrefixCache cache = make();
  TestSequence live = sequence(1);
  live.feed(100);
  EXPECT_EQ(look_up(cache, live).miss, PrefixMiss::kNothingStored);
  store(cache, live, 0, CheckpointKind::kBoundary);
  TestSequence other = live.fork();
  live.feed(50);
  store(cache, live);
  live.feed(1);
  EXPECT_EQ(look_up(cache, live).n_tokens, 150);
  EXPECT_EQ(look_up(cache, live).miss, PrefixMiss::kNone);
  SequenceState state(layout_, pool_);
  cache.restore(other.tokens(), 0, state);  // of 100 tokens the last one is computed
  EXPECT_EQ(state.n_tokens(), 0);
  other.add_tokens(70);
  const PrefixLookup lookup = look_up(cache, other);
  EXPECT_EQ(lookup.n_tokens, 100);
  EXPECT_EQ(lookup.n_common, 100);
  EXPECT_EQ(lookup.miss, PrefixMiss::kDiverged);
  live.cut(130);
  EXPECT_EQ(look_up(cache, live).n_tokens, 100);
  EXPECT_EQ(look_up(cache, live).miss, PrefixMiss::kSpacing);
  EXPECT_EQ(look_up(cache, live).n_common, 130);
  EXPECT_EQ(look_up(cache, live, 1).miss, PrefixMiss::kNothingStored);  // another salt
  EXPECT_EQ(look_up(cache, live, 1).n_tokens, 0);
  EXPECT_STREQ(prefix_miss_name(PrefixMiss::kSpacing), "spacing");
}

TEST_P(PrefixCacheTest, keeps_two_salts_apart) {
  PrefixCache cache = make();
  TestSequence live = sequence(1);
  live.feed(80);
  store(cache, live, 7);
  live.feed(1);
  EXPECT_EQ(look_up(cache, live, 7).n_tokens, 80);
  for (const uint64_t salt : {0, 6, 8}) EXPECT_EQ(look_up(cache, live, salt).n_tokens, 0);
}

TEST_P(PrefixCacheTest, an_edit_costs_at_most_two_strides) {
  PrefixCache cache = make();
  TestSequence live = sequence(1);
  feed(cache, live, 3000);
  store(cache, live, 0, CheckpointKind::kBoundary);
  feed(cache, live, 2500);
  store(cache, live);
  for (const int64_t edit : {5490, 5400, 4700, 3900, 3001, 2999, 700, 10}) {
    TestSequence other = live.fork();
    other.cut(edit);
    other.add_tokens(100);
    const PrefixLookup lookup = cache.find(other.tokens(), 0);
    EXPECT_EQ(lookup.n_common, edit);
    EXPECT_GE(lookup.n_tokens, edit - 512);
    EXPECT_EQ(lookup.miss, PrefixMiss::kDiverged);
  }
}

TEST_P(PrefixCacheTest, stays_within_its_budget_and_thins_strides_first) {
  const auto run = [&](PrefixCache& cache, TestSequence& live, int64_t budget) {
    std::vector<int64_t> ends;
    for (int turn = 0; turn < 12; ++turn) {
      feed(cache, live, 1580);
      store(cache, live, 0, CheckpointKind::kBoundary);
      ends.push_back(live.n_tokens());
      EXPECT_LE(cache.used_bytes(), budget);
    }
    return ends;
  };
  PrefixCache unlimited = make();
  TestSequence same = sequence(1);
  run(unlimited, same, int64_t{1} << 30);
  EXPECT_EQ(unlimited.stats().n_entries, 12 + 12 * 1580 / PrefixCache::kStrideTokens);
  const int64_t budget = unlimited.used_bytes() * 85 / 100;
  unlimited.release(int64_t{1} << 40);
  PrefixCache cache = make(budget);
  TestSequence live = sequence(1);
  const std::vector<int64_t> ends = run(cache, live, budget);
  EXPECT_GT(cache.stats().n_evicted, 0);
  for (const int64_t end : ends) {  // ends of messages are all there, thinning was enough
    TestSequence other = live.fork();
    other.cut(end);
    other.add_tokens(5);
    EXPECT_EQ(cache.find(other.tokens(), 0).n_tokens, end);
  }
}

TEST_P(PrefixCacheTest, evicts_what_was_not_used_for_longest_and_remembers_that) {
  PrefixCache cache = make();
  std::vector<TestSequence> conversations;
  for (uint64_t i = 0; i < 4; ++i) {
    conversations.push_back(sequence(10 + i));
    conversations.back().feed(400);
    store(cache, conversations.back());
    conversations.back().feed(1);
    conversations.back().drop_state();
  }
  EXPECT_EQ(look_up(cache, conversations[0]).n_tokens, 400);  // used again
  EXPECT_GE(cache.release(1), 1);
  EXPECT_EQ(cache.stats().n_evicted, 1);
  EXPECT_EQ(cache.find(conversations[0].tokens(), 0).n_tokens, 400);
  EXPECT_EQ(cache.find(conversations[1].tokens(), 0).n_tokens, 0);
  EXPECT_EQ(cache.find(conversations[1].tokens(), 0).miss, PrefixMiss::kEvicted);
  EXPECT_EQ(cache.find(conversations[2].tokens(), 0).n_tokens, 400);
  const int64_t used = cache.used_bytes();
  EXPECT_EQ(cache.release(int64_t{1} << 40), used);
  EXPECT_EQ(cache.used_bytes(), 0);
  EXPECT_EQ(cache.stats().n_entries, 0);
  EXPECT_EQ(pool_->stats().n_live, 0);
}

// Who is short of memory asks at every step, for little; each search costs as much as for a lot.
TEST_P(PrefixCacheTest, a_release_frees_enough_for_some_time) {
  PrefixCache cache = make();
  for (uint64_t i = 0; i < 100; ++i) {
    TestSequence live = sequence(10 + i);
    live.feed(20);
    store(cache, live);
  }
  const int64_t used = cache.used_bytes();
  EXPECT_GE(cache.release(1), used / 32);
  EXPECT_GE(cache.stats().n_evicted, 3);
  EXPECT_LE(cache.stats().n_evicted, 5);
}

TEST_P(PrefixCacheTest, counts_the_pages_that_it_alone_holds) {
  PrefixCache cache = make();
  auto live = std::make_optional(sequence(1));
  live->feed(1000);
  store(cache, *live);
  const int64_t buffers = cache.used_bytes();
  EXPECT_EQ(pool_->stats().checkpoint_bytes, 0);
  live.reset();
  EXPECT_EQ(cache.used_bytes(), buffers + pool_->stats().live_bytes);
}

TEST_P(PrefixCacheTest, prompts_computed_twice_share_their_pages) {
  PrefixCache cache = make();
  int64_t live_bytes = 0;
  for (int round = 0; round < 3; ++round) {
    TestSequence live = sequence(1);  // the same system prompt, computed by each
    live.feed(1500);
    live.diverge(1 + static_cast<uint64_t>(round));
    live.feed(20);
    store(cache, live);
    live.drop_state();
    if (round == 0) live_bytes = pool_->stats().live_bytes;
  }
  EXPECT_EQ(cache.stats().n_entries, 3);
  EXPECT_EQ(pool_->stats().live_bytes, live_bytes);
}

// Conversations that branch, end and come back: whatever is restored is right, the counters are
// exact, and nothing is left over.
TEST_P(PrefixCacheTest, random_use_never_gives_a_wrong_state) {
  for (const int64_t budget : {int64_t{200'000}, int64_t{1} << 30}) {
    {
      PrefixCache cache = make(budget);
      std::vector<TestSequence> histories;
      for (uint64_t i = 0; i < 3; ++i) histories.push_back(sequence(20 + i));
      for (TestSequence& history : histories) history.drop_state();
      for (uint64_t step = 0; step < 60; ++step) {
        const uint64_t pick = random_bits(1, 2, step);
        TestSequence& history = histories[pick % histories.size()];
        if (random_bits(1, 1, step) % 4 == 0 && history.n_tokens() > 10) {
          TestSequence branch = history.fork();
          branch.cut(static_cast<int64_t>(pick % static_cast<uint64_t>(history.n_tokens())));
          branch.drop_state();
          if (histories.size() < 12) histories.push_back(std::move(branch));
          continue;
        }
        // A turn: what is cached of the history, the rest computed again, then something new.
        const std::vector<int32_t> tokens = history.tokens();
        SequenceState state(layout_, pool_);
        const PrefixLookup lookup = cache.restore(tokens, 0, state);
        TestSequence live = history.fork();
        live.cut(lookup.n_tokens);
        live.replace_state(std::move(state));
        live.feed_again(history);
        feed(cache, live, static_cast<int64_t>(pick % 200));
        store(cache, live, 0, pick % 2 == 0 ? CheckpointKind::kEnd : CheckpointKind::kBoundary);
        ASSERT_LE(cache.stats().used_bytes, budget);
        look_up(cache, live);
        history = live.fork();
        history.drop_state();
      }
      EXPECT_GT(cache.stats().n_hits, 0);
    }
    EXPECT_EQ(pool_->stats().n_live, 0);
  }
}

}  // namespace
}  // namespace dsv4
