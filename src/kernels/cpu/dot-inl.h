// Dot products of one definition: a vector is cut into blocks of kBlock; in a block kGroup lanes
// accumulate in order, product and sum fused, and are summed as a tree, (i, i + 8) first and
// (i, i + 1) last; block sums are added in order. One row, many rows, any tile: the same bits.
#pragma once

#include "kernels/cpu/simd.h"

namespace dsv4 {
namespace {

constexpr int64_t kBlock = 1024;  // columns of a product at a time
constexpr int64_t kGroup = 16;    // lanes of a sum; a register holds all or a part of them

// Sums that fit into registers beside their operands: AVX-512 has 32 registers, others 16.
constexpr int kTile = kLanes == 16 ? 4 : 2;

// out[i * kB + j] = the lanes [lane, lane + kLanes) of the sums of a(i) . b(j).
template <int kA, int kB, typename A, typename B>
DSV4_INLINE void dot_lanes(A a, B b, int64_t lane, int64_t n, F32* out) {
  F32 sums[kA * kB] = {};
  const auto step = [&](auto load_at) {
    F32 v[kB];
#pragma GCC unroll 16
    for (int j = 0; j < kB; ++j) v[j] = load_at(b(j));
#pragma GCC unroll 16
    for (int i = 0; i < kA; ++i) {
      const F32 u = load_at(a(i));
#pragma GCC unroll 16
      for (int j = 0; j < kB; ++j) sums[i * kB + j] = fma(u, v[j], sums[i * kB + j]);
    }
  };
  int64_t k = lane;
  for (; k + kLanes <= n; k += kGroup) step([k](const float* x) { return load(x + k); });
  if (k < n) step([k, n](const float* x) { return load_partial(x + k, n - k); });
#pragma GCC unroll 16
  for (int i = 0; i < kA * kB; ++i) out[i] = sums[i];
}

// The lanes of the parts of sums to numbers, in the order of the tree.
template <int kParts, int kSums>
DSV4_INLINE void finish_sums(F32 (&sums)[kParts][kSums], float* out) {
#pragma GCC unroll 16
  for (int i = 0; i < kSums; ++i) {
    for (int half = kParts / 2; half > 0; half /= 2) {
      for (int part = 0; part < half; ++part) sums[part][i] += sums[part + half][i];
    }
  }
#if defined(__AVX512F__)
  if constexpr (kSums == 16) return store(out, sum_lanes_16(sums[0]));
#endif
  F32x4 folded[kSums];
#pragma GCC unroll 16
  for (int i = 0; i < kSums; ++i) folded[i] = fold(sums[0][i]);
#pragma GCC unroll 4
  for (int i = 0; i < kSums; i += 4) {
    const F32x4 four = sum_lanes(folded[i], folded[i + 1], folded[i + 2], folded[i + 3]);
    std::memcpy(out + i, &four, sizeof(four));
  }
}

// out[i * 4 + j] = a[i] . b[j] over n <= kBlock elements from `begin` on, for 4 x 4 vectors. Works
// on kTile of the vectors a at a time.
DSV4_INLINE void dot_4x4(const float* const (&a)[4], const float* const (&b)[4], int64_t begin,
                         int64_t n, float (&out)[16]) {
  constexpr int kParts = kGroup / kLanes;
  F32 sums[kParts][16];
#pragma GCC unroll 4
  for (int part = 0; part < kParts; ++part) {
#pragma GCC unroll 4
    for (int i = 0; i < 4; i += kTile) {
      dot_lanes<kTile, 4>([&](int step) { return a[i + step] + begin; },
                          [&](int j) { return b[j] + begin; }, part * kLanes, n,
                          &sums[part][i * 4]);
    }
  }
  finish_sums(sums, out);
}

}  // namespace
}  // namespace dsv4
