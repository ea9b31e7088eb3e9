// Asking for memory before it is used.
#pragma once

#include "kernels/cpu/simd.h"

namespace dsv4 {
namespace {

// Asks once more for the lines 6 and 12 KB before this one, where memory is read in order: a
// processor forgets a part of what it is asked for while it waits for much else
// (docs/performance.md).
DSV4_INLINE void fetch_again(const std::byte* line) {
  constexpr int64_t kBefore = 6144;
  __builtin_prefetch(line - kBefore);
  __builtin_prefetch(line - 2 * kBefore);
}

}  // namespace
}  // namespace dsv4
