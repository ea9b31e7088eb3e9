// Products of AWQ weights, whose columns lie apart, with int8 activations: as many rows as there
// are in a call pass by together, so that memory is read in whole lines.
#pragma once

#include "kernels/cpu/int8_many-inl.h"
#include "kernels/cpu/panel_awq-inl.h"

namespace dsv4 {
namespace {

constexpr int64_t kAwqStripSets = 8;     // sets of rows that pass by together
constexpr int64_t kAwqAhead = 64;        // columns that are fetched before they are used
constexpr int64_t kAwqFewTokens = kLanes == 16 ? 4 : 1;  // whose sums stay in registers

// What is asked for little by little while a strip of rows passes by: the same rows' columns
// kAwqAhead later, and at the end the beginning of what comes next.
struct AwqAhead {
  const std::byte* next;  // null where nothing comes
  int64_t next_stride;

  AwqAhead(const QuantMatrix& w, int64_t row, int64_t row_end, ReadAhead then) {
    if (row < row_end) {
      const AwqRowSet rows(w, row);
      next = rows.data;
      next_stride = rows.stride;
    } else {
      next = then.data;
      next_stride = then.stride;
    }
  }

  // For a group of columns of a set of rows, `place` bytes into the strip.
  DSV4_INLINE_MEMBER void prefetch(const AwqRowSet& rows, int64_t col, int64_t place) const {
    const int64_t later = col + kAwqAhead;
    const bool is_next = later >= rows.w.cols;
    if (is_next && next == nullptr) return;
    const int64_t stride = is_next ? next_stride : rows.stride;
    const std::byte* at =
        is_next ? next + place + (later - rows.w.cols) * stride : rows.data + later * stride;
#pragma GCC unroll 8
    for (int64_t c = 0; c < AwqPanel::kGroup; ++c) __builtin_prefetch(at + c * stride);
  }
};

// 32 columns of a set of rows times kTokens tokens, added to the sums.
template <int kTokens>
DSV4_INLINE void multiply_awq_group(const Int8Block& x, const AwqRowSet& rows, int64_t col,
                                    F32 (&totals)[kTokens][kAwqVectors]) {
  I32 dots[kTokens][kAwqVectors] = {};
#pragma GCC unroll 4
  for (int64_t k = 0; k < AwqPanel::kGroup; k += kAwqCols) {
    U32 quads[2][kAwqVectors];
    rows.unpack(col + k, quads);
#pragma GCC unroll 2
    for (int64_t q = 0; q < 2; ++q) {
#pragma GCC unroll 4
      for (int t = 0; t < kTokens; ++t) {
        int32_t four;
        std::memcpy(&four, x.values + t * x.stride + col + k + 4 * q, sizeof(four));
        const I32 b = I32{} + four;
#pragma GCC unroll 16
        for (int64_t v = 0; v < kAwqVectors; ++v) {
          dots[t][v] = dot_bytes<AwqPanel::kLargest>(dots[t][v], quads[q][v], b);
        }
      }
    }
  }
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

// Up to kAwqFewTokens tokens: weights are used as they are unpacked.
template <int kTokens>
static void linear_awq_few(const Int8Block& x, const QuantMatrix& w, int64_t row_begin,
                           int64_t row_end, ReadAhead then, float* y, int64_t y_stride) {
  constexpr int64_t kStripRows = kAwqStripSets * kAwqRows;
  for (int64_t strip = row_begin; strip < row_end; strip += kStripRows) {
    const int64_t strip_end = smaller(row_end, strip + kStripRows);
    const AwqAhead ahead(w, strip_end, row_end, then);
    alignas(64) F32 totals[kAwqStripSets][kTokens][kAwqVectors] = {};
    for (int64_t col = 0; col < w.cols; col += AwqPanel::kGroup) {
      for (int64_t row = strip; row < strip_end; row += kAwqRows) {
        const AwqRowSet rows(w, row);
        const int64_t place = (row - strip) / 2;
        if (place % 64 == 0) ahead.prefetch(rows, col, place);
        if (col % w.block_cols == 0) rows.prefetch_scales(col);
        multiply_awq_group<kTokens>(x, rows, col, totals[(row - strip) / kAwqRows]);
      }
    }
    for (int64_t row = strip; row < strip_end; row += kLanes) {
      const int64_t set = (row - strip) / kAwqRows;
      const int64_t v = (row - strip) % kAwqRows / kLanes;
      for (int64_t t = 0; t < kTokens; ++t) {
        store_partial(y + t * y_stride + row, totals[set][t][v], row_end - row);
      }
    }
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
    rows.load_scales(col + g * AwqPanel::kGroup, scales, minima);
    std::memcpy(panel.scales[g], scales, sizeof(scales));
    std::memcpy(panel.minima[g], minima, sizeof(minima));
  }
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
  linear_int8_many<AwqPanel>(x, n, w, row_begin, row_end, then, y, y_stride);
}

}  // namespace
}  // namespace dsv4
