// Loops that do nothing but what a roof is about; compiled once per instruction set.
#pragma once

#include "kernels/cpu/simd.h"

namespace dsv4 {
namespace {

// Independent chains, so that latency does not count.
constexpr int kChains = kLanes == 16 ? 16 : 8;

// Looks at every byte of a multiple of 512. The result only keeps the loop alive.
static uint32_t read_roof(const std::byte* data, int64_t n_bytes) {
  U32 sums[8] = {};
  for (int64_t i = 0; i < n_bytes; i += 512) {
    for (int64_t line = 0; line < 512; line += 8 * static_cast<int64_t>(sizeof(U32))) {
#pragma GCC unroll 8
      for (int64_t j = 0; j < 8; ++j) {
        U32 v;
        std::memcpy(&v, data + i + line + j * static_cast<int64_t>(sizeof(U32)), sizeof(v));
        sums[j] ^= v;
      }
    }
  }
  U32 total = {};
  for (const U32& sum : sums) total ^= sum;
  return total[0] ^ total[1] ^ total[2] ^ total[3];
}

// Operations of n_rounds.
static double int8_roof(int64_t n_rounds, uint32_t* sink) {
  I32 sums[kChains];
#pragma GCC unroll 16
  for (int c = 0; c < kChains; ++c) sums[c] = I32{} + c;  // equal chains would become one
  U32 a = U32{} + *sink;
  I32 b = I32{} + 0x01010101;
  for (int64_t i = 0; i < n_rounds; ++i) {
#pragma GCC unroll 16
    for (int c = 0; c < kChains; ++c) sums[c] = dot_bytes<255>(sums[c], a, b);
    asm volatile("" : "+x"(a), "+x"(b));  // neither hoisted nor folded
  }
  for (const I32& sum : sums) *sink += static_cast<uint32_t>(sum[0]);
  return static_cast<double>(n_rounds) * kChains * kLanes * 4 * 2;
}

static double f32_roof(int64_t n_rounds, uint32_t* sink) {
  F32 sums[kChains];
#pragma GCC unroll 16
  for (int c = 0; c < kChains; ++c) sums[c] = F32{} + static_cast<float>(c);
  F32 a = F32{} + 1.0f;
  F32 b = F32{} + 0.5f;
  for (int64_t i = 0; i < n_rounds; ++i) {
#pragma GCC unroll 16
    for (int c = 0; c < kChains; ++c) sums[c] = fma(a, b, sums[c]);
    asm volatile("" : "+x"(a), "+x"(b));
  }
  for (const F32& sum : sums) *sink += static_cast<uint32_t>(sum[0] > 0);
  return static_cast<double>(n_rounds) * kChains * kLanes * 2;
}

}  // namespace
}  // namespace dsv4
