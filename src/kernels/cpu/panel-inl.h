// Weights as small integers, in the order that integer products want: kLanes rows side by side, in
// each lane four neighbouring columns of one row (a quad). With every group of columns come the
// scale, and where the format has one the minimum, of each row:
//   weight = scale * (integer - kOffset) + minimum
// One unpacker for each format, written once for all instruction sets. It hands group by group to
// a sink: put(group, quads, scale) or put(group, quads, scale, minimum), groups counted from `col`.
#pragma once

#include "kernels/cpu/simd.h"
#include "quant/quant_matrix.h"

namespace dsv4 {
namespace {

constexpr int64_t kPanelCols = 256;  // that an unpacker is asked for at most

// kLanes rows of a weight: where they are stored.
struct RowSet {
  const std::byte* at[kLanes];
  const std::byte* base;
  I32 offsets;  // of each row from base
  const std::byte* scale_base;
  I32 scale_offsets;  // in scales, of each row's first one from the first row's

  // Rows from `row` on; behind the last row of the weight it repeats.
  RowSet(const QuantMatrix& w, int64_t row_bytes, int64_t row) : base(w.data + row * row_bytes) {
    const int64_t first = (w.first_row + row) / w.block_rows;
    scale_base = w.scales + first * w.scale_cols * scale_bytes(w.scale_format);
    for (int64_t r = 0; r < kLanes; ++r) {
      const int64_t valid = row + r < w.rows ? r : w.rows - 1 - row;
      const int64_t block = (w.first_row + row + valid) / w.block_rows;
      at[r] = base + valid * row_bytes;
      offsets[r] = static_cast<int32_t>(valid * row_bytes);
      scale_offsets[r] = static_cast<int32_t>((block - first) * w.scale_cols);
    }
  }
};

// 2^(e - 128), half of what an E8M0 scale means.
DSV4_INLINE F32 half_of_e8m0(U32 e) {
  F32 half = as_float(e << 23) * 0.5f;
  if (any((U32)(((e + 1) & 0xFF) < 2))) {  // 0 and 255 are not exponents of a float
    for (int64_t i = 0; i < kLanes; ++i) {
      half[i] = e8m0_to_float(static_cast<uint8_t>(e[i])) * 0.5f;
    }
  }
  return half;
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

  template <typename Sink>
  DSV4_INLINE void unpack(const QuantMatrix&, const RowSet& rows, int64_t col, int64_t n_cols,
                          Sink& sink) {
    const std::byte* scales = rows.scale_base + col / kGroup;
    const int64_t n_groups = n_cols / kGroup;
    int64_t g = 0;
    for (; g + 4 <= n_groups; g += 4) {
      const U32 exponents = gather(scales + g, rows.scale_offsets);
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) {
        unpack_group(rows, col, g + i, exponents >> (8 * i) & 0xFF, sink);
      }
    }
    for (; g < n_groups; ++g) {
      U32 exponents;
      for (int64_t r = 0; r < kLanes; ++r) {
        exponents[r] = static_cast<uint32_t>(scales[rows.scale_offsets[r] + g]);
      }
      unpack_group(rows, col, g, exponents, sink);
    }
  }

  template <typename Sink>
  DSV4_INLINE void unpack_group(const RowSet& rows, int64_t col, int64_t g, U32 exponents,
                                Sink& sink) {
    U32 words[4];
    load_words(rows.at, (col + g * kGroup) / 2, words);
    U32 quads[8];
#pragma GCC unroll 4
    for (int q = 0; q < 4; ++q) {
      quads[q] = look_up_bytes(kDoubledE2m1, words[q] & 0x0F0F0F0F);
      quads[q + 4] = look_up_bytes(kDoubledE2m1, words[q] >> 4 & 0x0F0F0F0F);
    }
    sink.put(g, quads, half_of_e8m0(exponents));
  }
};

}  // namespace
}  // namespace dsv4
