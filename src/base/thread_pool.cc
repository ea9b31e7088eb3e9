#include "base/thread_pool.h"

#include <algorithm>

namespace dsv4 {
namespace {

// Loops in a forward pass follow each other within microseconds, and threads that share work end
// within some tens of them: spin about that long, then let others run for a while, then sleep, so
// that an idle pool costs nothing and a second busy process gets its share.
constexpr int kSpins = 2000;
constexpr int kYields = 200;

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
  for (int i = 0; i < kYields; ++i) {
    if (value.load(std::memory_order_acquire) != old) return;
    std::this_thread::yield();
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
  job_.call(job_.context, Team(*this, 0));
  for (int pending = n_pending_.load(std::memory_order_acquire); pending != 0;
       pending = n_pending_.load(std::memory_order_acquire)) {
    wait_for_change(n_pending_, pending);
  }
}

ThreadPool::Range ThreadPool::Team::range(int64_t n, int64_t grain) const {
  const int64_t n_parts = pool_.n_threads();
  const int64_t n_grains = (n + grain - 1) / grain;
  return {n_grains * part_ / n_parts * grain,
          std::min(n, n_grains * (part_ + 1) / n_parts * grain)};
}

void ThreadPool::barrier() {
  const uint32_t passed = n_passed_.load(std::memory_order_acquire);
  if (n_arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 < n_threads()) {
    return wait_for_change(n_passed_, passed);
  }
  n_arrived_.store(0, std::memory_order_relaxed);
  n_passed_.fetch_add(1, std::memory_order_release);
  n_passed_.notify_all();
}

void ThreadPool::worker(int part) {
  uint32_t seen = 0;
  while (true) {
    wait_for_change(generation_, seen);
    seen = generation_.load(std::memory_order_acquire);
    if (stopping_.load(std::memory_order_relaxed)) return;
    job_.call(job_.context, Team(*this, part));
    n_pending_.fetch_sub(1, std::memory_order_release);
    n_pending_.notify_one();
  }
}

}  // namespace dsv4
