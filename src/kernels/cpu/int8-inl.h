// Products of quantised weights with int8 activations.
//
// The definition, the same for every instruction set, tile and number of rows: the products of a
// group of columns (16 or 32, as the weight's format says) are summed as integers, exactly; groups
// are added in order,
//   y = fma(float(sum_g), scale_g * x_scale_g, y), then fma(minimum_g, x_scale_g * float(sum of x),
//   y)
// beginning with zero.
#pragma once

#include "kernels/cpu/decode-inl.h"
#include "kernels/cpu/kernel_table.h"
#include "kernels/cpu/panel-inl.h"
#include "kernels/cpu/simd.h"

#include <math.h>

namespace dsv4 {
namespace {

constexpr int64_t kInt8Block = 32;  // columns of activations that share a scale
constexpr int64_t kSumCols = 16;    // columns of one stored sum

// Rows of registers x tokens of a tile whose sums, as integers and as floats, stay in registers.
constexpr int kTileVectors = kLanes == 16 ? 2 : 1;
constexpr int kTileTokens = kLanes == 16 ? 6 : 4;

// ---- Activations.

// The scale of a block, and what its values are multiplied with: 0 where nothing is left of them,
// NaN and 0 where one of them is not finite.
struct BlockScale {
  float scale;
  float inverse;
};

DSV4_INLINE BlockScale block_scale(const float* x) {
  constexpr float kSmallest = 0x1p-100f;
  F32 largest = {};
  F32 not_finite = {};
  for (int64_t k = 0; k < kInt8Block; k += kLanes) {
    const F32 v = load(x + k);
    const F32 magnitude = as_float(as_bits(v) & 0x7FFFFFFF);
    largest = magnitude > largest ? magnitude : largest;
    not_finite += v * 0.0f;
  }
  float amax = 0;
  float zero = 0;
  for (int64_t i = 0; i < kLanes; ++i) {
    amax = largest[i] > amax ? largest[i] : amax;
    zero += not_finite[i];
  }
  if (!(zero == 0)) return {NAN, 0};
  if (amax < kSmallest) return {0, 0};
  return {amax / 127, 127 / amax};
}

// Nearest integers, ties to even, of values up to 127 in size; infinities times zero become 0.
DSV4_INLINE I32 round_to_int(F32 v) {
  constexpr float kMagic = 12582912.0f;  // 1.5 * 2^23: the fraction is rounded off
  return (I32)as_bits(v + kMagic) - 0x4B400000;
}

static void quantize_int8(const float* x, int64_t cols, bool even_odd, int8_t* values,
                          float* scales, int32_t* sums) {
  for (int64_t begin = 0; begin < cols; begin += kInt8Block) {
    const BlockScale scale = block_scale(x + begin);
    scales[begin / kInt8Block] = scale.scale;
    int32_t block[kInt8Block] = {};
    if (scale.inverse != 0) {
      for (int64_t k = 0; k < kInt8Block; k += kLanes) {
        const I32 v = round_to_int(load(x + begin + k) * scale.inverse);
        std::memcpy(block + k, &v, sizeof(v));
      }
    }
    int32_t sum[2] = {};
    for (int64_t k = 0; k < kInt8Block; ++k) {
      const int64_t place = even_odd ? k % 2 * 16 + k / 2 : k;
      values[begin + place] = static_cast<int8_t>(block[k]);
      sum[k / kSumCols] += block[k];
    }
    std::memcpy(sums + begin / kSumCols, sum, sizeof(sum));
  }
}

// ---- Products.

// kTokens tokens times kVectors registers of rows of a panel, added to y.
template <typename Format, int kVectors, int kTokens>
DSV4_INLINE void multiply_tile(const Panel& panel, int64_t place, int64_t col, int64_t n_cols,
                               const Int8Block& x, int64_t token, float* y, int64_t y_stride,
                               int64_t n_rows) {
  constexpr int64_t kQuads = Format::kGroup / 4;
  F32 totals[kTokens][kVectors] = {};
  const bool whole = n_rows >= kVectors * kLanes;
  if (col > 0) {
    for (int t = 0; t < kTokens; ++t) {
      for (int v = 0; v < kVectors; ++v) {
        const float* from = y + t * y_stride + v * kLanes;
        totals[t][v] = whole ? load(from) : load_partial(from, n_rows - v * kLanes);
      }
    }
  }
  const int8_t* values = x.values + token * x.cols + col;
  const float* scales = x.scales + token * (x.cols / kInt8Block) + col / kInt8Block;
  const int32_t* sums = x.sums + token * (x.cols / kSumCols) + col / kSumCols;
  const auto sum_of = [&](int t, int64_t g) {
    const int32_t* s = sums + t * (x.cols / kSumCols) + g * Format::kGroup / kSumCols;
    return Format::kGroup == kSumCols ? s[0] : s[0] + s[1];
  };
  for (int64_t g = 0; g < n_cols / Format::kGroup; ++g) {
    I32 dots[kTokens][kVectors];
#pragma GCC unroll 8
    for (int t = 0; t < kTokens; ++t) {
      const I32 start = I32{} - Format::kOffset * sum_of(t, g);
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) dots[t][v] = start;
    }
#pragma GCC unroll 8
    for (int64_t q = g * kQuads; q < (g + 1) * kQuads; ++q) {
      U32 w[kVectors];
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) {
        std::memcpy(&w[v], &panel.quads[q][(place + v * kLanes) * 4], sizeof(U32));
      }
#pragma GCC unroll 8
      for (int t = 0; t < kTokens; ++t) {
        int32_t four;
        std::memcpy(&four, values + t * x.cols + q * 4, sizeof(four));
        const I32 b = I32{} + four;
#pragma GCC unroll 2
        for (int v = 0; v < kVectors; ++v) dots[t][v] = dot_bytes(dots[t][v], w[v], b);
      }
    }
#pragma GCC unroll 8
    for (int t = 0; t < kTokens; ++t) {
      const float x_scale = scales[t * (x.cols / kInt8Block) + g * Format::kGroup / kInt8Block];
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) {
        const F32 scale = load(&panel.scales[g][place + v * kLanes]) * x_scale;
        totals[t][v] = fma(to_float(dots[t][v]), scale, totals[t][v]);
        if constexpr (Format::kHasMinimum) {
          const F32 sum = F32{} + x_scale * static_cast<float>(sum_of(t, g));
          totals[t][v] = fma(load(&panel.minima[g][place + v * kLanes]), sum, totals[t][v]);
        }
      }
    }
  }
  for (int t = 0; t < kTokens; ++t) {
    for (int v = 0; v < kVectors; ++v) {
      float* to = y + t * y_stride + v * kLanes;
      if (whole) {
        store(to, totals[t][v]);
      } else {
        store_partial(to, totals[t][v], n_rows - v * kLanes);
      }
    }
  }
}

// All tokens times a panel.
template <typename Format>
static void multiply_panel(const Panel& panel, int64_t n_rows, int64_t col, int64_t n_cols,
                           const Int8Block& x, int64_t n, float* y, int64_t y_stride) {
  for (int64_t place = 0; place < n_rows; place += kTileVectors * kLanes) {
    const auto tile = [&]<int kTokens>(int64_t t) {
      multiply_tile<Format, kTileVectors, kTokens>(
          panel, place, col, n_cols, x, t, y + t * y_stride + place, y_stride, n_rows - place);
    };
    int64_t t = 0;
    for (; t + kTileTokens <= n; t += kTileTokens) tile.template operator()<kTileTokens>(t);
    for (; t + 2 <= n; t += 2) tile.template operator()<2>(t);
    if (t < n) tile.template operator()<1>(t);
  }
}

// Asks for the part of the next panel that corresponds to this part of the current one, in the
// order of memory: its rows are read side by side, which the processor does not foresee.
DSV4_INLINE void prefetch_next_panel(const std::byte* next, int64_t bytes_of_rows, int64_t col,
                                     int64_t n_cols, int64_t cols) {
  const int64_t end = bytes_of_rows * (col + n_cols) / cols;
  for (int64_t byte = bytes_of_rows * col / cols; byte < end; byte += 64) {
    __builtin_prefetch(next + byte);
  }
}

template <typename Format>
static void linear_int8_of(const Int8Block& x, int64_t n, const QuantMatrix& w, int64_t row_begin,
                           int64_t row_end, float* y, int64_t y_stride) {
  Panel panel;
  const int64_t row_bytes = w.row_bytes();
  for (int64_t row = row_begin; row < row_end; row += kPanelRows) {
    const int64_t n_rows = smaller(kPanelRows, row_end - row);
    const int64_t n_next = smaller(kPanelRows, row_end - row - n_rows);
    for (int64_t col = 0; col < w.cols; col += kPanelCols) {
      const int64_t n_cols = smaller(kPanelCols, w.cols - col);
      prefetch_next_panel(w.data + (row + n_rows) * row_bytes, n_next * row_bytes, col, n_cols,
                          w.cols);
      prefetch_next_panel(w.scales + (w.first_row + row + n_rows) * w.scale_cols,
                          n_next * w.scale_cols, col, n_cols, w.cols);
      for (int64_t place = 0; place < n_rows; place += kLanes) {
        Format::unpack(RowSet(w, row_bytes, row + place, panel, place), col, n_cols);
      }
      multiply_panel<Format>(panel, n_rows, col, n_cols, x, n, y + row, y_stride);
    }
  }
}

static void linear_int8(const Int8Block& x, int64_t n, const QuantMatrix& w, int64_t row_begin,
                        int64_t row_end, float* y, int64_t y_stride) {
  switch (w.format) {
    case WeightFormat::kFP4:
      return linear_int8_of<Fp4Panel>(x, n, w, row_begin, row_end, y, y_stride);
    default:
      return;  // Ops::linear_int8 has checked the format
  }
}

}  // namespace
}  // namespace dsv4
