// A few threads that take jobs in the order in which they came: reading and encoding of requests,
// which is too much for the I/O thread.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace dsv4 {

// May be used from any thread; destroyed when its jobs no longer use what they refer to.
class WorkQueue {
 public:
  WorkQueue(int n_threads, size_t max_jobs);
  ~WorkQueue() { stop(); }
  WorkQueue(const WorkQueue&) = delete;
  WorkQueue& operator=(const WorkQueue&) = delete;

  // False when max_jobs wait already, or after stop(). A job must not throw.
  bool push(std::function<void()> job);
  // Does what waits and joins the threads.
  void stop();

 private:
  void run();

  const size_t max_jobs_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> jobs_;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace dsv4
