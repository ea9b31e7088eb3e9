// Unpackers of 4-bit integers whose scales and zero points are in tensors of their own.
#pragma once

#include "kernels/cpu/decode-inl.h"
#include "kernels/cpu/panel-inl.h"

namespace dsv4 {
namespace {

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
