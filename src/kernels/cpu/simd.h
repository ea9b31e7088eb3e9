// A vector of 16 floats on the compilers' generic vectors: one AVX-512 register, two of AVX2 or
// four of SSE2. Lane by lane the operations are the same everywhere, and nothing is contracted to
// fused operations, so every build of kernels-inl.h gives the same bits. Only kernels-inl.h
// includes this; everything has internal linkage, so that no build's code is linked into another.
#pragma once

#include <cstdint>
#include <cstring>

namespace dsv4 {
namespace {

inline constexpr int64_t kLanes = 16;

using F32x16 [[gnu::vector_size(64)]] = float;
using I32x16 [[gnu::vector_size(64)]] = int32_t;
using U32x16 [[gnu::vector_size(64)]] = uint32_t;
using U16x16 [[gnu::vector_size(32)]] = uint16_t;
using U8x16 [[gnu::vector_size(16)]] = uint8_t;

#define DSV4_INLINE [[gnu::always_inline]] static inline

template <typename V>
DSV4_INLINE V load_vector(const void* data) {
  V v;
  std::memcpy(&v, data, sizeof(V));
  return v;
}

DSV4_INLINE F32x16 load(const float* data) { return load_vector<F32x16>(data); }
DSV4_INLINE void store(float* data, F32x16 v) { std::memcpy(data, &v, sizeof(v)); }

// The first `n` lanes, the rest zero.
DSV4_INLINE F32x16 load_partial(const float* data, int64_t n) {
  F32x16 v = {};
  std::memcpy(&v, data, static_cast<size_t>(n) * sizeof(float));
  return v;
}
DSV4_INLINE void store_partial(float* data, F32x16 v, int64_t n) {
  std::memcpy(data, &v, static_cast<size_t>(n) * sizeof(float));
}

DSV4_INLINE F32x16 broadcast(float x) { return F32x16{} + x; }
DSV4_INLINE F32x16 as_float(U32x16 bits) { return (F32x16)bits; }

// Sums of the lanes of 16 vectors: lane i of the result is the sum of v[i]. Each sum is the tree
// (i, i + 8), (i, i + 4), (i, i + 2), (i, i + 1).
DSV4_INLINE F32x16 sum_lanes(const F32x16 (&v)[16]) {
  F32x16 s8[8];
  F32x16 s4[4];
  F32x16 s2[2];
  for (int i = 0; i < 8; ++i) {
    const F32x16 a = v[2 * i];
    const F32x16 b = v[2 * i + 1];
    s8[i] =
        __builtin_shufflevector(a, b, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23) +
        __builtin_shufflevector(a, b, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31);
  }
  for (int i = 0; i < 4; ++i) {
    const F32x16 a = s8[2 * i];
    const F32x16 b = s8[2 * i + 1];
    s4[i] =
        __builtin_shufflevector(a, b, 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27) +
        __builtin_shufflevector(a, b, 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31);
  }
  for (int i = 0; i < 2; ++i) {
    const F32x16 a = s4[2 * i];
    const F32x16 b = s4[2 * i + 1];
    s2[i] =
        __builtin_shufflevector(a, b, 0, 1, 4, 5, 8, 9, 12, 13, 16, 17, 20, 21, 24, 25, 28, 29) +
        __builtin_shufflevector(a, b, 2, 3, 6, 7, 10, 11, 14, 15, 18, 19, 22, 23, 26, 27, 30, 31);
  }
  return __builtin_shufflevector(s2[0], s2[1], 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26,
                                 28, 30) +
         __builtin_shufflevector(s2[0], s2[1], 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27,
                                 29, 31);
}

}  // namespace
}  // namespace dsv4
