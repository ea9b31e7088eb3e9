// Weights as small integers, in the order that integer products want: a panel of kPanelRows rows
// and up to kPanelCols columns. Four neighbouring columns (a quad) of all rows lie together; with
// every group of columns come the scale, and where the format has one the minimum, of each row:
//   weight = scale * (integer - kOffset) + minimum
// One unpacker for each format, written once for all instruction sets.
#pragma once

#include "kernels/cpu/simd.h"
#include "quant/quant_matrix.h"

namespace dsv4 {
namespace {

constexpr int64_t kPanelRows = 32;
constexpr int64_t kPanelCols = 256;

struct Panel {
  alignas(64) uint8_t quads[kPanelCols / 4][kPanelRows * 4];
  alignas(64) float scales[kPanelCols / 16][kPanelRows];
  alignas(64) float minima[kPanelCols / 16][kPanelRows];
};

// kLanes rows of a weight: where they are stored, and where they go in the panel.
struct RowSet {
  const std::byte* at[kLanes];
  const std::byte* base;
  I32 offsets;  // of each row from base
  const std::byte* scale_base;
  I32 scale_offsets;
  Panel* panel;
  int64_t place;

  // Rows from `row` on; behind the last row of the weight it repeats.
  RowSet(const QuantMatrix& w, int64_t row_bytes, int64_t row, Panel& out, int64_t place_in_panel)
      : base(w.data + row * row_bytes),
        scale_base(w.scales + (w.first_row + row) * w.scale_cols),
        panel(&out),
        place(place_in_panel) {
    for (int64_t r = 0; r < kLanes; ++r) {
      const int64_t valid = row + r < w.rows ? r : w.rows - 1 - row;
      at[r] = base + valid * row_bytes;
      offsets[r] = static_cast<int32_t>(valid * row_bytes);
      scale_offsets[r] = static_cast<int32_t>(valid * w.scale_cols);
    }
  }

  void put_quad(int64_t quad, U32 bytes) const {
    std::memcpy(&panel->quads[quad][place * 4], &bytes, sizeof(bytes));
  }
  void put_scale(int64_t group, F32 scale) const { store(&panel->scales[group][place], scale); }
  void put_minimum(int64_t group, F32 minimum) const {
    store(&panel->minima[group][place], minimum);
  }
};

// 2^(e - 128), half of what an E8M0 scale means.
DSV4_INLINE F32 half_of_e8m0(U32 e) {
  const U32 normal = (e - 1) << 23;
  const U32 small = (U32{} + 0x00200000) << e;
  const U32 is_small = (U32)(e < 2);
  const U32 is_nan = (U32)(e == 255) & 0x7FC00000;
  return as_float((normal & ~is_small) | (small & is_small) | is_nan);
}

// Twice the value of each FP4 code, plus 12.
constexpr uint8_t kDoubledE2m1[16] = {12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0};

// FP4 as released: in 16 bytes the even columns in the low nibbles, the odd ones in the high
// (ColumnOrder::kEvenOdd has the activations in that order); E8M0
// scales in a tensor of their own.
struct Fp4Panel {
  static constexpr int64_t kGroup = 32;
  static constexpr int32_t kOffset = 12;
  static constexpr bool kHasMinimum = false;

  static void unpack(const RowSet& rows, int64_t col, int64_t n_cols) {
    for (int64_t g = 0; g < n_cols / kGroup; ++g) {
      U32 words[4];
      load_words(rows.at, (col + g * kGroup) / 2, words);
#pragma GCC unroll 4
      for (int q = 0; q < 4; ++q) {
        rows.put_quad(8 * g + q, look_up_bytes(kDoubledE2m1, words[q] & 0x0F0F0F0F));
        rows.put_quad(8 * g + q + 4, look_up_bytes(kDoubledE2m1, words[q] >> 4 & 0x0F0F0F0F));
      }
    }
    unpack_scales(rows, col / kGroup, n_cols / kGroup);
  }

  static void unpack_scales(const RowSet& rows, int64_t first, int64_t n_groups) {
    int64_t g = 0;
    for (; g + 4 <= n_groups; g += 4) {
      const U32 exponents = gather(rows.scale_base + first + g, rows.scale_offsets);
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) {
        rows.put_scale(g + i, half_of_e8m0(exponents >> (8 * i) & 0xFF));
      }
    }
    for (; g < n_groups; ++g) {
      U32 exponents;
      for (int64_t r = 0; r < kLanes; ++r) {
        exponents[r] = static_cast<uint32_t>(rows.scale_base[rows.scale_offsets[r] + first + g]);
      }
      rows.put_scale(g, half_of_e8m0(exponents));
    }
  }
};

}  // namespace
}  // namespace dsv4
