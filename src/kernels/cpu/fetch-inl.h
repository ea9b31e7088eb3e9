// Asking for memory before it is used.
#pragma once

#include "kernels/cpu/simd.h"

namespace dsv4 {
namespace {

// Asks once more for the lines so many bytes, and twice as many, before this one: a processor
// forgets a part of what it is asked for while it waits for much else (docs/performance.md). The
// cache is 3 for the first one, 2 for the second one.
template <int kCache = 3>
DSV4_INLINE void fetch_again(const std::byte* line, int64_t before) {
  __builtin_prefetch(line - before, 0, kCache);
  __builtin_prefetch(line - 2 * before, 0, kCache);
}

constexpr int64_t kFetchAgain = 6144;  // bytes, where memory is read in order

}  // namespace
}  // namespace dsv4
