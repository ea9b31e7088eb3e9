// Vectors of 16 floats for the encoders. Every sum has one order, so that an encoder gives the same
// bytes on every processor; what differs is how many lanes an instruction takes.
#pragma once

#include <cstdint>
#include <cstring>

namespace dsv4 {
namespace {

#define DSV4_LANES_INLINE __attribute__((always_inline)) inline
#define DSV4_LANES_INLINE_LAMBDA __attribute__((always_inline))

constexpr int kEncodeLanes = 16;
using FloatLanes = float __attribute__((vector_size(64)));
using IntLanes = int32_t __attribute__((vector_size(64)));
using ByteLanes = uint8_t __attribute__((vector_size(16)));

DSV4_LANES_INLINE FloatLanes splat(float x) { return x - FloatLanes{}; }

DSV4_LANES_INLINE FloatLanes min_lanes(FloatLanes a, FloatLanes b) { return a < b ? a : b; }
DSV4_LANES_INLINE FloatLanes max_lanes(FloatLanes a, FloatLanes b) { return a > b ? a : b; }
DSV4_LANES_INLINE FloatLanes abs_lanes(FloatLanes a) { return a < 0 ? -a : a; }

// To the nearest integer, ties to even; |x| is below 2^22.
DSV4_LANES_INLINE FloatLanes round_lanes(FloatLanes x) {
  constexpr float kUnitsAbove = 12582912.0f;  // 1.5 * 2^23: floats around it have steps of one
  return (x + kUnitsAbove) - kUnitsAbove;
}

DSV4_LANES_INLINE FloatLanes clamp_lanes(FloatLanes x, float low, float high) {
  return min_lanes(max_lanes(x, splat(low)), splat(high));
}

template <typename Combine>
DSV4_LANES_INLINE float fold_lanes(FloatLanes x, Combine combine) {
  x = combine(x,
              __builtin_shufflevector(x, x, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7));
  x = combine(x,
              __builtin_shufflevector(x, x, 4, 5, 6, 7, 0, 1, 2, 3, 8, 9, 10, 11, 12, 13, 14, 15));
  x = combine(x,
              __builtin_shufflevector(x, x, 2, 3, 0, 1, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
  return combine(
      x, __builtin_shufflevector(x, x, 1, 0, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15))[0];
}
DSV4_LANES_INLINE float sum_of(FloatLanes x) {
  return fold_lanes(x, [](FloatLanes a, FloatLanes b) DSV4_LANES_INLINE_LAMBDA { return a + b; });
}
DSV4_LANES_INLINE float largest_of(FloatLanes x) {
  return fold_lanes(
      x, [](FloatLanes a, FloatLanes b) DSV4_LANES_INLINE_LAMBDA { return max_lanes(a, b); });
}

// kSize values, a multiple of 16.
template <int kSize>
struct Run {
  static constexpr int kVectors = kSize / kEncodeLanes;
  FloatLanes v[kVectors];

  static DSV4_LANES_INLINE Run load(const float* x) {
    Run run;
    std::memcpy(run.v, x, sizeof(run.v));
    return run;
  }
};

// Non-negative integers below 256 as bytes.
template <int kSize>
DSV4_LANES_INLINE void store_codes(const Run<kSize>& codes, uint8_t* out) {
  for (int i = 0; i < Run<kSize>::kVectors; ++i) {
    const IntLanes wide = __builtin_convertvector(codes.v[i], IntLanes);
    const ByteLanes bytes = __builtin_convertvector(wide, ByteLanes);
    std::memcpy(out + i * kEncodeLanes, &bytes, sizeof(bytes));
  }
}

}  // namespace
}  // namespace dsv4
