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
  WorkQueue(int n_threads, size_t max_jobs, size_t max_bytes);
  ~WorkQueue() { stop(); }
  WorkQueue(const WorkQueue&) = delete;
  WorkQueue& operator=(const WorkQueue&) = delete;

  // False after stop(), when max_jobs wait already, or when something waits and would hold more
  // than max_bytes together with this one, which holds `n_bytes`. A job must not throw.
  bool push(std::function<void()> job, size_t n_bytes = 0);
  // Does what waits and joins the threads.
  void stop();

 private:
  struct Job {
    std::function<void()> fn;
    size_t n_bytes;
  };

  void run();

  const size_t max_jobs_;
  const size_t max_bytes_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Job> jobs_;
  size_t n_bytes_ = 0;  // of jobs_
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace dsv4
