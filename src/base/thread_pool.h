// Threads for data-parallel loops. Work is cut into fixed contiguous ranges: who computes what
// depends only on the sizes, and each output element is computed by one thread in one order, so
// results do not depend on the number of threads.
#pragma once

#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

namespace dsv4 {

// Owned and used by one thread at a time; parallel_for is not reentrant.
class ThreadPool {
 public:
  // `n_threads` counts the calling thread; 0 means one per core.
  explicit ThreadPool(int n_threads = 0);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int n_threads() const { return static_cast<int>(workers_.size()) + 1; }

  // Calls body(begin, end) for ranges that cover [0, n), at most one per thread, whose borders are
  // multiples of `grain`. Returns when all are done. The body must not throw.
  template <typename Body>
  void parallel_for(int64_t n, int64_t grain, const Body& body) {
    if (n <= 0) return;
    if (workers_.empty() || n <= grain) {
      body(int64_t{0}, n);
      return;
    }
    run_team([&](const Team& team) {
      const Range range = team.range(n, grain);
      if (range.begin < range.end) body(range.begin, range.end);
    });
  }

  struct Range {
    int64_t begin = 0;
    int64_t end = 0;
  };

  // One of the threads of run_team.
  class Team {
   public:
    Team(ThreadPool& pool, int part) : pool_(pool), part_(part) {}
    // This thread's part of [0, n), as parallel_for cuts it.
    Range range(int64_t n, int64_t grain) const;
    // Returns when all threads have come here.
    void barrier() const { pool_.barrier(); }

   private:
    ThreadPool& pool_;
    int part_;
  };

  // Calls body(team) on every thread, once. The body must not throw.
  template <typename Body>
  void run_team(const Body& body) {
    run({&body, [](const void* context, const Team& team) {
           (*static_cast<const Body*>(context))(team);
         }});
  }

 private:
  struct Job {
    const void* context = nullptr;
    void (*call)(const void* context, const Team& team) = nullptr;
  };

  void run(const Job& job);
  void worker(int part);
  void barrier();

  Job job_;
  std::atomic<uint32_t> generation_{0};  // a new value starts the workers on job_
  std::atomic<int> n_pending_{0};
  std::atomic<bool> stopping_{false};
  std::atomic<int> n_arrived_{0};      // at the barrier
  std::atomic<uint32_t> n_passed_{0};  // barriers
  std::vector<std::jthread> workers_;
};

}  // namespace dsv4
