#include "cache/checkpoint.h"

#include "cache/sequence_rows_testing.h"
#include "cache/sequence_state.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <vector>

namespace dsv4 {
namespace {

// A sequence whose state takes its pages from `pool`.
TestSequence pooled(const StateLayout& layout, const std::shared_ptr<PagePool>& pool,
                    uint64_t seed) {
  TestSequence sequence(layout, seed);
  sequence.replace_state(SequenceState(layout, pool));
  return sequence;
}

TEST(StateCheckpoint, gives_the_state_back_bit_for_bit_at_any_length) {
  for (const KvStorage storage : kStorages) {
    const StateLayout layout = small_layout(5, storage);
    const auto pool = std::make_shared<PagePool>();
    TestSequence sequence = pooled(layout, pool, 1);
    for (uint64_t step = 0; sequence.n_tokens() < 600; ++step) {
      sequence.feed(static_cast<int64_t>(random_bits(2, 1, step) % 40));
      if (step % 3 == 0) sequence.rollback(std::min<int64_t>(2, sequence.state().max_rollback()));
      const auto live = sequence.state().snapshot();
      const StateCheckpoint kept = sequence.state().checkpoint(sequence.state().max_rollback());
      EXPECT_EQ(kept.n_tokens(), sequence.n_tokens());
      EXPECT_EQ(kept.oldest(), sequence.n_tokens() - sequence.state().max_rollback());
      SequenceState restored(layout, pool);
      restored.restore(kept);
      ASSERT_EQ(restored.snapshot(), live) << sequence.n_tokens();
      EXPECT_EQ(restored.max_rollback(), sequence.state().max_rollback());
      EXPECT_EQ(restored.allocated_bytes(), state_bytes(layout, sequence.n_tokens()).total());
    }
  }
}

TEST(StateCheckpoint, without_rollback_still_has_all_that_later_tokens_read) {
  const StateLayout layout = small_layout(6);
  const auto pool = std::make_shared<PagePool>();
  for (int64_t n = 0; n < 60; ++n) {
    TestSequence sequence = pooled(layout, pool, 3);
    sequence.feed(n);
    const StateCheckpoint kept = sequence.state().checkpoint();
    // A state that was used for something else before.
    TestSequence other = pooled(layout, pool, 4);
    other.feed(90);
    SequenceState state(layout, pool);
    std::swap(state, other.state());
    state.restore(kept);
    EXPECT_EQ(state.max_rollback(), 0);
    sequence.replace_state(std::move(state));
    expect_rows(sequence);
    sequence.feed(40);
    expect_rows(sequence);
  }
}

TEST(StateCheckpoint, forks_go_on_without_seeing_each_other) {
  const StateLayout layout = small_layout(8);
  const auto pool = std::make_shared<PagePool>();
  TestSequence first = pooled(layout, pool, 5);
  first.feed(700);
  const StateCheckpoint kept = first.state().checkpoint(8);
  TestSequence second = first.fork();
  TestSequence third = first.fork();
  for (TestSequence* fork : {&second, &third}) {
    SequenceState state(layout, pool);
    state.restore(kept);
    fork->replace_state(std::move(state));
  }
  first.rollback(8);  // into the shared pages
  first.feed(60);
  second.feed(100);
  third.rollback(5);
  third.feed(300);
  for (TestSequence* fork : {&first, &second, &third}) expect_rows(*fork);
  second.rollback(8);
  SequenceState state(layout, pool);
  state.restore(kept);  // is what it was
  TestSequence fourth = pooled(layout, pool, 5);
  fourth.feed(700);
  fourth.replace_state(std::move(state));
  expect_rows(fourth);
}

TEST(StateCheckpoint, counts_the_bytes_that_go_with_it) {
  const StateLayout layout = small_layout(0);
  const auto pool = std::make_shared<PagePool>();
  auto sequence = std::make_optional(pooled(layout, pool, 1));
  sequence->feed(600);
  auto a = std::make_optional(sequence->state().checkpoint());
  sequence->feed(200);
  auto b = std::make_optional(sequence->state().checkpoint());
  EXPECT_EQ(a->bytes_own(), a->buffer_bytes());
  EXPECT_EQ(b->bytes_own(), b->buffer_bytes());
  EXPECT_EQ(pool->stats().checkpoint_bytes, 0);
  sequence.reset();
  EXPECT_EQ(a->bytes_own(), a->buffer_bytes());  // b has all of its pages too
  const int64_t freed = b->bytes_own() - b->buffer_bytes();
  EXPECT_GT(freed, 0);
  const int64_t before = pool->stats().live_bytes;
  EXPECT_EQ(pool->stats().checkpoint_bytes, before);
  b.reset();
  EXPECT_EQ(pool->stats().live_bytes, before - freed);
  EXPECT_EQ(a->bytes_own(), a->buffer_bytes() + pool->stats().live_bytes);
  a.reset();
  EXPECT_EQ(pool->stats().n_live, 0);
}

TEST(StateCheckpoint, at_a_multiple_of_all_ratios_has_no_block_in_progress) {
  StateLayout layout = small_layout(32);
  layout.layers[2].ratio = 128;
  const auto pool = std::make_shared<PagePool>();
  TestSequence sequence = pooled(layout, pool, 1);
  sequence.feed(255);
  const int64_t before = static_cast<int64_t>(sequence.state().checkpoint().ring_rows().size());
  sequence.feed(1);
  const int64_t at = static_cast<int64_t>(sequence.state().checkpoint().ring_rows().size());
  const LayerLayout& hca = layout.layers[2];
  const LayerLayout& csa = layout.layers[1];
  // 127 tokens in progress of ratio 128, 3 of ratio 4, values and scores in float.
  EXPECT_EQ(before - at,
            2 * 4 * (127 * hca.tail_width() + 3 * (csa.tail_width() + csa.index_tail_width())));
}

TEST(StateCheckpoint, shares_equal_pages_of_another) {
  const StateLayout layout = small_layout(0);
  const auto pool = std::make_shared<PagePool>();
  TestSequence a = pooled(layout, pool, 1);
  TestSequence b = pooled(layout, pool, 1);  // the same tokens, computed once more
  a.feed(800);
  b.feed(900);
  const StateCheckpoint first = a.state().checkpoint();
  StateCheckpoint second = b.state().checkpoint();
  a.replace_state(SequenceState(layout, pool));
  b.replace_state(SequenceState(layout, pool));
  const int64_t before = pool->stats().live_bytes;
  second.share_pages(first, 700);
  EXPECT_LT(pool->stats().live_bytes, before);
  const int64_t full = 700 / 4 / kEntriesPerPage;
  EXPECT_EQ(second.entry(0, full * kEntriesPerPage - 1),
            first.entry(0, full * kEntriesPerPage - 1));
  EXPECT_NE(second.entry(0, full * kEntriesPerPage), first.entry(0, full * kEntriesPerPage));
  SequenceState state(layout, pool);
  state.restore(second);
  b.replace_state(std::move(state));
  expect_rows(b);
}

// Any forks, rollbacks and losses: all rows stay right and no page is left over.
TEST(StateCheckpoint, random_forks_keep_their_rows_and_leave_no_page) {
  for (uint64_t seed = 1; seed <= 12; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    const StateLayout layout = small_layout(7, kStorages[seed % 3]);
    const auto pool = std::make_shared<PagePool>();
    {
      std::vector<TestSequence> live;
      std::vector<std::pair<TestSequence, StateCheckpoint>> kept;
      live.push_back(pooled(layout, pool, seed));
      for (uint64_t step = 0; step < 60; ++step) {
        const uint64_t choice = random_bits(seed, 1, step) % 6;
        const uint64_t pick = random_bits(seed, 2, step);
        TestSequence& one = live[pick % live.size()];
        if (choice < 2 && one.n_tokens() < 800) one.feed(static_cast<int64_t>(pick % 150));
        if (choice == 2) one.rollback(one.state().max_rollback());
        if (choice == 3) kept.emplace_back(one.fork(), one.state().checkpoint());
        if (choice == 4 && !kept.empty()) {
          const auto& [history, checkpoint] = kept[pick % kept.size()];
          TestSequence fork = history.fork();
          SequenceState state(layout, pool);
          state.restore(checkpoint);
          fork.replace_state(std::move(state));
          if (live.size() > 3) live.erase(live.begin());
          live.push_back(std::move(fork));
        }
        if (choice == 5 && kept.size() > 2) kept.erase(kept.begin());
      }
      for (TestSequence& sequence : live) expect_rows(sequence);
    }
    EXPECT_EQ(pool->stats().n_live, 0);
    EXPECT_EQ(pool->stats().checkpoint_bytes, 0);
  }
}

}  // namespace
}  // namespace dsv4
