#include "cache/page_pool.h"

#include "base/rng.h"
#include "cache/paged_rows.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <variant>
#include <vector>

namespace dsv4 {
namespace {

TEST(PagePool, gives_a_page_back_to_who_asks_for_its_size) {
  PagePool pool;
  const std::byte* place = nullptr;
  {
    const auto page = pool.acquire<PageHolder::kSequence>(100);
    place = page.data();
    EXPECT_EQ(reinterpret_cast<uintptr_t>(place) % 64, 0u);
    EXPECT_EQ(page.bytes(), 100);
    EXPECT_EQ(pool.stats().live_bytes, 100);
  }
  EXPECT_EQ(pool.stats().n_live, 0);
  EXPECT_EQ(pool.stats().free_bytes, 100);
  const auto other = pool.acquire<PageHolder::kSequence>(101);
  EXPECT_NE(other.data(), place);
  const auto same = pool.acquire<PageHolder::kCheckpoint>(100);
  EXPECT_EQ(same.data(), place);
  EXPECT_EQ(pool.stats().live_bytes, 201);
  EXPECT_EQ(pool.stats().free_bytes, 0);
}

TEST(PagePool, knows_what_only_checkpoints_hold) {
  PagePool pool;
  auto sequence = pool.acquire<PageHolder::kSequence>(10);
  EXPECT_FALSE(sequence.is_shared());
  {
    const CheckpointPage checkpoint(sequence);
    EXPECT_TRUE(sequence.is_shared());
    EXPECT_EQ(checkpoint.data(), sequence.data());
    EXPECT_EQ(pool.stats().n_live, 1);
    EXPECT_EQ(pool.stats().checkpoint_bytes, 0);
    sequence = {};
    EXPECT_FALSE(checkpoint.is_shared());
    EXPECT_EQ(pool.stats().checkpoint_bytes, 10);
    const SequencePage again(checkpoint);
    EXPECT_EQ(pool.stats().checkpoint_bytes, 0);
  }
  EXPECT_EQ(pool.stats().checkpoint_bytes, 0);
  EXPECT_EQ(pool.stats().live_bytes, 0);
}

TEST(PagePool, gives_free_pages_back_to_the_system) {
  PagePool pool;
  const auto a = pool.acquire<PageHolder::kSequence>(100);
  for (const int64_t n_bytes : {150, 60}) pool.acquire<PageHolder::kSequence>(n_bytes);
  EXPECT_EQ(pool.stats().free_bytes, 210);
  pool.trim(100);
  EXPECT_LE(pool.stats().free_bytes, 100);
  pool.trim();
  EXPECT_EQ(pool.stats().free_bytes, 0);
  EXPECT_EQ(pool.stats().live_bytes, 100);
}

// Every counter is what a list of all holds says.
TEST(PagePool, counts_exactly_after_any_holds) {
  struct Hold {
    std::variant<SequencePage, CheckpointPage> page;
    const std::byte* data() const {
      return std::visit([](const auto& p) { return p.data(); }, page);
    }
    int64_t bytes() const {
      return std::visit([](const auto& p) { return p.bytes(); }, page);
    }
  };
  PagePool pool;
  std::vector<Hold> holds;
  for (uint64_t step = 0; step < 3000; ++step) {
    const uint64_t choice = random_bits(1, 1, step) % 5;
    const uint64_t pick = random_bits(1, 2, step);
    if (choice == 0) {
      holds.push_back({pool.acquire<PageHolder::kSequence>(64 * (1 + int64_t(pick % 3)))});
    } else if (!holds.empty()) {
      const size_t i = pick % holds.size();
      const auto as = [&](auto ref) {
        return std::visit([&](const auto& p) { return decltype(ref)(p); }, holds[i].page);
      };
      if (choice == 1) holds.push_back({as(SequencePage())});
      if (choice == 2) holds.push_back({as(CheckpointPage())});
      if (choice >= 3) holds.erase(holds.begin() + static_cast<ptrdiff_t>(i));
    }
    std::map<const std::byte*, std::pair<int64_t, bool>> pages;  // bytes, held by a sequence
    for (const Hold& hold : holds) {
      auto& [bytes, in_sequence] = pages[hold.data()];
      bytes = hold.bytes();
      in_sequence = in_sequence || std::holds_alternative<SequencePage>(hold.page);
    }
    int64_t live = 0;
    int64_t kept = 0;
    for (const auto& [data, page] : pages) {
      live += page.first;
      kept += page.second ? 0 : page.first;
    }
    const PagePoolStats stats = pool.stats();
    ASSERT_EQ(stats.n_live, static_cast<int64_t>(pages.size())) << step;
    ASSERT_EQ(stats.live_bytes, live) << step;
    ASSERT_EQ(stats.checkpoint_bytes, kept) << step;
  }
  holds.clear();
  EXPECT_EQ(pool.stats().live_bytes, 0);
  EXPECT_EQ(pool.stats().checkpoint_bytes, 0);
}

TEST(PagedRows, never_move_while_they_grow) {
  PagePool pool;
  PagedRows rows(pool, 3);
  EXPECT_EQ(rows.bytes(), 0);
  std::vector<const std::byte*> places;
  for (int64_t n = 1; n <= 3 * kEntriesPerPage; ++n) {
    rows.reserve(n - 1, n);
    places.push_back(rows.row(n - 1));
    std::fill_n(rows.writable_row(n - 1), 3, static_cast<std::byte>(n));
  }
  EXPECT_EQ(rows.bytes(), 3 * kEntriesPerPage * 3);
  rows.reserve(0, 1);
  for (int64_t i = 0; i < 3 * kEntriesPerPage; ++i) {
    EXPECT_EQ(rows.row(i), places[static_cast<size_t>(i)]);
    EXPECT_EQ(rows.row(i)[2], static_cast<std::byte>(i + 1));
  }
}

TEST(PagedRows, copy_a_shared_page_before_it_is_written) {
  PagePool pool;
  PagedRows rows(pool, 1);
  const int64_t n = 2 * kEntriesPerPage;
  rows.reserve(0, n);
  for (int64_t i = 0; i < n; ++i) *rows.writable_row(i) = static_cast<std::byte>(i);
  std::vector<CheckpointPage> kept;
  for (const SequencePage& page : rows.pages(2)) kept.emplace_back(page);
  PagedRows fork(pool, 1);
  fork.share(kept);
  EXPECT_EQ(fork.row(70), rows.row(70));
  EXPECT_EQ(pool.stats().n_live, 2);
  const int64_t first = kEntriesPerPage + 5;
  fork.reserve(first, n);
  EXPECT_EQ(pool.stats().n_live, 3);
  EXPECT_EQ(fork.row(0), rows.row(0));  // not written: still shared
  for (int64_t i = kEntriesPerPage; i < first; ++i) EXPECT_EQ(*fork.row(i), *rows.row(i));
  for (int64_t i = first; i < n; ++i) *fork.writable_row(i) = std::byte{255};
  for (int64_t i = 0; i < n; ++i) EXPECT_EQ(*rows.row(i), static_cast<std::byte>(i));
}

TEST(PagedRows, allocate_nothing_once_the_pool_is_warm) {
  PagePool pool;
  for (int round = 0; round < 3; ++round) {
    PagedRows rows(pool, 8, 10 * kEntriesPerPage);
    for (int64_t n = 0; n < 10 * kEntriesPerPage; ++n) rows.reserve(n, n + 1);
    EXPECT_EQ(pool.stats().live_bytes, 10 * kEntriesPerPage * 8);
    EXPECT_EQ(pool.stats().free_bytes, 0);
  }
}

}  // namespace
}  // namespace dsv4
