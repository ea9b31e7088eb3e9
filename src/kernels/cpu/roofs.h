// The limits of a machine that kernels are measured against: how fast memory can be read, and how
// fast products can be made from registers, with the instructions of one build of the kernels.
#pragma once

#include "base/thread_pool.h"
#include "kernels/cpu/cpu_ops.h"

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace dsv4 {

struct Roofs {
  double read = 0;  // bytes per second, one pass over memory far larger than the caches
  double int8 = 0;  // operations per second; a product and its sum count as two
  double f32 = 0;
  double bf16 = 0;  // 0 where the processor has no instruction for it
};

// What each thread reads for its share of the roof, at most.
inline constexpr int64_t kRoofBytesPerThread = int64_t{256} << 20;
// The same for many threads, which read 4 GiB together: far more than the caches, in little time.
int64_t roof_bytes_per_thread(int n_threads, int64_t most = kRoofBytesPerThread);

// Memory for a roof, in large pages where the system has them, so that translations do not count.
class RoofMemory {
 public:
  explicit RoofMemory(int64_t n_bytes);
  ~RoofMemory();
  RoofMemory(const RoofMemory&) = delete;
  RoofMemory& operator=(const RoofMemory&) = delete;

  std::byte* data() const { return bytes_.data(); }

 private:
  std::span<std::byte> bytes_;
};

// All threads of the pool at once, the best of a few tries. The pool must outlive it.
class RoofMeter {
 public:
  // Where memory is short, `bytes_per_thread` may be less, in whole cache lines.
  explicit RoofMeter(ThreadPool& pool, Isa isa = best_isa(),
                     int64_t bytes_per_thread = kRoofBytesPerThread);

  // Some tens of milliseconds: machines shared with others change from second to second, so this
  // is for asking again and again.
  Roofs measure();

 private:
  ThreadPool& pool_;
  Isa isa_;
  int64_t bytes_per_thread_;
  RoofMemory memory_;
  std::vector<uint32_t> sinks_;  // one for each thread
};

// The roof of reading with 1, 2, ... threads, as many as the options say, each time with a pool of
// its own.
std::vector<double> read_roofs_by_threads(const ThreadOptions& options, Isa isa,
                                          int64_t bytes_per_thread = kRoofBytesPerThread);

}  // namespace dsv4
