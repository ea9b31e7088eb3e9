// Products of quantised weights with int8 activations.
//
// The definition, the same for every instruction set, tile and number of rows: the products of a
// group of columns (16 or 32, as the weight's format says) are summed as integers, exactly; groups
// are added in order,
//   y = fma(float(sum_g), scale_g * x_scale_g, y), then fma(minimum_g, x_scale_g * float(sum of x),
//   y)
// beginning with zero; where scales are powers of two
//   y = fma(float(sum_g) * scale_g, x_scale_g, y).
#pragma once

#include "kernels/cpu/int8_awq-inl.h"
#include "kernels/cpu/int8_few-inl.h"
#include "kernels/cpu/int8_many-inl.h"
#include "kernels/cpu/panel_int4-inl.h"
#include "kernels/cpu/panel_iq2-inl.h"
#include "kernels/cpu/panel_k-inl.h"
#include "kernels/cpu/panel_small-inl.h"

#include <math.h>

namespace dsv4 {
namespace {

// The scale of a block, and what its values are multiplied with: 0 where nothing is left of them,
// NaN and 0 where one of them is not finite.
struct BlockScale {
  float scale;
  float inverse;
};

DSV4_INLINE BlockScale block_scale(const float* x) {
  constexpr uint32_t kSmallest = 0x0D800000;  // 2^-100
  constexpr uint32_t kInfinity = 0x7F800000;
  U32 magnitudes = {};
  for (int64_t k = 0; k < kInt8Block; k += kLanes) {
    const U32 magnitude = as_bits(load(x + k)) & 0x7FFFFFFF;
    magnitudes = magnitude > magnitudes ? magnitude : magnitudes;
  }
  const uint32_t largest = max_lane(magnitudes);  // ordered as the floats are, NaN last
  if (largest >= kInfinity) return {NAN, 0};
  if (largest < kSmallest) return {0, 0};
  float amax;
  std::memcpy(&amax, &largest, sizeof(amax));
  return {amax / 127, 127 / amax};
}

// Nearest integers, ties to even, of values up to 127 in size; infinities times zero become 0.
DSV4_INLINE I32 round_to_int(F32 v) {
  constexpr float kMagic = 12582912.0f;  // 1.5 * 2^23: the fraction is rounded off
  return (I32)as_bits(v + kMagic) - 0x4B400000;
}

static void quantize_int8(const float* x, int64_t cols, bool even_odd, int8_t* values,
                          float* scales, int32_t* sums) {
  using Narrow [[gnu::vector_size(kLanes)]] = int8_t;
  using I8x32 [[gnu::vector_size(32)]] = int8_t;
  for (int64_t begin = 0; begin < cols; begin += kInt8Block) {
    const BlockScale scale = block_scale(x + begin);
    scales[begin / kInt8Block] = scale.scale;
    I8x32 block = {};
    if (scale.inverse != 0) {
#pragma GCC unroll 8
      for (int64_t k = 0; k < kInt8Block; k += kLanes) {
        const I32 v = round_to_int(load(x + begin + k) * scale.inverse);
        const Narrow narrow = __builtin_convertvector(v, Narrow);
        std::memcpy(reinterpret_cast<int8_t*>(&block) + k, &narrow, sizeof(narrow));
      }
    }
    const int32_t sum[2] = {sum_of_16(reinterpret_cast<const int8_t*>(&block)),
                            sum_of_16(reinterpret_cast<const int8_t*>(&block) + kSumCols)};
    if (even_odd) {
      block = __builtin_shufflevector(block, block, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24,
                                      26, 28, 30, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27,
                                      29, 31);
    }
    std::memcpy(values + begin, &block, sizeof(block));
    std::memcpy(sums + begin / kSumCols, sum, sizeof(sum));
  }
}

template <typename Format>
static void linear_int8_of(const Int8Block& x, int64_t n, const QuantMatrix& w, int64_t row_begin,
                           int64_t row_end, ReadAhead then, float* y, int64_t y_stride) {
  if (n == 1) return linear_int8_few<Format, 1>(x, w, row_begin, row_end, then, y, y_stride);
  if (n == 2) return linear_int8_few<Format, 2>(x, w, row_begin, row_end, then, y, y_stride);
  if (n <= kPairTokens<Format>) {
    return linear_int8_pairs<Format>(x, n, w, row_begin, row_end, then, y, y_stride);
  }
  linear_int8_many<Format>(x, n, w, row_begin, row_end, then, y, y_stride);
}

static void linear_int8(const Int8Block& x, int64_t n, const QuantMatrix& w, int64_t row_begin,
                        int64_t row_end, ReadAhead then, float* y, int64_t y_stride) {
  const auto run = [&]<typename Format>(Format) {
    linear_int8_of<Format>(x, n, w, row_begin, row_end, then, y, y_stride);
  };
  switch (w.format) {
    case WeightFormat::kFP4:
      return run(Fp4Panel{});
    case WeightFormat::kFP8:
      if (w.scale_format == ScaleFormat::kE8M0) return run(Fp8Panel<true>{});
      return run(Fp8Panel<false>{});
    case WeightFormat::kQ4_0:
      return run(Q4_0Panel{});
    case WeightFormat::kQ4_1:
      return run(Q4_1Panel{});
    case WeightFormat::kQ5_0:
      return run(Q5_0Panel{});
    case WeightFormat::kQ5_1:
      return run(Q5_1Panel{});
    case WeightFormat::kQ8_0:
      return run(Q8_0Panel{});
    case WeightFormat::kQ2_K:
      return run(Q2_KPanel{});
    case WeightFormat::kQ3_K:
      return run(Q3_KPanel{});
    case WeightFormat::kQ4_K:
      return run(Q4_KPanel{});
    case WeightFormat::kQ5_K:
      return run(Q5_KPanel{});
    case WeightFormat::kQ6_K:
      return run(Q6_KPanel{});
    case WeightFormat::kIQ2_XXS:
      return run(Iq2xxsPanel{});
    case WeightFormat::kMXFP4:
      return run(Mxfp4Panel{});
    case WeightFormat::kAwqInt4:
      return linear_awq(x, n, w, row_begin, row_end, then, y, y_stride);
    case WeightFormat::kPackedInt4:
      return run(PackedInt4Panel{});
    default:
      return;  // Ops::linear_int8 has checked the format
  }
}

}  // namespace
}  // namespace dsv4
