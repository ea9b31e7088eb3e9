// Conversations of agents that take turns, with memory for a third of them: what the prefix cache
// gives back of the tokens that were computed before.
#include "cache/prefix_cache.h"
#include "cache/sequence_rows_testing.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace dsv4 {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kSystemTokens = 700;

// Part of what could be reused that was.
struct Reuse {
  int64_t n_reused = 0;
  int64_t n_reusable = 0;
  double part() const { return static_cast<double>(n_reused) / static_cast<double>(n_reusable); }
};

class AgentTraceTest : public testing::Test {
 protected:
  AgentTraceTest() {
    std::string name = (fs::temp_directory_path() / "dsv4-trace-XXXXXX").string();
    folder_ = ::mkdtemp(name.data());
    layout_ = small_layout(3);
    layout_.max_tokens = 20000;
    for (uint64_t i = 0; i < 8; ++i) {
      conversations_.emplace_back(layout_, 1);
      conversations_.back().add_tokens(kSystemTokens);  // the same for all
      conversations_.back().diverge(1 + i);
    }
  }
  ~AgentTraceTest() override { fs::remove_all(folder_); }

  std::unique_ptr<PrefixCache> make(int64_t budget_bytes, bool with_disk) {
    std::unique_ptr<DiskStore> disk;
    if (with_disk) {
      disk = std::make_unique<DiskStore>(
          layout_, pool_, DiskStoreOptions{.folder = folder_, .segment_tokens = 192});
    }
    return std::make_unique<PrefixCache>(
        layout_, pool_, PrefixCacheOptions{.budget_bytes = budget_bytes}, std::move(disk));
  }

  // One turn of one conversation, as the engine does it. `n_known` tokens were computed before.
  void turn(PrefixCache& cache, TestSequence& history, uint64_t i, Reuse& reuse) {
    const int64_t n_known = history.n_tokens();
    history.add_tokens(20 + static_cast<int64_t>(random_bits(1, 1, i) % 300));  // tools' results
    SequenceState state(layout_, pool_);
    const PrefixLookup lookup = cache.restore(history.tokens(), 0, state);
    reuse.n_reused += std::min(n_known, lookup.n_tokens);
    reuse.n_reusable += n_known;
    TestSequence live = history.fork();
    live.replace_state(std::move(state));
    live.cut(lookup.n_tokens);
    compute(cache, live, history, kSystemTokens, CheckpointKind::kBoundary);
    compute(cache, live, history, history.n_tokens(), CheckpointKind::kBoundary);
    history.add_tokens(10 + static_cast<int64_t>(random_bits(1, 2, i) % 90));  // the reply
    live.feed_again(history);
    cache.store(live.tokens(), 0, live.state(), CheckpointKind::kEnd);
    if (i % 7 == 0) expect_rows(live);
    live.drop_state();
    cache.keep_budget();
  }

  // Computes up to `end` with a state at each stride, and one of `kind` there.
  void compute(PrefixCache& cache, TestSequence& live, const TestSequence& history, int64_t end,
               CheckpointKind kind) const {
    if (live.n_tokens() >= end) return;
    while (live.n_tokens() < end) {
      const int64_t stride = PrefixCache::kStrideTokens;
      TestSequence part = history.fork();
      part.cut(std::min(end, (live.n_tokens() / stride + 1) * stride));
      live.feed_again(part);
      if (live.n_tokens() < end) {
        cache.store(live.tokens(), 0, live.state(), CheckpointKind::kStride);
      }
    }
    cache.store(live.tokens(), 0, live.state(), kind);
  }

  Reuse turns(PrefixCache& cache, uint64_t first, uint64_t n) {
    Reuse reuse;
    for (uint64_t i = first; i < first + n; ++i) {
      for (size_t k = 0; k < conversations_.size(); ++k) {
        turn(cache, conversations_[k], i * conversations_.size() + k, reuse);
      }
      cache.flush();
    }
    return reuse;
  }

  // What the cache uses where it keeps all of the turns.
  int64_t bytes_of_all(uint64_t n_turns) {
    const std::vector<TestSequence> begin = starts();
    const auto cache = make(int64_t{1} << 40, false);
    turns(*cache, 0, n_turns);
    for (size_t k = 0; k < begin.size(); ++k) conversations_[k] = begin[k].fork();
    return cache->used_bytes();
  }
  std::vector<TestSequence> starts() const {
    std::vector<TestSequence> copies;
    for (const TestSequence& each : conversations_) copies.push_back(each.fork());
    return copies;
  }

  StateLayout layout_;
  std::shared_ptr<PagePool> pool_ = std::make_shared<PagePool>();
  fs::path folder_;
  std::vector<TestSequence> conversations_;
};

TEST_F(AgentTraceTest, memory_for_a_third_and_a_disk_give_nearly_all_back) {
  const int64_t budget = bytes_of_all(6) / 3;
  {
    const auto cache = make(budget, true);
    turns(*cache, 0, 1);  // nothing is known yet
    const Reuse reuse = turns(*cache, 1, 5);
    EXPECT_GE(reuse.part(), 0.98) << reuse.n_reused << " of " << reuse.n_reusable;
    EXPECT_GT(cache->stats().n_evicted, 0);
    EXPECT_LE(cache->used_bytes(), budget);
    EXPECT_EQ(cache->disk()->stats().n_dropped, 0);
  }
  EXPECT_EQ(pool_->stats().n_live, 0);
  const auto cache = make(budget, true);  // after a restart
  const Reuse reuse = turns(*cache, 6, 1);
  EXPECT_GE(reuse.part(), 0.95) << reuse.n_reused << " of " << reuse.n_reusable;
  EXPECT_EQ(cache->disk()->stats().n_refused, 0);
}

TEST_F(AgentTraceTest, memory_for_all_gives_all_back_without_a_disk) {
  const auto cache = make(int64_t{1} << 40, false);
  turns(*cache, 0, 1);
  const Reuse reuse = turns(*cache, 1, 5);
  EXPECT_EQ(reuse.n_reused, reuse.n_reusable);
  EXPECT_EQ(cache->stats().n_evicted, 0);
}

}  // namespace
}  // namespace dsv4
