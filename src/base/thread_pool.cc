#include "base/thread_pool.h"

#include "base/error.h"

#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <climits>

#include <fmt/core.h>

namespace dsv4 {
namespace {

// Loops in a forward pass follow each other within microseconds: look for the next one for about
// as long as falling asleep and being woken takes. Longer would take time from other processes,
// and yielding instead gives a whole time slice away each time.
constexpr int kSpins = 2000;

// Enough that a thread that is late leaves little behind, few enough that chunks stay long.
constexpr int64_t kChunksPerThread = 4;

int64_t count_grains(const Loop& loop) { return (loop.n + loop.grain - 1) / loop.grain; }

int64_t count_chunks(const Loop& loop, int64_t n_threads) {
  return std::min(count_grains(loop), n_threads * kChunksPerThread);
}

int64_t chunk_begin(const Loop& loop, int64_t chunk, int64_t n_chunks) {
  return std::min(loop.n, count_grains(loop) * chunk / n_chunks * loop.grain);
}

void pause_briefly() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

void futex_wait(std::atomic<uint32_t>& value, uint32_t old) {
  static_assert(sizeof(value) == sizeof(uint32_t));
  ::syscall(SYS_futex, &value, FUTEX_WAIT_PRIVATE, old, nullptr, nullptr, 0);
}

void futex_wake_all(std::atomic<uint32_t>& value) {
  ::syscall(SYS_futex, &value, FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0);
}

void run_only_on(std::span<const int> cores) {
  cpu_set_t set;
  CPU_ZERO(&set);
  for (const int core : cores) CPU_SET(static_cast<size_t>(core), &set);
  ::sched_setaffinity(0, sizeof(set), &set);
}

}  // namespace

// Chunks [next, end) as one number, so that taking from either side is one exchange. Alone in its
// cache lines, which the owner writes most.
struct alignas(128) ThreadPool::Part {
  std::atomic<uint64_t> chunks{0};

  static uint64_t pack(uint64_t next, uint64_t end) { return end << 32 | next; }
  void set(int64_t next, int64_t end) {
    chunks.store(pack(static_cast<uint64_t>(next), static_cast<uint64_t>(end)),
                 std::memory_order_release);
  }
  // A successful exchange makes what start_loop() wrote before set() visible.
  bool take(bool from_end, int64_t& chunk) {
    uint64_t old = chunks.load(std::memory_order_relaxed);
    while (true) {
      const uint64_t next = old & UINT32_MAX;
      const uint64_t end = old >> 32;
      if (next >= end) return false;
      chunk = static_cast<int64_t>(from_end ? end - 1 : next);
      if (chunks.compare_exchange_weak(old, from_end ? pack(next, end - 1) : pack(next + 1, end),
                                       std::memory_order_acquire, std::memory_order_relaxed)) {
        return true;
      }
    }
  }
};

std::vector<int> allowed_cores() {
  std::vector<int> cores;
  cpu_set_t set;
  if (::sched_getaffinity(0, sizeof(set), &set) != 0) return cores;
  for (int core = 0; core < CPU_SETSIZE; ++core) {
    if (CPU_ISSET(static_cast<size_t>(core), &set)) cores.push_back(core);
  }
  return cores;
}

int count_threads(const ThreadOptions& options) {
  if (options.n_threads > 0) return options.n_threads;
  const auto n_cores = static_cast<int>(allowed_cores().size());
  return std::max(n_cores > 0 ? n_cores : static_cast<int>(std::thread::hardware_concurrency()), 1);
}

ThreadPool::ThreadPool(const ThreadOptions& options) {
  const std::vector<int> cores = allowed_cores();
  n_threads_ = count_threads(options);  // workers look at it as soon as they start
  if (options.pin && cores.empty()) {
    throw Error(ErrorCode::kUnsupported, "--pin", "the system does not tell the allowed cores");
  }
  const auto core_of = [&](int part) {
    return options.pin ? cores[static_cast<size_t>(part) % cores.size()] : -1;
  };
  parts_ = std::make_unique<Part[]>(static_cast<size_t>(n_threads_));
  workers_.reserve(static_cast<size_t>(n_threads_) - 1);
  for (int part = 1; part < n_threads_; ++part) {
    workers_.emplace_back([this, part, core = core_of(part)] { worker(part, core); });
  }
  if (!options.pin) return;
  restored_cores_ = cores;
  run_only_on(std::span(cores).first(1));
}

ThreadPool::~ThreadPool() {
  stopping_.store(true, std::memory_order_relaxed);
  announce();
  if (!restored_cores_.empty()) run_only_on(restored_cores_);
}

void ThreadPool::run_alone(const Job& job) const {
  for (size_t i = 0; i < job.loops.size(); ++i) {
    if (job.loops[i].n > 0) job.call(job.context, i, 0, job.loops[i].n);
  }
}

void ThreadPool::run(const Job& job) {
  const auto is_short = [](const Loop& loop) { return loop.n <= loop.grain; };
  if (workers_.empty() || std::ranges::all_of(job.loops, is_short)) return run_alone(job);
  job_ = job;
  loop_ = 0;
  finished_.store(false, std::memory_order_relaxed);
  start_loop();
  while (true) {
    const uint32_t seen = news_.load(std::memory_order_acquire);
    take_chunks(0);
    if (finished_.load(std::memory_order_acquire)) return;
    wait_for_news(seen);
  }
}

int64_t ThreadPool::part_begin(const Loop& loop, int part) const {
  const int64_t n_chunks = count_chunks(loop, n_threads());
  return n_chunks == 0 ? 0 : chunk_begin(loop, n_chunks * part / n_threads(), n_chunks);
}

// Lays out the chunks of the next loop that has any, or ends the job. Called by one thread, when
// no chunk is left or being worked on.
void ThreadPool::start_loop() {
  while (loop_ < job_.loops.size() && job_.loops[loop_].n <= 0) ++loop_;
  if (loop_ == job_.loops.size()) {
    finished_.store(true, std::memory_order_release);
    return announce();
  }
  const int64_t n_parts = n_threads();
  const int64_t n_chunks = count_chunks(job_.loops[loop_], n_parts);
  n_chunks_ = n_chunks;
  n_done_.store(0, std::memory_order_relaxed);
  // After the first set() others may end this loop and start the next.
  for (int64_t part = 0; part < n_parts; ++part) {
    parts_[static_cast<size_t>(part)].set(n_chunks * part / n_parts,
                                          n_chunks * (part + 1) / n_parts);
  }
  announce();
}

void ThreadPool::take_chunks(int part) {
  int64_t chunk = 0;
  while (take_chunk(part, chunk)) {
    const Loop& loop = job_.loops[loop_];
    const int64_t n_chunks = n_chunks_;
    job_.call(job_.context, loop_, chunk_begin(loop, chunk, n_chunks),
              chunk_begin(loop, chunk + 1, n_chunks));
    if (n_done_.fetch_add(1, std::memory_order_acq_rel) + 1 == n_chunks) {
      ++loop_;
      start_loop();
    }
  }
}

bool ThreadPool::take_chunk(int part, int64_t& chunk) {
  if (parts_[static_cast<size_t>(part)].take(/*from_end=*/false, chunk)) return true;
  for (int i = 1; i < n_threads(); ++i) {
    const auto other = static_cast<size_t>((part + i) % n_threads());
    if (parts_[other].take(/*from_end=*/true, chunk)) return true;
  }
  return false;
}

void ThreadPool::announce() {
  // Ordered with wait_for_news: either it sees the new count, or this sees it asleep.
  news_.fetch_add(1, std::memory_order_seq_cst);
  if (n_asleep_.load(std::memory_order_seq_cst) > 0) futex_wake_all(news_);
}

void ThreadPool::wait_for_news(uint32_t seen) {
  for (int spin = 0; spin < kSpins; ++spin) {
    if (news_.load(std::memory_order_acquire) != seen) return;
    pause_briefly();
  }
  n_asleep_.fetch_add(1, std::memory_order_seq_cst);
  while (news_.load(std::memory_order_seq_cst) == seen) futex_wait(news_, seen);
  n_asleep_.fetch_sub(1, std::memory_order_relaxed);
}

void ThreadPool::worker(int part, int core) {
  if (core >= 0) run_only_on({&core, 1});
  while (true) {
    const uint32_t seen = news_.load(std::memory_order_acquire);
    if (stopping_.load(std::memory_order_relaxed)) return;
    take_chunks(part);
    wait_for_news(seen);
  }
}

}  // namespace dsv4
