// Weights as small integers, in the order that integer products want: kLanes rows side by side, in
// each lane four neighbouring columns of one row (a quad). With every group of columns come the
// scale, and where the format has one the minimum, of each row:
//   weight = scale * (integer - kOffset) + minimum,  0 <= integer <= kLargest
// One unpacker for each format, written once for all instruction sets. It hands group by group to
// a sink: put(group, quads, scale) or put(group, quads, scale, minimum), groups counted from `col`.
// Formats with kPowersOfTwo hand over the unit, kUnitOfOne * scale, in place of the scale
// (int8_read-inl.h uses it).
#pragma once

#include "kernels/cpu/simd.h"
#include "quant/quant_matrix.h"

#include <math.h>

namespace dsv4 {
namespace {

constexpr int64_t kPanelCols = 256;  // that an unpacker is asked for at most

// A word of each row, one by one: gathers take longer (docs/performance.md).
template <typename Place>
DSV4_INLINE U32 load_words_of_rows(Place place) {
  alignas(64) uint32_t words[kLanes];
#pragma GCC unroll 16
  for (int64_t r = 0; r < kLanes; ++r) std::memcpy(&words[r], place(r), sizeof(uint32_t));
  U32 v;
  std::memcpy(&v, words, sizeof(v));
  return v;
}

// kLanes rows of a weight: where they are stored.
struct RowSet {
  int64_t first;  // row of the weight; of a set behind the last one, which is not used, any
  const std::byte* at[kLanes];
  const std::byte* scale_base;
  int32_t scale_offsets[kLanes];  // in scales, of each row's first one from the first row's

  // Rows from `row` on; behind the last row of the weight it repeats.
  RowSet(const QuantMatrix& w, int64_t row_bytes, int64_t row) : first(row < w.rows ? row : 0) {
    const int64_t first_block = (w.first_row + row) / w.block_rows;
    scale_base = w.scales + first_block * w.scale_cols * scale_bytes(w.scale_format);
    for (int64_t r = 0; r < kLanes; ++r) {
      const int64_t valid = row + r < w.rows ? r : w.rows - 1 - row;
      const int64_t block = (w.first_row + row + valid) / w.block_rows;
      at[r] = w.data + (row + valid) * row_bytes;
      scale_offsets[r] = static_cast<int32_t>((block - first_block) * w.scale_cols);
    }
  }

  // The 32-bit word at this offset in each row.
  DSV4_INLINE_MEMBER U32 word(int64_t offset) const {
    return load_words_of_rows([&](int64_t r) { return at[r] + offset; });
  }
};

// The halves of a word as floats.
DSV4_INLINE F32 low_half(U32 word) { return half_to_float(word & 0xFFFF); }
DSV4_INLINE F32 high_half(U32 word) { return half_to_float(word >> 16); }

// A float whose last bit counts as one, amid those of its exponent: adding an integer to its bits
// adds it to the number, exactly.
constexpr float kUnitOfOne = 0x1.8p23f;

// Scales above 2^100 count as not a number, since their units leave the exponents of a float.
constexpr uint32_t kLargestE8m0 = 127 + 100;

// The unit of half of what an E8M0 scale means.
DSV4_INLINE F32 unit_of_half_e8m0(U32 e) {
  const U32 nan = (U32)(e > kLargestE8m0) & 0x7FC00000;
  return as_float(((e << 23) + (22u << 23 | 0x400000)) | nan);
}

// Twice the value of each FP4 code, plus 12.
constexpr uint8_t kDoubledE2m1[16] = {12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0};

// Hands over 32 FP4 codes: the first 16, as activations are ordered, in the low nibbles of words.
template <typename Sink>
DSV4_INLINE void put_fp4(int64_t g, const U32* words, U32 exponents, Sink& sink) {
  U32 quads[8];
#pragma GCC unroll 4
  for (int q = 0; q < 4; ++q) {
    quads[q] = look_up_bytes(kDoubledE2m1, words[q] & 0x0F0F0F0F);
    quads[q + 4] = look_up_bytes(kDoubledE2m1, words[q] >> 4 & 0x0F0F0F0F);
  }
  sink.put(g, quads, unit_of_half_e8m0(exponents));
}

// FP4 as released: in 16 bytes the even columns in the low nibbles, the odd ones in the high
// (ColumnOrder::kEvenOdd has the activations in that order); E8M0
// scales in a tensor of their own.
struct Fp4Panel {
  static constexpr int64_t kGroup = 32;
  static constexpr int32_t kOffset = 12;
  static constexpr int kLargest = 24;
  static constexpr bool kHasMinimum = false;
  static constexpr bool kPowersOfTwo = true;

  template <typename Sink>
  DSV4_INLINE void unpack(const QuantMatrix&, const RowSet& rows, int64_t col, int64_t n_cols,
                          Sink& sink) {
    const std::byte* scales = rows.scale_base + col / kGroup;
    const int64_t n_groups = n_cols / kGroup;
    int64_t g = 0;
    for (; g + 4 <= n_groups; g += 4) {
      const U32 exponents =
          load_words_of_rows([&](int64_t r) { return scales + g + rows.scale_offsets[r]; });
#pragma GCC unroll 2
      for (int i = 0; i < 4; i += 2) {
        U32 words[8];
        load_half_lines(rows.at, (col + (g + i) * kGroup) / 2, words);
        put_fp4(g + i, words, exponents >> (8 * i) & 0xFF, sink);
        put_fp4(g + i + 1, words + 4, exponents >> (8 * i + 8) & 0xFF, sink);
      }
    }
    for (; g < n_groups; ++g) {
      U32 exponents;
      for (int64_t r = 0; r < kLanes; ++r) {
        exponents[r] = static_cast<uint32_t>(scales[rows.scale_offsets[r] + g]);
      }
      U32 words[4];
      load_words(rows.at, (col + g * kGroup) / 2, words);
      put_fp4(g, words, exponents, sink);
    }
  }
};

// value / 2^shift to the nearest, ties to even.
constexpr int shift_to_nearest(int value, int shift) {
  const int doubled = 2 * value >> shift;
  const bool tie = doubled % 2 == 1 && doubled << shift == 2 * value;
  return tie ? (doubled / 2 + 1) / 2 * 2 : (doubled + 1) / 2;
}

// 128 plus the integer of an FP8 code (below) by exponent and mantissa, from the exponent that is 7
// less than the largest of the group on.
struct Fp8Integers {
  uint8_t biased[64] = {};

  constexpr Fp8Integers() {
    for (int i = 0; i < 64; ++i) {
      biased[i] = static_cast<uint8_t>(128 + shift_to_nearest((8 + i % 8) * 8, 7 - i / 8));
    }
  }
};
constexpr Fp8Integers kFp8Integers;

// FP8 (E4M3) with block scales, as E8M0 or else as floats. Each 32 codes of a row become integers
// of 7 bits in units of 2^-6 of the power of two in the largest: exact down to an eighth of that,
// to the nearest below.
template <bool kScalesAreE8m0>
struct Fp8Panel {
  static constexpr int64_t kGroup = 32;
  static constexpr int32_t kOffset = 128;
  static constexpr int kLargest = 248;
  static constexpr bool kHasMinimum = false;
  static constexpr bool kPowersOfTwo = kScalesAreE8m0;

  template <typename Sink>
  DSV4_INLINE void unpack(const QuantMatrix& w, const RowSet& rows, int64_t col, int64_t n_cols,
                          Sink& sink) {
    const int64_t n_groups = n_cols / kGroup;
    int64_t block = col / w.block_cols;
    F32 scale = block_scales(rows, block);
    const auto put = [&](int64_t g, const U32(&codes)[8]) {
      if (col + g * kGroup == (block + 1) * w.block_cols) scale = block_scales(rows, ++block);
      U32 quads[8];
      const F32 unit = to_integers(codes, quads);
      sink.put(g, quads, unit * scale);
    };
    U32 codes[2][8];
    int64_t g = 0;
    for (; g + 2 <= n_groups; g += 2) {  // whole lines
      load_half_lines(rows.at, col + g * kGroup, codes[0]);
      load_half_lines(rows.at, col + g * kGroup + kGroup, codes[1]);
      put(g, codes[0]);
      put(g + 1, codes[1]);
    }
    if (g == n_groups) return;
    load_half_lines(rows.at, col + g * kGroup, codes[0]);
    put(g, codes[0]);
  }

  // Or their units.
  DSV4_INLINE F32 block_scales(const RowSet& rows, int64_t block_col) {
    const auto load_one = [&](int64_t index) {
      if constexpr (kScalesAreE8m0) {
        const auto e = static_cast<uint8_t>(rows.scale_base[index]);
        return e > kLargestE8m0 ? NAN : kUnitOfOne * e8m0_to_float(e);
      }
      float scale;
      std::memcpy(&scale, rows.scale_base + index * 4, sizeof(scale));
      return scale;
    };
    if (rows.scale_offsets[kLanes - 1] == 0) return F32{} + load_one(block_col);
    F32 scales;
    for (int64_t r = 0; r < kLanes; ++r) scales[r] = load_one(rows.scale_offsets[r] + block_col);
    return scales;
  }

  // Codes to integers plus 128; returns their units.
  DSV4_INLINE F32 to_integers(const U32 (&codes)[8], U32 (&quads)[8]) {
    U8 largest = {};
#pragma GCC unroll 8
    for (int q = 0; q < 8; ++q) {
      const U8 magnitude = (U8)(codes[q] & 0x7F7F7F7F);
      largest = magnitude > largest ? magnitude : largest;
    }
    largest = max_of_quad(largest);
    const U32 exponent = (U32)largest >> 3 & 0x0F;
    if (any_below(exponent, 8)) {
      // Copies, since what a call has the address of lies in memory instead of registers.
      U32 words[8];
      U32 integers[8];
#pragma GCC unroll 8
      for (int q = 0; q < 8; ++q) words[q] = codes[q];
      to_integers_slowly(words, largest, integers);
#pragma GCC unroll 8
      for (int q = 0; q < 8; ++q) quads[q] = integers[q];
      return units(exponent < 1 ? U32{} + 1 : exponent, (U32)largest);
    }
    const U8 lowest = (U8)((U32)largest & 0x78787878) - 56;  // first code of the table
#pragma GCC unroll 8
    for (int q = 0; q < 8; ++q) {
      const U8 code = (U8)codes[q];
      const U8 magnitude = (U8)((U32)code & 0x7F7F7F7F);
      const U8 biased = look_up_64(kFp8Integers.biased, subtract_saturating(magnitude, lowest));
      quads[q] = (U32)((I8)code < 0 ? U8{} - biased : biased);
    }
    return units(exponent, (U32)largest);
  }

  // 2^-6 of the power of two that the exponent means; NaN where the largest code is.
  DSV4_INLINE F32 units(U32 exponent, U32 largest) {
    const U32 nan = (U32)((largest & 0x7F) == 0x7F) & 0x7FC00000;
    return as_float((exponent + (127 - 7 - 6)) << 23 | nan);
  }

  // With codes below the smallest normal one, whose exponent counts as 1.
  [[gnu::noinline]] static void to_integers_slowly(const U32 (&codes)[8], U8 largest,
                                                   U32 (&quads)[8]) {
    U32 exponent = (U32)largest >> 3 & 0x0F;
    exponent = exponent < 1 ? U32{} + 1 : exponent;
    for (int i = 0; i < 32; ++i) {
      const U32 code = codes[i / 4] >> (8 * (i % 4));
      for (int64_t r = 0; r < kLanes; ++r) {
        const int e = code[r] >> 3 & 0x0F;
        const int mantissa = static_cast<int>(code[r] & 7) + (e > 0 ? 8 : 0);
        const int shift = static_cast<int>(exponent[r]) - (e > 0 ? e : 1);
        const int integer = shift_to_nearest(mantissa * 8, shift);
        const int biased = 128 + ((code[r] & 0x80) != 0 ? -integer : integer);
        quads[i / 4][r] = (i % 4 == 0 ? 0 : quads[i / 4][r]) | static_cast<uint32_t>(biased)
                                                                   << (8 * (i % 4));
      }
    }
  }
};

}  // namespace
}  // namespace dsv4
