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
#include "kernels/cpu/panel_int4-inl.h"
#include "kernels/cpu/panel_iq2-inl.h"
#include "kernels/cpu/panel_k-inl.h"
#include "kernels/cpu/panel_small-inl.h"
#include "kernels/cpu/simd.h"

#include <math.h>

namespace dsv4 {
namespace {

constexpr int64_t kInt8Block = 32;  // columns of activations that share a scale
constexpr int64_t kSumCols = 16;    // columns of one stored sum

// A panel: unpacked weights that all tokens use.
constexpr int64_t kPanelRows = 64;

struct Panel {
  alignas(64) uint8_t quads[kPanelCols / 4][kPanelRows * 4];
  alignas(64) float scales[kPanelCols / 16][kPanelRows];
  alignas(64) float minima[kPanelCols / 16][kPanelRows];
};

// Registers of rows x tokens of a tile whose sums, as integers and as floats, stay in registers.
// More rows than tokens: four bytes of a token in all lanes cost more to load than a register of
// weights (docs/performance.md).
constexpr int kTileVectors = kLanes == 16 ? 4 : 2;
constexpr int kTileTokens = 2;

// ---- Activations.

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

// ---- Products.

// Asks little by little for what comes next in memory: rows are read side by side, which the
// processor does not foresee, and asking for much at once makes it wait.
struct Prefetcher {
  const std::byte* next;
  int64_t step;  // bytes, 0 where nothing comes

  DSV4_INLINE_MEMBER void advance() {
    const std::byte* line = next - (reinterpret_cast<uintptr_t>(next) & 63);
    next += step;
    for (; line < next; line += 64) __builtin_prefetch(line);
  }
};

// What a tile needs of its tokens for each group of columns of a panel, all but the scales.
template <typename Format, int kTokens>
struct GroupSums {
  static constexpr int64_t kGroups = kPanelCols / Format::kGroup;

  int32_t offsets[kTokens][kGroups];  // kOffset times the sum
  float minima[kTokens][kGroups];     // what the minimum is multiplied with

  GroupSums(const int32_t* sums, const float* scales, int64_t cols, int64_t n_groups) {
    for (int t = 0; t < kTokens; ++t) {
      const int32_t* s = sums + t * (cols / kSumCols);
      const float* x_scale = scales + t * (cols / kInt8Block);
      for (int64_t g = 0; g < n_groups; ++g) {
        const int32_t sum = Format::kGroup == kSumCols ? s[g] : s[2 * g] + s[2 * g + 1];
        offsets[t][g] = Format::kOffset * sum;
        if constexpr (Format::kHasMinimum) {
          minima[t][g] = x_scale[g * Format::kGroup / kInt8Block] * static_cast<float>(sum);
        }
      }
    }
  }
};

// kTokens tokens times kTileVectors registers of rows of a panel, added to y.
template <typename Format, int kTokens>
DSV4_INLINE void multiply_tile(const Panel& panel, int64_t place, int64_t col, int64_t n_cols,
                               const Int8Block& x, int64_t token, float* y, int64_t y_stride,
                               int64_t n_rows, Prefetcher& prefetcher) {
  constexpr int kVectors = kTileVectors;
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
  const int8_t* values = x.values + token * x.stride + col;
  const float* scales = x.scales + token * (x.stride / kInt8Block) + col / kInt8Block;
  const GroupSums<Format, kTokens> sums(x.sums + token * (x.stride / kSumCols) + col / kSumCols,
                                        scales, x.stride, n_cols / Format::kGroup);
  for (int64_t g = 0; g < n_cols / Format::kGroup; ++g) {
    prefetcher.advance();
    I32 dots[kTokens][kVectors] = {};
    const uint8_t* weights = &panel.quads[g * kQuads][place * 4];
    const int8_t* group_values = values + g * Format::kGroup;
#pragma GCC unroll 8
    for (int64_t q = 0; q < kQuads; ++q) {
      U32 w[kVectors];
#pragma GCC unroll 4
      for (int64_t v = 0; v < kVectors; ++v) {
        std::memcpy(&w[v], weights + (q * kPanelRows + v * kLanes) * 4, sizeof(U32));
        keep_in_register(w[v]);
      }
#pragma GCC unroll 2
      for (int t = 0; t < kTokens; ++t) {
        int32_t four;
        std::memcpy(&four, group_values + t * x.stride + q * 4, sizeof(four));
        const I32 b = I32{} + four;
#pragma GCC unroll 4
        for (int v = 0; v < kVectors; ++v) {
          dots[t][v] = dot_bytes<Format::kLargest>(dots[t][v], w[v], b);
        }
      }
    }
#pragma GCC unroll 2
    for (int t = 0; t < kTokens; ++t) {
      const float x_scale = scales[t * (x.stride / kInt8Block) + g * Format::kGroup / kInt8Block];
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) {
        const F32 scale = load(&panel.scales[g][place + v * kLanes]) * x_scale;
        I32 dot = dots[t][v];
        if constexpr (Format::kOffset != 0) dot -= sums.offsets[t][g];
        totals[t][v] = fma(to_float(dot), scale, totals[t][v]);
        if constexpr (Format::kHasMinimum) {
          const F32 sum = F32{} + sums.minima[t][g];
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

// Asks for what the next tile reads: its lines lie a token apart, which the processor does not
// foresee.
DSV4_INLINE void prefetch_token(const Int8Block& x, int64_t token, int64_t col, int64_t n_cols,
                                const float* y) {
  const int8_t* values = x.values + token * x.stride + col;
  for (int64_t byte = 0; byte < n_cols; byte += 64) __builtin_prefetch(values + byte);
  __builtin_prefetch(x.scales + (token * x.stride + col) / kInt8Block);
  __builtin_prefetch(x.sums + (token * x.stride + col) / kSumCols);
  for (int64_t row = 0; row < kTileVectors * kLanes; row += 16) __builtin_prefetch(y + row, 1);
}

// All tokens times a panel.
template <typename Format>
static void multiply_panel(const Panel& panel, int64_t n_rows, int64_t col, int64_t n_cols,
                           const Int8Block& x, int64_t n, float* y, int64_t y_stride,
                           Prefetcher& weights) {
  for (int64_t place = 0; place < n_rows; place += kTileVectors * kLanes) {
    int64_t t = 0;
    for (; t + kTileTokens <= n; t += kTileTokens) {
      for (int64_t next = t + kTileTokens; next < smaller(n, t + 2 * kTileTokens); ++next)
        prefetch_token(x, next, col, n_cols, y + next * y_stride + place);
      multiply_tile<Format, kTileTokens>(panel, place, col, n_cols, x, t, y + t * y_stride + place,
                                         y_stride, n_rows - place, weights);
    }
    if (t < n) {
      multiply_tile<Format, 1>(panel, place, col, n_cols, x, t, y + t * y_stride + place, y_stride,
                               n_rows - place, weights);
    }
  }
}

// Takes unpacked weights into a panel.
template <typename Format>
struct PanelSink {
  static constexpr int64_t kQuads = Format::kGroup / 4;

  Panel& panel;
  int64_t place;  // of the first lane

  DSV4_INLINE_MEMBER void put(int64_t group, const U32 (&quads)[kQuads], F32 scale) {
#pragma GCC unroll 8
    for (int64_t q = 0; q < kQuads; ++q) {
      std::memcpy(&panel.quads[group * kQuads + q][place * 4], &quads[q], sizeof(U32));
    }
    store(&panel.scales[group][place], scale);
  }
  DSV4_INLINE_MEMBER void put(int64_t group, const U32 (&quads)[kQuads], F32 scale, F32 minimum) {
    put(group, quads, scale);
    store(&panel.minima[group][place], minimum);
  }
};

// Multiplies unpacked weights with a few tokens at once, without a panel. Tokens behind the last
// one repeat it.
template <typename Format, int kTokens>
struct TokenSink {
  static constexpr int64_t kQuads = Format::kGroup / 4;
  static constexpr int64_t kSums = Format::kGroup / kSumCols;  // stored ones of a group

  const int8_t* values[kTokens];
  const float* scales[kTokens];
  const int32_t* sums[kTokens];
  F32 totals[kTokens] = {};
  Prefetcher prefetcher;

  TokenSink(const Int8Block& x, int64_t n, Prefetcher next) : prefetcher(next) {
    for (int64_t t = 0; t < kTokens; ++t) {
      const int64_t first = smaller(t, n - 1) * x.stride;
      values[t] = x.values + first;
      scales[t] = x.scales + first / kInt8Block;
      sums[t] = x.sums + first / kSumCols;
    }
  }

  void advance(int64_t n_cols) {
    for (int64_t t = 0; t < kTokens; ++t) {
      values[t] += n_cols;
      scales[t] += n_cols / kInt8Block;
      sums[t] += n_cols / kSumCols;
    }
  }

  DSV4_INLINE_MEMBER void put(int64_t group, const U32 (&quads)[kQuads], F32 scale) {
    prefetcher.advance();
#pragma GCC unroll 8
    for (int t = 0; t < kTokens; ++t) {
      const int8_t* at = values[t] + group * Format::kGroup;
      I32 dot = I32{} - Format::kOffset * sum_of(t, group);
      I32 other = {};  // two chains of sums hide the latency of a product
#pragma GCC unroll 8
      for (int64_t q = 0; q < kQuads; q += 2) {
        dot = dot_bytes<Format::kLargest>(dot, quads[q], four(at + 4 * q));
        other = dot_bytes<Format::kLargest>(other, quads[q + 1], four(at + 4 * q + 4));
      }
      totals[t] = fma(to_float(dot + other), scale * x_scale(t, group), totals[t]);
    }
  }
  DSV4_INLINE_MEMBER void put(int64_t group, const U32 (&quads)[kQuads], F32 scale, F32 minimum) {
    put(group, quads, scale);
#pragma GCC unroll 8
    for (int t = 0; t < kTokens; ++t) {
      const float sum = x_scale(t, group) * static_cast<float>(sum_of(t, group));
      totals[t] = fma(minimum, F32{} + sum, totals[t]);
    }
  }

 private:
  DSV4_INLINE_MEMBER static I32 four(const int8_t* at) {
    int32_t bytes;
    std::memcpy(&bytes, at, sizeof(bytes));
    return I32{} + bytes;
  }
  DSV4_INLINE_MEMBER int32_t sum_of(int t, int64_t group) const {
    const int32_t* at = sums[t] + group * kSums;
    return kSums == 1 ? at[0] : at[0] + at[1];
  }
  DSV4_INLINE_MEMBER float x_scale(int t, int64_t group) const {
    return scales[t][kSums == 1 ? group / 2 : group];
  }
};

// Up to n_rows rows of weights from `row` on, or what is read after row_end, in n_steps steps.
DSV4_INLINE Prefetcher weights_after(const QuantMatrix& w, int64_t row_bytes, int64_t row,
                                     int64_t row_end, int64_t n_rows, ReadAhead then,
                                     int64_t n_steps) {
  const bool more = row < row_end;
  const int64_t bytes = more ? smaller(n_rows, row_end - row) * row_bytes : then.bytes;
  return {more ? w.data + row * row_bytes : then.data, (bytes + n_steps - 1) / n_steps};
}

// The scales of these rows, where each row has its own in another tensor.
DSV4_INLINE Prefetcher scales_after(const QuantMatrix& w, int64_t row, int64_t row_end,
                                    int64_t n_rows, int64_t n_steps) {
  if (w.block_rows > 1 || w.scales == nullptr || row >= row_end) return {w.data, 0};
  const int64_t row_bytes = w.scale_cols * scale_bytes(w.scale_format);
  const int64_t bytes = smaller(n_rows, row_end - row) * row_bytes;
  return {w.scales + (w.first_row + row) * row_bytes, (bytes + n_steps - 1) / n_steps};
}

// Up to kTokens tokens: the weights are used as they are unpacked.
template <typename Format, int kTokens>
static void linear_int8_few(const Int8Block& x, int64_t n, const QuantMatrix& w, int64_t row_begin,
                            int64_t row_end, ReadAhead then, float* y, int64_t y_stride) {
  const int64_t row_bytes = w.row_bytes();
  const int64_t n_panels = (w.cols + kPanelCols - 1) / kPanelCols;
  for (int64_t row = row_begin; row < row_end; row += kLanes) {
    const RowSet rows(w, row_bytes, row);
    const int64_t next = row + kLanes;
    TokenSink<Format, kTokens> sink(
        x, n, weights_after(w, row_bytes, next, row_end, kLanes, then, w.cols / Format::kGroup));
    Prefetcher scales = scales_after(w, next, row_end, kLanes, n_panels);
    for (int64_t col = 0; col < w.cols; col += kPanelCols) {
      const int64_t n_cols = smaller(kPanelCols, w.cols - col);
      scales.advance();
      Format::unpack(w, rows, col, n_cols, sink);
      sink.advance(n_cols);
    }
    for (int64_t t = 0; t < n; ++t) {
      store_partial(y + t * y_stride + row, sink.totals[t], row_end - row);
    }
  }
}

// Any number: panel by panel.
template <typename Format>
static void linear_int8_many(const Int8Block& x, int64_t n, const QuantMatrix& w, int64_t row_begin,
                             int64_t row_end, ReadAhead then, float* y, int64_t y_stride) {
  constexpr int64_t kTileRows = kTileVectors * kLanes;
  Panel panel;
  const int64_t row_bytes = w.row_bytes();
  const int64_t n_panels = (w.cols + kPanelCols - 1) / kPanelCols;
  for (int64_t row = row_begin; row < row_end; row += kPanelRows) {
    const int64_t n_rows = smaller(kPanelRows, row_end - row);
    const int64_t n_tiles = (n_rows + kTileRows - 1) / kTileRows;
    const int64_t n_tile_groups = n_tiles * ((n + 1) / kTileTokens) * (w.cols / Format::kGroup);
    Prefetcher weights =
        weights_after(w, row_bytes, row + n_rows, row_end, kPanelRows, then, n_tile_groups);
    Prefetcher scales = scales_after(w, row + n_rows, row_end, kPanelRows, n_panels);
    for (int64_t col = 0; col < w.cols; col += kPanelCols) {
      const int64_t n_cols = smaller(kPanelCols, w.cols - col);
      scales.advance();
      for (int64_t place = 0; place < n_tiles * kTileRows; place += kLanes) {
        PanelSink<Format> sink{panel, place};
        Format::unpack(w, RowSet(w, row_bytes, row + place), col, n_cols, sink);
      }
      multiply_panel<Format>(panel, n_rows, col, n_cols, x, n, y + row, y_stride, weights);
    }
  }
}

template <typename Format>
static void linear_int8_of(const Int8Block& x, int64_t n, const QuantMatrix& w, int64_t row_begin,
                           int64_t row_end, ReadAhead then, float* y, int64_t y_stride) {
  const auto few = [&]<int kTokens>() {
    linear_int8_few<Format, kTokens>(x, n, w, row_begin, row_end, then, y, y_stride);
  };
  if (n == 1) return few.template operator()<1>();
  if (n == 2) return few.template operator()<2>();
  if (n <= 4) return few.template operator()<4>();
  if (n <= 8) return few.template operator()<8>();
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
      return run(Fp8Panel{});
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
      return run(AwqPanel{});
    case WeightFormat::kPackedInt4:
      return run(PackedInt4Panel{});
    default:
      return;  // Ops::linear_int8 has checked the format
  }
}

}  // namespace
}  // namespace dsv4
