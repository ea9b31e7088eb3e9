#include "server/work_queue.h"

#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <thread>

namespace dsv4 {
namespace {

TEST(WorkQueue, bounds_what_waits_in_number_and_bytes) {
  std::promise<void> begun;
  std::promise<void> go;
  std::atomic<int> n = 0;
  WorkQueue queue(1, 3, 100);
  ASSERT_TRUE(queue.push([&] {
    begun.set_value();
    go.get_future().wait();
  }));
  begun.get_future().wait();
  const auto count = [&n] { ++n; };
  EXPECT_TRUE(queue.push(count, 1000)) << "alone it may have any size";
  EXPECT_FALSE(queue.push(count, 1));
  EXPECT_FALSE(queue.push(count));
  go.set_value();
  while (n < 1) std::this_thread::yield();
  queue.stop();
  EXPECT_FALSE(queue.push(count));
  EXPECT_EQ(n, 1);
}

TEST(WorkQueue, counts_the_bytes_of_waiting_jobs_only) {
  std::promise<void> begun;
  std::promise<void> go;
  std::atomic<int> n = 0;
  WorkQueue queue(1, 3, 100);
  ASSERT_TRUE(queue.push(
      [&] {
        begun.set_value();
        go.get_future().wait();
      },
      1000));
  begun.get_future().wait();
  const auto count = [&n] { ++n; };
  EXPECT_TRUE(queue.push(count, 50));
  EXPECT_TRUE(queue.push(count, 50));
  EXPECT_FALSE(queue.push(count, 1));
  EXPECT_TRUE(queue.push(count));
  EXPECT_FALSE(queue.push(count)) << "three wait";
  go.set_value();
  queue.stop();
  EXPECT_EQ(n, 3);
}

}  // namespace
}  // namespace dsv4
