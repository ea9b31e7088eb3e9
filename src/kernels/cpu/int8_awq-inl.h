// Products of AWQ weights, whose columns lie apart, with int8 activations: as many rows as there
// are in a call pass by together, so that memory is read in whole lines.
#pragma once

#include "kernels/cpu/int8_many-inl.h"
#include "kernels/cpu/panel_awq-inl.h"

namespace dsv4 {
namespace {

constexpr int64_t kAwqStripSets = 8;   // sets of rows that pass by together
constexpr int64_t kAwqAhead = 64;      // columns that are fetched before they are used
constexpr int64_t kAwqAgain = 16;      // after so many columns, once more
constexpr int64_t kAwqLineRows = 128;  // in a cache line
constexpr int64_t kAwqFewTokens = kLanes == 16 ? 4 : 1;  // whose sums stay in registers
constexpr int64_t kAwqSomeTokens = 8;                    // for whom no panel is filled

// Where columns of a set of rows are, and what is read when the last one has passed by.
struct AwqPath {
  const std::byte* data;
  int64_t stride;
  int64_t n;  // columns
  const std::byte* then;
  int64_t then_stride;

  AwqPath(const QuantMatrix& w, int64_t row, int64_t next, int64_t row_end, ReadAhead ahead)
      : n(w.cols) {
    const AwqRowSet rows(w, row);
    data = rows.data;
    stride = rows.stride;
    const bool is_last = next >= row_end;
    then = is_last ? ahead.data : AwqRowSet(w, next).data;
    then_stride = !is_last ? stride : ahead.stride > 0 ? ahead.stride : 64;
    if (then == nullptr) then = data;  // nothing comes
  }

  DSV4_INLINE_MEMBER const std::byte* at(int64_t col) const {
    return col < n ? data + col * stride : then + (col - n) * then_stride;
  }
  DSV4_INLINE_MEMBER int64_t stride_at(int64_t col) const { return col < n ? stride : then_stride; }
};

// Part of some columns that is fetched into the second cache: columns whose distance is a power of
// two share few places of the first one.
struct AwqLines {
  const std::byte* at;
  int64_t stride;
  int64_t last;  // byte of a column that may lie in a line that no other part asks for, or 0

  DSV4_INLINE_MEMBER void prefetch(int64_t col) const {
    __builtin_prefetch(at + col * stride, 0, 2);
    if (last > 0) __builtin_prefetch(at + col * stride + last, 0, 2);
  }
};

// Asks little by little for the columns of the next panels.
struct AwqPrefetcher {
  AwqPath path;
  int64_t col;
  int64_t n_steps;
  int64_t credit = 0;  // of n_steps is a column

  DSV4_INLINE_MEMBER void advance() {
    for (credit += path.n; credit >= n_steps; credit -= n_steps)
      __builtin_prefetch(path.at(col++), 0, 2);
  }
};

// Adds the sums of a group of columns of one set.
template <int kTokens>
DSV4_INLINE void add_awq_group(const Int8Block& x, const AwqRowSet& rows, int64_t col,
                               const I32 (&dots)[kTokens][kAwqVectors],
                               F32 (*totals)[kAwqVectors]) {
  F32 scales[kAwqVectors];
  F32 minima[kAwqVectors];
  rows.load_scales(col, scales, minima);
#pragma GCC unroll 4
  for (int t = 0; t < kTokens; ++t) {
    const int64_t first = t * x.stride + col;
    const float x_scale = x.scales[first / kInt8Block];
    const int32_t* sums = x.sums + first / kSumCols;
    const float sum = x_scale * static_cast<float>(sums[0] + sums[1]);
#pragma GCC unroll 16
    for (int64_t v = 0; v < kAwqVectors; ++v) {
      totals[t][v] = fma(to_float(dots[t][v]), scales[v] * x_scale, totals[t][v]);
      totals[t][v] = fma(minima[v], F32{} + sum, totals[t][v]);
    }
  }
}

// 32 columns of neighbouring sets of rows times kTokens tokens, added to the sums. Meanwhile as
// many columns are asked for.
template <int kTokens, int kSets>
DSV4_INLINE void multiply_awq_group(const Int8Block& x, const AwqRowSet* sets, int64_t col,
                                    const AwqLines& ahead, F32 (*totals)[kTokens][kAwqVectors]) {
  I32 dots[kSets][kTokens][kAwqVectors] = {};
#pragma GCC unroll 4
  for (int64_t k = 0; k < AwqPanel::kGroup; k += kAwqCols) {
#pragma GCC unroll 8
    for (int64_t c = k; c < k + kAwqCols; ++c) {
      ahead.prefetch(c);
      if constexpr (kLanes == 16) ahead.prefetch(c - kAwqAgain);  // as fetch_again() does
    }
#pragma GCC unroll 2
    for (int s = 0; s < kSets; ++s) {
      U32 quads[2][kAwqVectors];
      sets[s].unpack(col + k, quads);
#pragma GCC unroll 2
      for (int64_t q = 0; q < 2; ++q) {
#pragma GCC unroll 4
        for (int t = 0; t < kTokens; ++t) {
          int32_t four;
          std::memcpy(&four, x.values + t * x.stride + col + k + 4 * q, sizeof(four));
          const I32 b = I32{} + four;
#pragma GCC unroll 16
          for (int64_t v = 0; v < kAwqVectors; ++v) {
            dots[s][t][v] = dot_bytes<AwqPanel::kLargest>(dots[s][t][v], quads[q][v], b);
          }
        }
      }
    }
  }
#pragma GCC unroll 2
  for (int s = 0; s < kSets; ++s) add_awq_group(x, sets[s], col, dots[s], totals[s]);
}

// Stores the sums of the first n tokens of sets of rows.
template <int64_t kTokens>
DSV4_INLINE void store_awq(const F32 (*totals)[kTokens][kAwqVectors], int64_t n, int64_t n_rows,
                           float* y, int64_t y_stride) {
  for (int64_t row = 0; row < n_rows; row += kLanes) {
    for (int64_t t = 0; t < n; ++t) {
      const F32 sum = totals[row / kAwqRows][t][row % kAwqRows / kLanes];
      store_partial(y + t * y_stride + row, sum, n_rows - row);
    }
  }
}

// Calls body(set, row, col, ahead) for each group of columns of rows that pass by together, kSets
// sets of rows at a time: `set` counts from the first row of all, `ahead` is to be fetched
// meanwhile.
template <int kSets, typename Body>
DSV4_INLINE void walk_awq_strip(const QuantMatrix& w, const AwqPath& path, int64_t row_begin,
                                int64_t row_end, Body body) {
  for (int64_t col = 0; col < w.cols; col += AwqPanel::kGroup) {
    const std::byte* ahead = path.at(col + kAwqAhead);
    const int64_t stride = path.stride_at(col + kAwqAhead);
    for (int64_t row = row_begin; row < row_end; row += kSets * kAwqRows) {
      const int64_t set = (row - row_begin) / kAwqRows;
      const bool is_last = row + kSets * kAwqRows >= row_end;
      const AwqLines part{ahead + set * kAwqBytes, stride, is_last ? (row_end - row) / 2 - 1 : 0};
      body(set, row, col, part);
    }
  }
}

// Up to kAwqFewTokens tokens: weights are used as they are unpacked.
template <int kTokens>
static void linear_awq_few(const Int8Block& x, const QuantMatrix& w, int64_t row_begin,
                           int64_t row_end, ReadAhead then, float* y, int64_t y_stride) {
  constexpr int kSets = kLanes == 16 && kTokens <= 2 ? 2 : 1;  // whose sums stay in registers
  constexpr int64_t kStripRows = kAwqStripSets * kAwqRows;
  for (int64_t strip = row_begin; strip < row_end; strip += kStripRows) {
    const int64_t strip_end = smaller(row_end, strip + kStripRows);
    const AwqPath path(w, strip, strip_end, row_end, then);
    alignas(64) F32 totals[kAwqStripSets][kTokens][kAwqVectors] = {};
    walk_awq_strip<kSets>(w, path, strip, strip_end,
                          [&](int64_t set, int64_t row, int64_t col, const AwqLines& ahead) {
                            const AwqRowSet sets[2] = {{w, row}, {w, row + kAwqRows}};
                            for (int s = 0; s < kSets; ++s) sets[s].prefetch_scales(col);
                            if (kSets > 1 && row + kAwqRows < strip_end) {
                              multiply_awq_group<kTokens, kSets>(x, sets, col, ahead, totals + set);
                            } else {
                              multiply_awq_group<kTokens, 1>(x, sets, col, ahead, totals + set);
                            }
                          });
    store_awq(totals, kTokens, strip_end - strip, y + strip, y_stride);
  }
}

// Unpacked codes of 32 columns of a set of rows.
struct AwqGroup {
  U32 quads[AwqPanel::kGroup / kAwqCols][2][kAwqVectors];

  DSV4_INLINE_MEMBER void fill(const AwqRowSet& rows, int64_t col, const AwqLines& ahead) {
#pragma GCC unroll 4
    for (int64_t k = 0; k < AwqPanel::kGroup; k += kAwqCols) {
#pragma GCC unroll 8
      for (int64_t c = k; c < k + kAwqCols; ++c) ahead.prefetch(c);
      rows.unpack(col + k, quads[k / kAwqCols]);
    }
  }

  // Adds the products with kTokens tokens to their sums.
  template <int kTokens>
  DSV4_INLINE_MEMBER void multiply(const Int8Block& x, const AwqRowSet& rows, int64_t col,
                                   F32 (*totals)[kAwqVectors]) const {
    I32 dots[kTokens][kAwqVectors] = {};
#pragma GCC unroll 8
    for (int64_t q = 0; q < AwqPanel::kGroup / 4; ++q) {
#pragma GCC unroll 4
      for (int t = 0; t < kTokens; ++t) {
        int32_t four;
        std::memcpy(&four, x.values + t * x.stride + col + 4 * q, sizeof(four));
        const I32 b = I32{} + four;
#pragma GCC unroll 16
        for (int64_t v = 0; v < kAwqVectors; ++v) {
          dots[t][v] = dot_bytes<AwqPanel::kLargest>(dots[t][v], quads[q / 2][q % 2][v], b);
        }
      }
    }
    add_awq_group(x, rows, col, dots, totals);
  }
};

// Up to kAwqSomeTokens tokens: a group of columns is unpacked for all of them.
static void linear_awq_some(const Int8Block& x, int64_t n, const QuantMatrix& w, int64_t row_begin,
                            int64_t row_end, ReadAhead then, float* y, int64_t y_stride) {
  constexpr int64_t kSets = kAwqStripSets / 2;
  constexpr int64_t kStripRows = kSets * kAwqRows;
  for (int64_t strip = row_begin; strip < row_end; strip += kStripRows) {
    const int64_t strip_end = smaller(row_end, strip + kStripRows);
    const AwqPath path(w, strip, strip_end, row_end, then);
    alignas(64) F32 totals[kSets][kAwqSomeTokens][kAwqVectors] = {};
    walk_awq_strip<1>(w, path, strip, strip_end,
                      [&](int64_t set, int64_t row, int64_t col, const AwqLines& ahead) {
                        const AwqRowSet rows(w, row);
                        rows.prefetch_scales(col);
                        AwqGroup group;
                        group.fill(rows, col, ahead);
                        int64_t t = 0;
                        for (; t + 2 <= n; t += 2) {
                          group.multiply<2>(tokens_from(x, t), rows, col, totals[set] + t);
                        }
                        if (t < n) group.multiply<1>(tokens_from(x, t), rows, col, totals[set] + t);
                      });
    store_awq(totals, n, strip_end - strip, y + strip, y_stride);
  }
}

// Fills the panel with kAwqRows rows.
template <>
void fill_panel<AwqPanel>(const QuantMatrix& w, int64_t, int64_t row, int64_t, int64_t col,
                          int64_t n_cols, Panel& panel) {
  static_assert(kAwqRows == kPanelRows);
  const AwqRowSet rows(w, row);
  for (int64_t k = 0; k < n_cols; k += kAwqCols) {
    U32 quads[2][kAwqVectors];
    rows.unpack(col + k, quads);
    std::memcpy(panel.quads[k / 4], quads, sizeof(quads));
  }
  for (int64_t g = 0; g < n_cols / AwqPanel::kGroup; ++g) {
    F32 scales[kAwqVectors];
    F32 minima[kAwqVectors];
    const int64_t first = col + g * AwqPanel::kGroup;
    rows.prefetch_scales(first);
    rows.load_scales(first, scales, minima);
    std::memcpy(panel.scales[g], scales, sizeof(scales));
    std::memcpy(panel.minima[g], minima, sizeof(minima));
  }
}

// The same rows' next columns, then what comes after these.
template <>
inline auto weights_after_panel<AwqPanel>(const QuantMatrix& w, int64_t row, int64_t next,
                                          int64_t row_end, ReadAhead then, int64_t n_steps) {
  return AwqPrefetcher{{w, row, next, row_end, then}, kPanelCols, n_steps};
}

static void linear_awq(const Int8Block& x, int64_t n, const QuantMatrix& w, int64_t row_begin,
                       int64_t row_end, ReadAhead then, float* y, int64_t y_stride) {
  const auto few = [&]<int kTokens>() {
    linear_awq_few<kTokens>(x, w, row_begin, row_end, then, y, y_stride);
  };
  if (n == 1) return few.template operator()<1>();
  if constexpr (kAwqFewTokens > 1) {
    if (n == 2) return few.template operator()<2>();
    if (n == 3) return few.template operator()<3>();
    if (n == 4) return few.template operator()<4>();
  }
  if (n <= kAwqSomeTokens) {
    return linear_awq_some(x, n, w, row_begin, row_end, then, y, y_stride);
  }
  linear_int8_many<AwqPanel>(x, n, w, row_begin, row_end, then, y, y_stride);
}

}  // namespace
}  // namespace dsv4
