#include "server/work_queue.h"

#include <utility>

namespace dsv4 {

WorkQueue::WorkQueue(int n_threads, size_t max_jobs, size_t max_bytes)
    : max_jobs_(max_jobs), max_bytes_(max_bytes) {
  for (int i = 0; i < n_threads; ++i) threads_.emplace_back([this] { run(); });
}

bool WorkQueue::push(std::function<void()> job, size_t n_bytes) {
  const std::lock_guard lock(mutex_);
  if (stopping_ || jobs_.size() >= max_jobs_) return false;
  if (!jobs_.empty() && n_bytes_ + n_bytes > max_bytes_) return false;
  n_bytes_ += n_bytes;
  jobs_.push_back({std::move(job), n_bytes});
  changed_.notify_one();
  return true;
}

void WorkQueue::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    changed_.notify_all();
  }
  for (std::thread& thread : threads_) {
    if (thread.joinable()) thread.join();
  }
}

void WorkQueue::run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [&] { return stopping_ || !jobs_.empty(); });
    if (jobs_.empty()) return;
    {
      const Job job = std::move(jobs_.front());
      jobs_.pop_front();
      n_bytes_ -= job.n_bytes;
      lock.unlock();
      job.fn();
    }
    lock.lock();
  }
}

}  // namespace dsv4
