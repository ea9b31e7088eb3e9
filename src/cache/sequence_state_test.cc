#include "cache/sequence_state.h"

#include "base/error.h"
#include "cache/sequence_rows_testing.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

namespace dsv4 {
namespace {

TEST(RowRing, keeps_the_last_rows_whatever_the_chunks) {
  for (const int64_t capacity : {1, 2, 5}) {
    RowRing<float> ring(capacity, 2);
    EXPECT_EQ(ring.bytes(), capacity * 2 * 4);
    int64_t n = 0;
    for (const int64_t chunk : {1, 3, 0, 2, 7, 1, 5, 20, 4}) {
      const Tensor<float, 2> rows({chunk, 2});
      for (int64_t i = 0; i < chunk; ++i) {
        rows.view()(i, 0) = static_cast<float>(n + i);
        rows.view()(i, 1) = static_cast<float>(-n - i);
      }
      ring.append(n, rows.view());
      n += chunk;
      for (int64_t p = std::max<int64_t>(0, n - capacity); p < n; ++p) {
        EXPECT_EQ(ring.row(p)[0], static_cast<float>(p)) << capacity << " " << n;
        EXPECT_EQ(ring.row(p)[1], static_cast<float>(-p)) << capacity << " " << n;
      }
    }
  }
}

TEST(SequenceState, holds_what_later_tokens_need_after_any_chunks_rollbacks_and_restores) {
  for (uint64_t seed = 1; seed <= 60; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    const KvStorage storage = kStorages[seed % 3];
    TestSequence sequence(small_layout(static_cast<int64_t>(seed % 9), storage), seed);
    for (uint64_t step = 0; step < 40; ++step) {
      const uint64_t choice = random_bits(seed, 2, step) % 8;
      const auto amount = static_cast<int64_t>(random_bits(seed, 3, step) % 24);
      if (choice < 5) {
        sequence.feed(choice == 0 ? amount : amount / 6);
      } else if (choice < 7) {
        sequence.rollback(std::min(amount / 3, sequence.state().max_rollback()));
      } else {
        const auto bytes = sequence.state().snapshot();
        sequence.replace_state(SequenceState::restore(sequence.layout(), bytes, "here"));
        EXPECT_EQ(sequence.state().snapshot(), bytes);
      }
      expect_rows(sequence);
      if (testing::Test::HasFatalFailure()) return;
    }
  }
}

TEST(SequenceState, takes_back_at_most_what_the_layout_allows) {
  TestSequence sequence(small_layout(6), 1);
  EXPECT_EQ(sequence.state().max_rollback(), 0);
  sequence.feed(4);
  EXPECT_EQ(sequence.state().max_rollback(), 4);  // to the start
  EXPECT_THROW(sequence.state().rollback(5), Error);
  EXPECT_THROW(sequence.state().rollback(-1), Error);
  EXPECT_EQ(sequence.state().n_tokens(), 4);
  sequence.feed(20);
  EXPECT_EQ(sequence.state().max_rollback(), 6);
  sequence.rollback(4);
  EXPECT_EQ(sequence.state().n_tokens(), 20);
  EXPECT_EQ(sequence.state().max_rollback(), 2);  // the rows before are overwritten
  sequence.feed(1);
  EXPECT_EQ(sequence.state().max_rollback(), 3);
  sequence.rollback(0);
  try {
    sequence.state().rollback(4);
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kOutOfRange);
    EXPECT_STREQ(error.what(), "cannot take back 4 tokens, at most 3");
  }
  sequence.state().clear();
  EXPECT_EQ(sequence.state().n_tokens(), 0);
  EXPECT_EQ(sequence.state().max_rollback(), 0);
}

TEST(SequenceState, refuses_more_tokens_than_the_context_and_stays_as_it_was) {
  StateLayout layout = small_layout(2);
  layout.max_tokens = 10;
  TestSequence sequence(layout, 1);
  sequence.feed(8);
  const auto before = sequence.state().snapshot();
  const int64_t bytes = sequence.state().allocated_bytes();
  try {
    sequence.state().reserve(11);
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kOutOfRange);
    EXPECT_NE(std::string(error.what()).find("context length is 10"), std::string::npos);
  }
  EXPECT_EQ(sequence.state().snapshot(), before);
  EXPECT_EQ(sequence.state().allocated_bytes(), bytes);
  sequence.feed(2);
  expect_rows(sequence);
}

}  // namespace
}  // namespace dsv4
