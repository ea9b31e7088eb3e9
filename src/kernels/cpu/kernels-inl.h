// The arithmetic of the heavy operations, compiled once per instruction set (isa_*.cc).
//
// Everything rests on dot products of one definition: a vector is cut into blocks of kBlock; in a
// block kGroup lanes accumulate in order, product and sum fused, and are summed as a tree,
// (i, i + 8) first and (i, i + 1) last; block sums are added in order. One row, many rows, any
// tile: the same bits.
#pragma once

#include "kernels/cpu/decode-inl.h"
#include "kernels/cpu/int8-inl.h"
#include "kernels/cpu/kernel_table.h"
#include "kernels/cpu/roof-inl.h"
#include "kernels/cpu/simd.h"

#include <math.h>

namespace dsv4 {
namespace {

constexpr int64_t kBlock = 1024;      // columns of a product decoded at a time
constexpr int64_t kGroup = 16;        // lanes of a sum; a register holds all or a part of them
constexpr int64_t kTileRows = 16;     // rows of a weight decoded at a time
constexpr int64_t kKeyBlock = 64;     // of attention's running maximum
constexpr int64_t kTokenBlock = 128;  // whose kBlock columns stay in the second cache

// Tokens that share the decoding of weights in registers rather than through a tile in memory.
constexpr int64_t kFewTokens = kLanes == 16 ? 8 : 1;

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

// out[i * kB + j] = a(i) . b(j) over n <= kBlock elements, for 16 pairs of vectors. Works on kStep
// of the vectors a at a time.
template <int kStep, int kB, typename A, typename B>
DSV4_INLINE void dot_16(A a, B b, int64_t n, float (&out)[16]) {
  constexpr int kParts = kGroup / kLanes;
  F32 sums[kParts][16];
#pragma GCC unroll 4
  for (int part = 0; part < kParts; ++part) {
#pragma GCC unroll 4
    for (int i = 0; i < 16 / kB; i += kStep) {
      const auto a_from_i = [&](int step) { return a(i + step); };
      dot_lanes<kStep, kB>(a_from_i, b, part * kLanes, n, &sums[part][i * kB]);
    }
  }
  F32x4 folded[16];
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) {
    for (int half = kParts / 2; half > 0; half /= 2) {
      for (int part = 0; part < half; ++part) sums[part][i] += sums[part + half][i];
    }
    folded[i] = fold(sums[0][i]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 16; i += 4) {
    const F32x4 four = sum_lanes(folded[i], folded[i + 1], folded[i + 2], folded[i + 3]);
    std::memcpy(out + i, &four, sizeof(four));
  }
}

// out[i * 4 + j] = a[i] . b[j] over n <= kBlock elements, for 4 x 4 vectors.
DSV4_INLINE void dot_4x4(const float* const (&a)[4], const float* const (&b)[4], int64_t n,
                         float (&out)[16]) {
  dot_16<kTile, 4>([&](int i) { return a[i]; }, [&](int j) { return b[j]; }, n, out);
}

// out[i] = a[i] . b over n <= kBlock elements, for 16 vectors: the same bits as dot_4x4.
DSV4_INLINE void dot_16x1(const float* a, int64_t a_stride, const float* b, int64_t n,
                          float (&out)[16]) {
  dot_16<4 * kTile, 1>([&](int i) { return a + i * a_stride; }, [&](int) { return b; }, n, out);
}

// ---- Products.

// Adds the sums of a block (or stores them, for the first one) to n_rows neighbours of y.
DSV4_INLINE void accumulate(const float* sums, int64_t n_rows, bool first, float* y) {
  for (int64_t r = 0; r < n_rows; ++r) y[r] = first ? sums[r] : y[r] + sums[r];
}

// One decoded tile of up to 16 rows x n columns times all tokens.
static void multiply_decoded(const float* tile, int64_t n_rows, int64_t n_cols, const float* x,
                             int64_t x_stride, int64_t n_tokens, bool first, float* y,
                             int64_t y_stride) {
  alignas(64) float sums[16];
  int64_t t = 0;
  for (; t + 4 <= n_tokens; t += 4) {
    const float* const tokens[4] = {x + t * x_stride, x + (t + 1) * x_stride,
                                    x + (t + 2) * x_stride, x + (t + 3) * x_stride};
    for (int64_t r = 0; r < n_rows; r += 4) {
      const float* const rows[4] = {tile + r * kBlock, tile + (r + 1) * kBlock,
                                    tile + (r + 2) * kBlock, tile + (r + 3) * kBlock};
      dot_4x4(tokens, rows, n_cols, sums);
      for (int64_t i = 0; i < 4; ++i) {
        accumulate(sums + i * 4, smaller(4, n_rows - r), first, y + (t + i) * y_stride + r);
      }
    }
  }
  for (; t < n_tokens; ++t) {
    dot_16x1(tile, kBlock, x + t * x_stride, n_cols, sums);
    accumulate(sums, n_rows, first, y + t * y_stride);
  }
}

// Sums in lanes to numbers, each as in dot_16: (i, i + 8) first.
template <int kParts, int kSums>
DSV4_INLINE void finish_sums(F32 (&sums)[kParts][kSums], float* out) {
  F32x4 folded[kSums];
#pragma GCC unroll 16
  for (int i = 0; i < kSums; ++i) {
    for (int half = kParts / 2; half > 0; half /= 2) {
      for (int part = 0; part < half; ++part) sums[part][i] += sums[part + half][i];
    }
    folded[i] = fold(sums[0][i]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < kSums; i += 4) {
    const F32x4 four = sum_lanes(folded[i], folded[i + 1], folded[i + 2], folded[i + 3]);
    std::memcpy(out + i, &four, sizeof(four));
  }
}

// Weights without scales times kTokens tokens at a time, of which there are few: no tile in memory.
// The sums are those of dot_16.
template <int kBytes, int kRows, int kTokens, typename Decode>
static void multiply_few(const float* x, int64_t x_stride, int64_t n, const QuantMatrix& w,
                         int64_t row, int64_t n_rows, Decode decode, float* y, int64_t y_stride) {
  constexpr int kParts = kGroup / kLanes;
  const int64_t row_bytes = w.cols * kBytes;
  const std::byte* data[kRows];
  for (int64_t r = 0; r < kRows; ++r) data[r] = w.data + (row + smaller(r, n_rows - 1)) * row_bytes;
  const float* tokens[kTokens];
  for (int64_t t = 0; t < kTokens; ++t) tokens[t] = x + smaller(t, n - 1) * x_stride;
  const std::byte* next = w.data + (row + n_rows) * row_bytes;
  const int64_t n_next = smaller(kRows, w.rows - row - n_rows);
  for (int64_t block = 0; block < w.cols; block += kBlock) {
    const int64_t end = smaller(block + kBlock, w.cols);
    F32 sums[kParts][kTokens * kRows] = {};
    for (int64_t k = block; k < end; k += kGroup) {
      for (int64_t byte = 0; byte < n_next * kGroup * kBytes; byte += 64) {
        __builtin_prefetch(next + k * n_next * kBytes + byte, 0, 2);
      }
#pragma GCC unroll 4
      for (int part = 0; part < kParts; ++part) {
        F32 v[kTokens];
#pragma GCC unroll 8
        for (int t = 0; t < kTokens; ++t) v[t] = load(tokens[t] + k + part * kLanes);
#pragma GCC unroll 8
        for (int r = 0; r < kRows; ++r) {
          const F32 weights = decode(data[r] + (k + part * kLanes) * kBytes);
#pragma GCC unroll 8
          for (int t = 0; t < kTokens; ++t) {
            F32& sum = sums[part][t * kRows + r];
            sum = fma(v[t], weights, sum);
          }
        }
      }
    }
    alignas(64) float totals[kTokens * kRows];
    finish_sums(sums, totals);
    for (int64_t t = 0; t < smaller(kTokens, n); ++t) {
      accumulate(totals + t * kRows, n_rows, block == 0, y + t * y_stride + row);
    }
  }
}

template <int kBytes, typename Decode>
static void linear_few(const float* x, int64_t x_stride, int64_t n, const QuantMatrix& w,
                       int64_t row_begin, int64_t row_end, Decode decode, float* y,
                       int64_t y_stride) {
  constexpr int kOneTokenRows = kLanes == 16 ? 8 : 4;  // sums that fit into registers
  if (n == 1) {
    for (int64_t row = row_begin; row < row_end; row += kOneTokenRows) {
      multiply_few<kBytes, kOneTokenRows, 1>(
          x, x_stride, 1, w, row, smaller(kOneTokenRows, row_end - row), decode, y, y_stride);
    }
    return;
  }
  for (int64_t row = row_begin; row < row_end; row += 4) {
    for (int64_t t = 0; t < n; t += 4) {
      multiply_few<kBytes, 4, 4>(x + t * x_stride, x_stride, n - t, w, row,
                                 smaller(4, row_end - row), decode, y + t * y_stride, y_stride);
    }
  }
}

// Up to kTokenBlock tokens, through decoded tiles.
static void linear_tokens(const float* x, int64_t x_stride, int64_t n, const QuantMatrix& w,
                          int64_t row_begin, int64_t row_end, float* y, int64_t y_stride) {
  alignas(64) float tile[kTileRows * kBlock];
  for (int64_t k = 0; k == 0 || k < w.cols; k += kBlock) {  // once, for the sum of nothing
    const int64_t n_cols = smaller(kBlock, w.cols - k);
    for (int64_t row = row_begin; row < row_end; row += kTileRows) {
      const int64_t n_rows = smaller(kTileRows, row_end - row);
      for (int64_t r = 0; r < n_rows; ++r) decode_row(w, row + r, k, n_cols, tile + r * kBlock);
      for (int64_t r = n_rows; r < kTileRows; ++r) std::memset(tile + r * kBlock, 0, n_cols * 4);
      multiply_decoded(tile, n_rows, n_cols, x + k, x_stride, n, k == 0, y + row, y_stride);
    }
  }
}

static void linear(const float* x, int64_t x_stride, int64_t n, const QuantMatrix& w,
                   int64_t row_begin, int64_t row_end, float* y, int64_t y_stride) {
  const auto few = [&]<int kBytes>(auto decode) {
    linear_few<kBytes>(x, x_stride, n, w, row_begin, row_end, decode, y, y_stride);
  };
  const bool plain = w.scale_format == ScaleFormat::kNone && w.cols > 0 && w.cols % kGroup == 0;
  if (plain && n <= kFewTokens) {
    switch (w.format) {
      case WeightFormat::kF32:
        return few.template operator()<4>([](const std::byte* at) { return decode_f32(at); });
      case WeightFormat::kF16:
        return few.template operator()<2>([](const std::byte* at) { return decode_f16(at); });
      case WeightFormat::kBF16:
        return few.template operator()<2>([](const std::byte* at) { return decode_bf16(at); });
      default:
        break;
    }
  }
  for (int64_t t = 0; t < n; t += kTokenBlock) {
    linear_tokens(x + t * x_stride, x_stride, smaller(kTokenBlock, n - t), w, row_begin, row_end,
                  y + t * y_stride, y_stride);
  }
}

// ---- Rows looked at through pointers: keys of the indexer and of attention.

// out[i * 4 + j] = a[i] . rows[j] for up to 4 x 4 vectors of any length n.
DSV4_INLINE void dot_rows(const float* a, int64_t a_stride, int64_t n_a, const float* const* rows,
                          int64_t n_rows, int64_t n, float (&out)[16]) {
  for (int64_t k = 0; k == 0 || k < n; k += kBlock) {
    const float* u[4];
    const float* v[4];
    for (int64_t i = 0; i < 4; ++i) {  // missing ones repeat the last; their sums are not used
      u[i] = a + smaller(i, n_a - 1) * a_stride + k;
      v[i] = rows[smaller(i, n_rows - 1)] + k;
    }
    alignas(64) float sums[16];
    dot_4x4({u[0], u[1], u[2], u[3]}, {v[0], v[1], v[2], v[3]}, smaller(kBlock, n - k), sums);
    for (int i = 0; i < 16; ++i) out[i] = k == 0 ? sums[i] : out[i] + sums[i];
  }
}

static void indexer_scores(const float* q, const float* w, int64_t n_heads, int64_t d,
                           const float* const* keys, int64_t n_keys, bool round_bf16,
                           float* score) {
  alignas(64) float dots[16];
  for (int64_t j = 0; j < n_keys; j += 4) {
    const int64_t n_rows = smaller(4, n_keys - j);
    float total[4] = {};
    for (int64_t h = 0; h < n_heads; h += 4) {
      const int64_t n_a = smaller(4, n_heads - h);
      dot_rows(q + h * d, d, n_a, keys + j, n_rows, d, dots);
      for (int64_t i = 0; i < n_a; ++i) {
        for (int64_t r = 0; r < n_rows; ++r) {
          const float similarity = dots[i * 4 + r] < 0 ? 0 : dots[i * 4 + r];  // keeps NaN
          total[r] += round_bf16 ? round_to_bf16(round_to_bf16(similarity) * w[h + i])
                                 : similarity * w[h + i];
        }
      }
    }
    for (int64_t r = 0; r < n_rows; ++r) {
      score[j + r] = round_bf16 ? round_to_bf16(total[r]) : total[r];
    }
  }
}

// One tile of add_values: the columns that kTile registers hold, or the first n of them.
template <bool kWhole>
DSV4_INLINE void add_values_tile(const float (&p)[4][kKeyBlock], const float (&rescale)[4],
                                 int64_t n_heads, const float* const* rows, int64_t n_rows,
                                 int64_t column, int64_t n, int64_t c, float* o) {
  const auto load_at = [&](const float* row, int64_t v) {
    const float* data = row + column + v * kLanes;
    return kWhole ? load(data) : load_partial(data, n - v * kLanes);
  };
  F32 sums[4][kTile] = {};
  for (int64_t h = 0; h < n_heads; ++h) {
    for (int64_t v = 0; v < kTile; ++v) sums[h][v] = load_at(o + h * c, v) * rescale[h];
  }
  for (int64_t k = 0; k < n_rows; ++k) {
    F32 row[kTile];
#pragma GCC unroll 4
    for (int64_t v = 0; v < kTile; ++v) row[v] = load_at(rows[k], v);
#pragma GCC unroll 4
    for (int64_t h = 0; h < 4; ++h) {
#pragma GCC unroll 4
      for (int64_t v = 0; v < kTile; ++v) sums[h][v] = fma(row[v], F32{} + p[h][k], sums[h][v]);
    }
  }
  for (int64_t h = 0; h < n_heads; ++h) {
    for (int64_t v = 0; v < kTile; ++v) {
      store_partial(o + h * c + column + v * kLanes, sums[h][v], n - v * kLanes);
    }
  }
}

// o[h] = o[h] * rescale[h] + sum_k p[h][k] * rows[k], column tile by column tile.
static void add_values(const float (&p)[4][kKeyBlock], const float (&rescale)[4], int64_t n_heads,
                       const float* const* rows, int64_t n_rows, int64_t c, float* o) {
  constexpr int64_t kColumns = kTile * kLanes;
  int64_t column = 0;
  for (; column + kColumns <= c; column += kColumns) {
    add_values_tile<true>(p, rescale, n_heads, rows, n_rows, column, kColumns, c, o);
  }
  if (column < c) {
    add_values_tile<false>(p, rescale, n_heads, rows, n_rows, column, c - column, c, o);
  }
}

// The running maximum and denominator of up to four heads.
struct SoftmaxState {
  float largest[4] = {-INFINITY, -INFINITY, -INFINITY, -INFINITY};
  float total[4] = {};
};

// Attention over up to kKeyBlock rows, none of them null.
static void attend_block(const float* q, int64_t n_heads, int64_t c, const float* const* rows,
                         int64_t n_rows, float scale, bool round_bf16, SoftmaxState& state,
                         float* o) {
  float p[4][kKeyBlock] = {};
  float rescale[4] = {};
  alignas(64) float dots[16];
  for (int64_t k = 0; k < n_rows; k += 4) {
    dot_rows(q, c, n_heads, rows + k, smaller(4, n_rows - k), c, dots);
    for (int64_t h = 0; h < n_heads; ++h) {
      for (int64_t r = 0; r < smaller(4, n_rows - k); ++r) p[h][k + r] = dots[h * 4 + r] * scale;
    }
  }
  for (int64_t h = 0; h < n_heads; ++h) {
    float largest = state.largest[h];
    for (int64_t k = 0; k < n_rows; ++k) largest = p[h][k] > largest ? p[h][k] : largest;
    rescale[h] = expf(state.largest[h] - largest);
    float sum = 0;
    for (int64_t k = 0; k < n_rows; ++k) {
      p[h][k] = expf(p[h][k] - largest);
      sum += p[h][k];
      if (round_bf16) p[h][k] = round_to_bf16(p[h][k]);
    }
    state.total[h] = state.total[h] * rescale[h] + sum;
    state.largest[h] = largest;
  }
  add_values(p, rescale, n_heads, rows, n_rows, c, o);
}

// Up to four heads over all rows.
static void attend_heads(const float* q, int64_t n_heads, int64_t c, const float* const* rows,
                         int64_t n_rows, const float* sink, float scale, bool round_bf16,
                         float* o) {
  SoftmaxState state;
  for (int64_t i = 0; i < n_heads * c; ++i) o[i] = 0;
  for (int64_t begin = 0; begin < n_rows; begin += kKeyBlock) {
    const float* present[kKeyBlock];
    int64_t n_present = 0;
    for (int64_t k = begin; k < smaller(begin + kKeyBlock, n_rows); ++k) {
      if (rows[k] != nullptr) present[n_present++] = rows[k];
    }
    if (n_present == 0) continue;
    attend_block(q, n_heads, c, present, n_present, scale, round_bf16, state, o);
  }
  for (int64_t h = 0; h < n_heads; ++h) {
    // The sink joins the denominator; where it exceeds the maximum everything shrinks instead.
    const float largest = state.largest[h] > sink[h] ? state.largest[h] : sink[h];
    const float shrink = expf(state.largest[h] - largest);
    const float total = state.total[h] * shrink + expf(sink[h] - largest);
    for (int64_t i = 0; i < c; ++i) o[h * c + i] = o[h * c + i] * shrink / total;
  }
}

static void attend(const float* q, int64_t n_heads, int64_t c, const float* const* rows,
                   int64_t n_rows, const float* sink, float scale, bool round_bf16, float* o) {
  for (int64_t h = 0; h < n_heads; h += 4) {
    attend_heads(q + h * c, smaller(4, n_heads - h), c, rows, n_rows, sink + h, scale, round_bf16,
                 o + h * c);
  }
}

constexpr KernelTable kTable = {linear, quantize_int8, linear_int8, indexer_scores,
                                attend, read_roof,     int8_roof,   f32_roof};

}  // namespace
}  // namespace dsv4
