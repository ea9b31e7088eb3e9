// The limits of a machine that kernels are measured against: how fast memory can be read, and how
// fast products can be made from registers, with the instructions of one build of the kernels.
#pragma once

#include "base/thread_pool.h"
#include "kernels/cpu/cpu_ops.h"

namespace dsv4 {

struct Roofs {
  double read = 0;  // bytes per second, one pass over memory far larger than the caches
  double int8 = 0;  // operations per second; a product and its sum count as two
  double f32 = 0;
  double bf16 = 0;  // 0 where the processor has no instruction for it
};

// All threads of the pool at once, the best of a few tries; takes about a second.
Roofs measure_roofs(ThreadPool& pool, Isa isa = best_isa());

}  // namespace dsv4
