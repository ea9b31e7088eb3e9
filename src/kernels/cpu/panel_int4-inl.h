// Unpackers of 4-bit integers whose scales and zero points are in tensors of their own.
#pragma once

#include "kernels/cpu/decode-inl.h"
#include "kernels/cpu/panel-inl.h"

namespace dsv4 {
namespace {

// AWQ: eight rows share a word of one column. Lane r's code, scale and zero point:
//   weight = scale * code - scale * zero
struct AwqPanel {
  static constexpr int64_t kGroup = 32;
  static constexpr int32_t kOffset = 0;
  static constexpr int kLargest = 15;
  static constexpr bool kHasMinimum = true;

  template <typename Sink>
  DSV4_INLINE void unpack(const QuantMatrix& w, const RowSet& rows, int64_t col, int64_t n_cols,
                          Sink& sink) {
    const int64_t row_words = w.scale_cols / 8;
    const int64_t first = w.first_row + rows.first;
    for (int64_t g = 0; g < n_cols / kGroup; ++g) {
      U32 quads[8];
#pragma GCC unroll 8
      for (int q = 0; q < 8; ++q) {
        quads[q] = U32{};
#pragma GCC unroll 4
        for (int i = 0; i < 4; ++i) {
          const int64_t column = col + g * kGroup + 4 * q + i;
          quads[q] |= codes_of(w.data + column * row_words * 4, first) << (8 * i);
        }
      }
      const int64_t scale_row = (col + g * kGroup) / w.block_cols;
      const F32 zero = to_float((I32)codes_of(w.zeros + scale_row * row_words * 4, first));
      const F32 scale = half_to_float(load_u16(w.scales + (scale_row * w.scale_cols + first) * 2));
      sink.put(g, quads, scale, -(scale * zero));
    }
  }

  // The nibbles of the rows [first, first + kLanes) in a row of words.
  DSV4_INLINE U32 codes_of(const std::byte* words, int64_t first) {
    U32 codes;
    for (int64_t r = 0; r < kLanes; r += 8) {
      uint32_t word;
      std::memcpy(&word, words + (first + r) / 8 * 4, sizeof(word));
      // Rows of a word stand in the nibbles 0, 4, 1, 5, 2, 6, 3, 7; four lanes may start within.
      const int64_t within = first % 8;
      for (int64_t i = 0; i < smaller(8, kLanes); ++i) {
        const int64_t j = within + i;
        codes[r + i] = word >> (j / 2 * 4 + j % 2 * 16) & 15;
      }
    }
    return codes;
  }
};

// compressed-tensors: nibbles along the columns, so that the even columns of 32 are in the low ones
// (ColumnOrder::kEvenOdd), 8 more than their values; or with zero points.
struct PackedInt4Panel {
  static constexpr int64_t kGroup = 32;
  static constexpr int32_t kOffset = 0;
  static constexpr int kLargest = 15;
  static constexpr bool kHasMinimum = true;

  template <typename Sink>
  DSV4_INLINE void unpack(const QuantMatrix& w, const RowSet& rows, int64_t col, int64_t n_cols,
                          Sink& sink) {
    int64_t block = -1;
    F32 scale = {};
    F32 minimum = {};
    for (int64_t g = 0; g < n_cols / kGroup; ++g) {
      const int64_t k = col + g * kGroup;
      if (block != k / w.block_cols) {
        block = k / w.block_cols;
        load_scales(w, rows.first, k, scale, minimum);
      }
      U32 words[4];
      load_words(rows.at, k / 2, words);
      U32 quads[8];
#pragma GCC unroll 4
      for (int q = 0; q < 4; ++q) {
        quads[q] = words[q] & 0x0F0F0F0F;
        quads[q + 4] = words[q] >> 4 & 0x0F0F0F0F;
      }
      sink.put(g, quads, scale, minimum);
    }
  }

  static void load_scales(const QuantMatrix& w, int64_t first, int64_t col, F32& scale,
                          F32& minimum) {
    for (int64_t r = 0; r < kLanes; ++r) {
      const int64_t row = smaller(first + r, w.rows - 1);
      scale[r] = w.scale(row, col);
      minimum[r] = -scale[r] * static_cast<float>(w.zero_point(row, col));
    }
  }
};

}  // namespace
}  // namespace dsv4
