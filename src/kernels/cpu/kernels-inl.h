// The arithmetic of the heavy operations, compiled once per instruction set (isa_*.cc).
//
// Everything rests on dot products of one definition: a vector is cut into blocks of kBlock; in a
// block 16 lanes accumulate in order and are summed as a tree; block sums are added in order. One
// row, many rows, any tile: the same bits.
#pragma once

#include "kernels/cpu/kernel_table.h"
#include "kernels/cpu/simd.h"
#include "quant/float_formats.h"

#include <math.h>

namespace dsv4 {
namespace {

constexpr int64_t kBlock = 1024;   // columns of a product decoded at a time
constexpr int64_t kTileRows = 16;  // rows of a weight decoded at a time
constexpr int64_t kKeyBlock = 64;  // of attention's running maximum
constexpr int64_t kTileColumns = 4 * kLanes;

DSV4_INLINE int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

// out[i * 4 + j] = a[i] . b[j] over n <= kBlock elements, for 4 x 4 vectors.
DSV4_INLINE void dot_4x4(const float* const (&a)[4], const float* const (&b)[4], int64_t n,
                         float (&out)[16]) {
  F32x16 sums[16] = {};
  const auto step = [&](const F32x16(&u)[4], const F32x16(&v)[4]) {
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) sums[i * 4 + j] += u[i] * v[j];
    }
  };
  int64_t k = 0;
  for (; k + kLanes <= n; k += kLanes) {
    const F32x16 u[4] = {load(a[0] + k), load(a[1] + k), load(a[2] + k), load(a[3] + k)};
    const F32x16 v[4] = {load(b[0] + k), load(b[1] + k), load(b[2] + k), load(b[3] + k)};
    step(u, v);
  }
  if (k < n) {
    F32x16 u[4];
    F32x16 v[4];
    for (int i = 0; i < 4; ++i) {
      u[i] = load_partial(a[i] + k, n - k);
      v[i] = load_partial(b[i] + k, n - k);
    }
    step(u, v);
  }
  store(out, sum_lanes(sums));
}

// out[i] = a[i] . b over n <= kBlock elements, for 16 vectors: the same bits as dot_4x4.
DSV4_INLINE void dot_16x1(const float* a, int64_t a_stride, const float* b, int64_t n,
                          float (&out)[16]) {
  F32x16 sums[16] = {};
  int64_t k = 0;
  for (; k + kLanes <= n; k += kLanes) {
    const F32x16 v = load(b + k);
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i) sums[i] += load(a + i * a_stride + k) * v;
  }
  if (k < n) {
    const F32x16 v = load_partial(b + k, n - k);
    for (int i = 0; i < 16; ++i) sums[i] += load_partial(a + i * a_stride + k, n - k) * v;
  }
  store(out, sum_lanes(sums));
}

// ---- Decoding. Each function decodes 16 weights; bit patterns are moved into float32 fields and
// scaled by a power of two, which is exact (denormal codes included).

DSV4_INLINE F32x16 decode_bf16(const std::byte* data) {
  return as_float(__builtin_convertvector(load_vector<U16x16>(data), U32x16) << 16);
}

DSV4_INLINE F32x16 decode_e4m3(const std::byte* data) {
  const U32x16 code = __builtin_convertvector(load_vector<U8x16>(data), U32x16);
  const F32x16 magnitude = as_float((code & 0x7F) << 20) * 0x1p120f;
  const U32x16 nan = (U32x16)((code & 0x7F) == 0x7F) & 0x7FC00000;
  return as_float((U32x16)magnitude | nan | (code & 0x80) << 24);
}

DSV4_INLINE F32x16 decode_e2m1(const std::byte* data) {
  uint32_t word[2];
  std::memcpy(word, data, sizeof(word));
  const uint32_t a = word[0];
  const uint32_t b = word[1];
  const U32x16 words = {a, a, a, a, a, a, a, a, b, b, b, b, b, b, b, b};
  const U32x16 shifts = {0, 4, 8, 12, 16, 20, 24, 28, 0, 4, 8, 12, 16, 20, 24, 28};
  const U32x16 code = words >> shifts;
  const F32x16 magnitude = as_float((code & 7) << 22) * 0x1p126f;
  return as_float((U32x16)magnitude | (code & 8) << 28);
}

// Weights [row, begin .. begin + n) with one scale for each group of 16.
template <typename Decode>
DSV4_INLINE void decode_groups(const QuantMatrix& w, int64_t row, int64_t begin, int64_t n,
                               const std::byte* data, int64_t group_bytes, Decode decode,
                               float* out) {
  for (int64_t k = 0; k < n; k += kLanes, data += group_bytes) {
    store(out + k, decode(data) * w.scale(row, begin + k));
  }
}

// decode() of quant_matrix.h, fast where whole groups of 16 share a scale.
static void decode_row(const QuantMatrix& w, int64_t row, int64_t begin, int64_t n, float* out) {
  const std::byte* data = w.data + row * w.row_bytes();
  const bool grouped = w.scale_format == ScaleFormat::kNone || w.block_cols % kLanes == 0;
  const int64_t n_fast = grouped && begin % kLanes == 0 ? n / kLanes * kLanes : 0;
  switch (w.format) {
    case WeightFormat::kBF16:
      for (int64_t k = 0; k < n_fast; k += kLanes) {
        store(out + k, decode_bf16(data + (begin + k) * 2));
      }
      break;
    case WeightFormat::kFP8:
      decode_groups(w, row, begin, n_fast, data + begin, kLanes, decode_e4m3, out);
      break;
    case WeightFormat::kFP4:
      decode_groups(w, row, begin, n_fast, data + begin / 2, kLanes / 2, decode_e2m1, out);
      break;
    case WeightFormat::kF32:
    case WeightFormat::kF16:
      w.decode(row, begin, n, out);
      return;
  }
  if (n_fast < n) w.decode(row, begin + n_fast, n - n_fast, out + n_fast);
}

// ---- Products.

// Adds the sums of a block (or stores them, for the first one) to n_rows neighbours of y.
DSV4_INLINE void accumulate(const float* sums, int64_t n_rows, bool first, float* y) {
  for (int64_t r = 0; r < n_rows; ++r) y[r] = first ? sums[r] : y[r] + sums[r];
}

// One decoded tile of up to 16 rows x n columns times all tokens.
static void multiply_tile(const float* tile, int64_t n_rows, int64_t n_cols, const float* x,
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

static void linear(const float* x, int64_t x_stride, int64_t n, const QuantMatrix& w,
                   int64_t row_begin, int64_t row_end, float* y, int64_t y_stride) {
  alignas(64) float tile[kTileRows * kBlock] = {};  // rows beyond the last stay zero
  for (int64_t row = row_begin; row < row_end; row += kTileRows) {
    const int64_t n_rows = smaller(kTileRows, row_end - row);
    for (int64_t k = 0; k < w.cols; k += kBlock) {
      const int64_t n_cols = smaller(kBlock, w.cols - k);
      for (int64_t r = 0; r < n_rows; ++r) decode_row(w, row + r, k, n_cols, tile + r * kBlock);
      multiply_tile(tile, n_rows, n_cols, x + k, x_stride, n, k == 0, y + row, y_stride);
    }
  }
}

// ---- Rows looked at through pointers: keys of the indexer and of attention.

// out[i * 4 + j] = a[i] . rows[j] for up to 4 x 4 vectors of any length n.
DSV4_INLINE void dot_rows(const float* a, int64_t a_stride, int64_t n_a, const float* const* rows,
                          int64_t n_rows, int64_t n, float (&out)[16]) {
  for (int64_t k = 0; k < n; k += kBlock) {
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
          const float similarity = dots[i * 4 + r] > 0 ? dots[i * 4 + r] : 0;
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

// o[h] = o[h] * rescale[h] + sum_k p[h][k] * rows[k], column tile by column tile.
static void add_values(const float (&p)[4][kKeyBlock], const float (&rescale)[4], int64_t n_heads,
                       const float* const* rows, int64_t n_rows, int64_t c, float* o) {
  for (int64_t column = 0; column < c; column += kTileColumns) {
    F32x16 sums[4][4] = {};
    const int64_t n = smaller(kTileColumns, c - column);
    const bool whole = n == kTileColumns;
    const auto load_at = [&](const float* row, int64_t v) {
      const int64_t left = n - v * kLanes;
      if (whole || left >= kLanes) return load(row + column + v * kLanes);
      return left > 0 ? load_partial(row + column + v * kLanes, left) : F32x16{};
    };
    for (int64_t h = 0; h < n_heads; ++h) {
      for (int64_t v = 0; v < 4; ++v) sums[h][v] = load_at(o + h * c, v) * rescale[h];
    }
    for (int64_t k = 0; k < n_rows; ++k) {
      const F32x16 row[4] = {load_at(rows[k], 0), load_at(rows[k], 1), load_at(rows[k], 2),
                             load_at(rows[k], 3)};
#pragma GCC unroll 4
      for (int64_t h = 0; h < 4; ++h) {
#pragma GCC unroll 4
        for (int64_t v = 0; v < 4; ++v) sums[h][v] += row[v] * p[h][k];
      }
    }
    for (int64_t h = 0; h < n_heads; ++h) {
      for (int64_t v = 0; v < 4 && v * kLanes < n; ++v) {
        float* out = o + h * c + column + v * kLanes;
        store_partial(out, sums[h][v], smaller(kLanes, n - v * kLanes));
      }
    }
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

constexpr KernelTable kTable = {linear, indexer_scores, attend};

}  // namespace
}  // namespace dsv4
