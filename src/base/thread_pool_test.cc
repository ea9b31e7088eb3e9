#include "base/thread_pool.h"

#include <gtest/gtest.h>

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

}  // namespace
}  // namespace dsv4
