// Threads for data-parallel loops. Loops are cut into chunks whose borders depend only on the
// sizes, and each output element is computed in one order within one chunk, so results depend
// neither on the number of threads nor on who computes what.
//
// A thread takes chunks from its own part of a loop, then from the end of those of others: nobody
// waits for a thread that the system has not let run, only for chunks that were begun.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <thread>
#include <vector>

namespace dsv4 {

// Iterations [0, n); borders of chunks are multiples of `grain`.
struct Loop {
  int64_t n = 0;
  int64_t grain = 1;
};

// The cores that this thread may run on.
std::vector<int> allowed_cores();

struct ThreadOptions {
  int n_threads = 0;  // with the calling thread; 0 is one for each of the allowed cores
  bool pin = false;   // the i-th thread stays on the i-th of the allowed cores
};

// How many threads a pool with these options has.
int count_threads(const ThreadOptions& options);

// Owned and used by one thread at a time; its functions are not reentrant.
class ThreadPool {
 public:
  // With `pin` the calling thread is pinned too, until the pool is destroyed. Throws
  // Error(kUnsupported) where the system refuses.
  explicit ThreadPool(const ThreadOptions& options);
  explicit ThreadPool(int n_threads = 0) : ThreadPool(ThreadOptions{.n_threads = n_threads}) {}
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int n_threads() const { return n_threads_; }

  // Where the iterations of a loop begin that thread `part` takes first; those of thread
  // n_threads(), which there is not, begin at the end.
  int64_t part_begin(const Loop& loop, int part) const;

  // Calls body(begin, end) for ranges that cover [0, n), a few per thread. Returns when all are
  // done. The body must not throw.
  template <typename Body>
  void parallel_for(int64_t n, int64_t grain, const Body& body) {
    const Loop loop{n, grain};
    run_loops({&loop, 1}, [&](size_t, int64_t begin, int64_t end) { body(begin, end); });
  }

  // The same for loops one after the other: body(i, begin, end) of loops[i] is called when all
  // those of loops[i - 1] have returned. Cheaper than as many calls of parallel_for.
  template <typename Body>
  void run_loops(std::span<const Loop> loops, const Body& body) {
    run({&body,
         [](const void* context, size_t loop, int64_t begin, int64_t end) {
           (*static_cast<const Body*>(context))(loop, begin, end);
         },
         loops});
  }

 private:
  struct Job {
    const void* context = nullptr;
    void (*call)(const void* context, size_t loop, int64_t begin, int64_t end) = nullptr;
    std::span<const Loop> loops;
  };
  struct Part;

  void run(const Job& job);
  void run_alone(const Job& job) const;
  void worker(int part, int core);
  void take_chunks(int part);
  bool take_chunk(int part, int64_t& chunk);
  void start_loop();
  void announce();
  void wait_for_news(uint32_t seen);

  int n_threads_ = 1;

  // Written while no chunk is left, read by those who have taken one.
  Job job_;
  size_t loop_ = 0;  // of job_, the one whose chunks are in parts_
  int64_t n_chunks_ = 0;

  std::unique_ptr<Part[]> parts_;  // chunks that nobody has taken yet, by thread
  std::atomic<int64_t> n_done_{0};
  std::atomic<bool> finished_{true};  // job_
  std::atomic<bool> stopping_{false};
  std::atomic<uint32_t> news_{0};  // counts what threads may be waiting for
  std::atomic<int> n_asleep_{0};
  std::vector<int> restored_cores_;  // of the calling thread, when it has been pinned
  std::vector<std::jthread> workers_;
};

}  // namespace dsv4
