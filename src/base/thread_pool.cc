#include "base/thread_pool.h"

#include <algorithm>

namespace dsv4 {
namespace {

// Loops in a forward pass follow each other within microseconds: spin about that long, then sleep,
// so that an idle pool costs nothing.
constexpr int kSpins = 4000;

void pause_briefly() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

// Blocks until `value` differs from `old`.
template <typename T>
void wait_for_change(const std::atomic<T>& value, T old) {
  for (int spin = 0; spin < kSpins; ++spin) {
    if (value.load(std::memory_order_acquire) != old) return;
    pause_briefly();
  }
  value.wait(old, std::memory_order_acquire);
}

}  // namespace

ThreadPool::ThreadPool(int n_threads) {
  if (n_threads <= 0)
    n_threads = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  workers_.reserve(static_cast<size_t>(n_threads) - 1);
  for (int part = 1; part < n_threads; ++part) {
    workers_.emplace_back([this, part] { worker(part); });
  }
}

ThreadPool::~ThreadPool() {
  stopping_.store(true, std::memory_order_relaxed);
  generation_.fetch_add(1, std::memory_order_release);
  generation_.notify_all();
}

void ThreadPool::run(const Job& job) {
  job_ = job;
  n_pending_.store(static_cast<int>(workers_.size()), std::memory_order_relaxed);
  generation_.fetch_add(1, std::memory_order_release);
  generation_.notify_all();
  run_part(0);
  for (int pending = n_pending_.load(std::memory_order_acquire); pending != 0;
       pending = n_pending_.load(std::memory_order_acquire)) {
    wait_for_change(n_pending_, pending);
  }
}

void ThreadPool::run_part(int part) const {
  const int64_t n_parts = n_threads();
  const int64_t n_grains = (job_.n + job_.grain - 1) / job_.grain;
  const int64_t begin = n_grains * part / n_parts * job_.grain;
  const int64_t end = std::min(job_.n, n_grains * (part + 1) / n_parts * job_.grain);
  if (begin < end) job_.call(job_.context, begin, end);
}

void ThreadPool::worker(int part) {
  uint32_t seen = 0;
  while (true) {
    wait_for_change(generation_, seen);
    seen = generation_.load(std::memory_order_acquire);
    if (stopping_.load(std::memory_order_relaxed)) return;
    run_part(part);
    n_pending_.fetch_sub(1, std::memory_order_release);
    n_pending_.notify_one();
  }
}

}  // namespace dsv4
