// Unpacker of 4-bit integers along the columns, whose scales and zero points are in tensors of
// their own.
#pragma once

#include "kernels/cpu/decode-inl.h"
#include "kernels/cpu/panel_small-inl.h"

namespace dsv4 {
namespace {

// compressed-tensors: nibbles along the columns, so that the even columns of 32 are in the low ones
// (ColumnOrder::kEvenOdd), 8 more than their values; or with zero points.
struct PackedInt4Panel {
  static constexpr int64_t kGroup = 32;
  static constexpr int32_t kOffset = 0;
  static constexpr int kLargest = 15;
  static constexpr bool kHasMinimum = true;
  static constexpr bool kPowersOfTwo = false;

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
        scale = load_scales(w, rows, block);
        minimum = -(scale * zero_points(w, rows, block));
      }
      U32 quads[8];
      load_nibbles(rows, k / 2, quads);
      sink.put(g, quads, scale, minimum);
    }
  }

  DSV4_INLINE F32 load_scales(const QuantMatrix& w, const RowSet& rows, int64_t block) {
    const int64_t size = scale_bytes(w.scale_format);
    const auto at = [&](int64_t r) {
      return rows.scale_base + (rows.scale_offsets[r] + block) * size;
    };
    if (w.scale_format == ScaleFormat::kF32) return as_float(load_words_of_rows(at));
    alignas(64) uint32_t halves[kLanes];
#pragma GCC unroll 16
    for (int64_t r = 0; r < kLanes; ++r) {
      uint16_t half;
      std::memcpy(&half, at(r), sizeof(half));
      halves[r] = half;
    }
    U32 bits;
    std::memcpy(&bits, halves, sizeof(bits));
    return w.scale_format == ScaleFormat::kF16 ? half_to_float(bits) : as_float(bits << 16);
  }

  // Eight rows share a word.
  DSV4_INLINE F32 zero_points(const QuantMatrix& w, const RowSet& rows, int64_t block) {
    if (w.zeros == nullptr) return F32{} + 8;
    U32 shifts;
    const auto row_of = [&](int64_t r) {
      return w.first_row + smaller(rows.first + r, w.rows - 1);
    };
    for (int64_t r = 0; r < kLanes; ++r) shifts[r] = static_cast<uint32_t>(row_of(r) % 8 * 4);
    const U32 words = load_words_of_rows(
        [&](int64_t r) { return w.zeros + (row_of(r) / 8 * w.scale_cols + block) * 4; });
    return to_float((I32)(words >> shifts & 15));
  }
};

}  // namespace
}  // namespace dsv4
