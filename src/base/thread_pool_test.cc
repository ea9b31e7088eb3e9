#include "base/thread_pool.h"

#include <gtest/gtest.h>

#include <chrono>
#include <mutex>
#include <set>

namespace dsv4 {
namespace {

TEST(ThreadPool, visits_each_index_once_whatever_the_sizes) {
  for (const int n_threads : {1, 2, 3, 7}) {
    ThreadPool pool(n_threads);
    EXPECT_EQ(pool.n_threads(), n_threads);
    for (const int64_t n : {0, 1, 2, 6, 7, 64, 1000}) {
      for (const int64_t grain : {1, 3, 16}) {
        std::vector<int> visits(static_cast<size_t>(n), 0);
        pool.parallel_for(n, grain, [&](int64_t begin, int64_t end) {
          EXPECT_EQ(begin % grain, 0);
          EXPECT_LT(begin, end);
          for (int64_t i = begin; i < end; ++i) ++visits[static_cast<size_t>(i)];
        });
        EXPECT_EQ(visits, std::vector<int>(static_cast<size_t>(n), 1));
      }
    }
  }
}

TEST(ThreadPool, publishes_the_writes_of_many_short_loops) {
  ThreadPool pool(3);
  std::vector<int64_t> values(97, 0);
  for (int round = 0; round < 5000; ++round) {
    pool.parallel_for(97, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) values[static_cast<size_t>(i)] += i;
    });
  }
  for (int64_t i = 0; i < 97; ++i) EXPECT_EQ(values[static_cast<size_t>(i)], 5000 * i);
}

TEST(ThreadPool, runs_loops_one_after_the_other) {
  // Each loop reads what all chunks of the one before have written.
  for (const int n_threads : {1, 2, 4}) {
    ThreadPool pool(n_threads);
    constexpr int64_t kN = 64;
    const std::vector<Loop> loops = {{kN, 1}, {0, 1}, {kN, 16}, {1, 1}, {kN, 3}};
    for (int round = 0; round < 300; ++round) {
      std::vector<int64_t> rows[6];
      rows[0].assign(kN, 1);
      for (auto& row : std::span(rows).subspan(1)) row.assign(kN, 0);
      pool.run_loops(loops, [&](size_t loop, int64_t begin, int64_t end) {
        ASSERT_NE(loop, 1u);
        const std::vector<int64_t>& from = rows[loop == 2 ? 1 : loop];
        int64_t sum = 0;
        for (const int64_t v : from) sum += v;
        for (int64_t i = begin; i < end; ++i) rows[loop + 1][static_cast<size_t>(i)] = sum;
      });
      ASSERT_EQ(rows[1], std::vector<int64_t>(kN, kN));
      ASSERT_EQ(rows[3], std::vector<int64_t>(kN, kN * kN));
      ASSERT_EQ(rows[4][0], kN * kN * kN);
      ASSERT_EQ(rows[5], std::vector<int64_t>(kN, kN * kN * kN));
    }
  }
}

TEST(ThreadPool, parts_of_threads_begin_with_chunks) {
  for (const int n_threads : {1, 2, 3, 7}) {
    ThreadPool pool(n_threads);
    for (const Loop loop : {Loop{0, 1}, Loop{1, 1}, Loop{49, 1}, Loop{100, 16}, Loop{5, 8}}) {
      std::mutex mutex;
      std::set<int64_t> borders = {0, loop.n};
      pool.parallel_for(loop.n, loop.grain, [&](int64_t begin, int64_t) {
        const std::lock_guard lock(mutex);
        borders.insert(begin);
      });
      EXPECT_EQ(pool.part_begin(loop, 0), 0);
      EXPECT_EQ(pool.part_begin(loop, n_threads), loop.n);
      for (int part = 0; part < n_threads; ++part) {
        const int64_t begin = pool.part_begin(loop, part);
        EXPECT_LE(begin, pool.part_begin(loop, part + 1));
        EXPECT_TRUE(borders.contains(begin)) << begin;
      }
    }
  }
}

TEST(ThreadPool, does_the_work_of_a_thread_that_is_late) {
  ThreadPool pool(2);
  std::mutex mutex;
  std::set<std::thread::id> late;
  std::atomic<int> n_by_others = 0;
  pool.parallel_for(8, 1, [&](int64_t, int64_t) {
    // The first thread that comes stays until the other has done all the rest.
    bool first = false;
    {
      const std::lock_guard lock(mutex);
      if (late.empty()) late.insert(std::this_thread::get_id()), first = true;
    }
    if (!first) ++n_by_others;
    const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (first && n_by_others < 7 && std::chrono::steady_clock::now() < give_up) {
      std::this_thread::yield();
    }
  });
  EXPECT_EQ(n_by_others, 7);
}

TEST(ThreadPool, pins_each_thread_to_one_of_the_allowed_cores) {
  const std::vector<int> allowed = allowed_cores();
  ASSERT_FALSE(allowed.empty());
  const int n_threads = static_cast<int>(allowed.size()) + 1;
  {
    ThreadPool pool({.n_threads = n_threads, .pin = true});
    EXPECT_EQ(allowed_cores(), std::vector(1, allowed[0]));
    // As many chunks as threads, each of which stays until all are here: every thread has one.
    std::atomic<int> n_here = 0;
    std::mutex mutex;
    std::multiset<int> cores;
    pool.parallel_for(n_threads, 1, [&](int64_t, int64_t) {
      const std::vector<int> own = allowed_cores();
      {
        const std::lock_guard lock(mutex);
        EXPECT_EQ(own.size(), 1u);
        cores.insert(own[0]);
      }
      ++n_here;
      while (n_here < n_threads) std::this_thread::yield();
    });
    std::multiset<int> expected(allowed.begin(), allowed.end());
    expected.insert(allowed[0]);
    EXPECT_EQ(cores, expected);
  }
  EXPECT_EQ(allowed_cores(), allowed);  // the calling thread is as free as before
}

TEST(ThreadPool, has_a_thread_for_each_allowed_core) {
  EXPECT_EQ(ThreadPool(0).n_threads(), static_cast<int>(allowed_cores().size()));
}

}  // namespace
}  // namespace dsv4
