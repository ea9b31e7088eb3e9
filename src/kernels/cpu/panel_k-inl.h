// Unpackers of K-quants (quant/k_blocks.cc defines them): 256 values to a block, in groups of 16 or
// 32. Columns come in whole blocks.
#pragma once

#include "kernels/cpu/panel-inl.h"

namespace dsv4 {
namespace {

// The byte s of consecutive words.
DSV4_INLINE U32 byte_of(const U32* words, int s) { return words[s / 4] >> (8 * (s % 4)) & 0xFF; }

// Scales and minima of the sub-blocks of Q4_K and Q5_K, six bits each, in the first 16 bytes of the
// block.
struct KScales {
  U32 scales[2];  // of four sub-blocks to a word
  U32 minima[2];
  F32 d;
  F32 minus_dmin;

  DSV4_INLINE_MEMBER KScales(const RowSet& rows, int64_t block) {
    U32 header[4];
    load_words(rows.at, block, header);
    d = low_half(header[0]);
    minus_dmin = -high_half(header[0]);
    // Sub-blocks 4 to 7 have four bits in the last word, two in the upper bits of the first four's.
    scales[0] = header[1] & 0x3F3F3F3F;
    minima[0] = header[2] & 0x3F3F3F3F;
    scales[1] = (header[3] & 0x0F0F0F0F) | (header[1] >> 2 & 0x30303030);
    minima[1] = (header[3] >> 4 & 0x0F0F0F0F) | (header[2] >> 2 & 0x30303030);
  }
  DSV4_INLINE_MEMBER F32 scale(int j) const { return d * to_float((I32)byte_of(scales, j)); }
  DSV4_INLINE_MEMBER F32 minimum(int j) const {
    return minus_dmin * to_float((I32)byte_of(minima, j));
  }
};

struct Q4_KPanel {
  static constexpr int64_t kGroup = 32;
  static constexpr int32_t kOffset = 0;
  static constexpr int kLargest = 15;
  static constexpr bool kHasMinimum = true;
  static constexpr bool kPowersOfTwo = false;

  template <typename Sink>
  DSV4_INLINE void unpack(const QuantMatrix&, const RowSet& rows, int64_t col, int64_t,
                          Sink& sink) {
    const int64_t block = col / 256 * 144;
    const KScales scales(rows, block);
    for (int pair = 0; pair < 4; ++pair) {
      U32 words[8];
      load_half_lines(rows.at, block + 16 + 32 * pair, words);
      U32 quads[8];
#pragma GCC unroll 2
      for (int half = 0; half < 2; ++half) {
        const int j = 2 * pair + half;
#pragma GCC unroll 8
        for (int q = 0; q < 8; ++q) quads[q] = words[q] >> (4 * half) & 0x0F0F0F0F;
        sink.put(j, quads, scales.scale(j), scales.minimum(j));
      }
    }
  }
};

struct Q5_KPanel {
  static constexpr int64_t kGroup = 32;
  static constexpr int32_t kOffset = 0;
  static constexpr int kLargest = 31;
  static constexpr bool kHasMinimum = true;
  static constexpr bool kPowersOfTwo = false;

  template <typename Sink>
  DSV4_INLINE void unpack(const QuantMatrix&, const RowSet& rows, int64_t col, int64_t,
                          Sink& sink) {
    const int64_t block = col / 256 * 176;
    const KScales scales(rows, block);
    U32 high[8];
    load_half_lines(rows.at, block + 16, high);
    for (int pair = 0; pair < 4; ++pair) {
      U32 words[8];
      load_half_lines(rows.at, block + 48 + 32 * pair, words);
      U32 quads[8];
#pragma GCC unroll 2
      for (int half = 0; half < 2; ++half) {
        const int j = 2 * pair + half;
#pragma GCC unroll 8
        for (int q = 0; q < 8; ++q) {
          quads[q] = (words[q] >> (4 * half) & 0x0F0F0F0F) | (high[q] >> j & 0x01010101) << 4;
        }
        sink.put(j, quads, scales.scale(j), scales.minimum(j));
      }
    }
  }
};

struct Q2_KPanel {
  static constexpr int64_t kGroup = 16;
  static constexpr int32_t kOffset = 0;
  static constexpr int kLargest = 3;
  static constexpr bool kHasMinimum = true;
  static constexpr bool kPowersOfTwo = false;

  template <typename Sink>
  DSV4_INLINE void unpack(const QuantMatrix&, const RowSet& rows, int64_t col, int64_t,
                          Sink& sink) {
    const int64_t block = col / 256 * 84;
    U32 scales[4];
    load_words(rows.at, block, scales);
    const U32 halves = rows.word(block + 80);
    const F32 d = low_half(halves);
    const F32 dmin = high_half(halves);
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half) {
      U32 codes[8];
      load_half_lines(rows.at, block + 16 + 32 * half, codes);
#pragma GCC unroll 8
      for (int i = 0; i < 8; ++i) {
        const int s = 8 * half + i;
        U32 quads[4];
#pragma GCC unroll 4
        for (int q = 0; q < 4; ++q) {
          quads[q] = codes[s % 2 * 4 + q] >> (s % 8 / 2 * 2) & 0x03030303;
        }
        const U32 byte = byte_of(scales, s);
        sink.put(s, quads, d * to_float((I32)(byte & 15)), -(dmin * to_float((I32)(byte >> 4))));
      }
    }
  }
};

struct Q3_KPanel {
  static constexpr int64_t kGroup = 16;
  static constexpr int32_t kOffset = 4;
  static constexpr int kLargest = 7;
  static constexpr bool kHasMinimum = false;
  static constexpr bool kPowersOfTwo = false;

  template <typename Sink>
  DSV4_INLINE void unpack(const QuantMatrix&, const RowSet& rows, int64_t col, int64_t,
                          Sink& sink) {
    const int64_t block = col / 256 * 110;
    U32 high[8];
    load_half_lines(rows.at, block, high);
    U32 scales[4];  // 12 bytes, and the four before them, which stay within the block
    load_words(rows.at, block + 92, scales);
    const F32 d = high_half(rows.word(block + 106));
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half) {
      U32 codes[8];
      load_half_lines(rows.at, block + 32 + 32 * half, codes);
#pragma GCC unroll 8
      for (int i = 0; i < 8; ++i) {
        const int s = 8 * half + i;
        U32 quads[4];
#pragma GCC unroll 4
        for (int q = 0; q < 4; ++q) {
          const int place = s % 2 * 4 + q;
          quads[q] = (codes[place] >> (s % 8 / 2 * 2) & 0x03030303) |
                     (high[place] >> (s / 2) & 0x01010101) << 2;
        }
        const U32 low = byte_of(scales + 1, s % 8) >> (s / 8 * 4) & 15;
        const U32 two = byte_of(scales + 1, 8 + s % 4) >> (2 * (s / 4)) & 3;
        sink.put(s, quads, d * to_float((I32)(low | two << 4) - 32));
      }
    }
  }
};

struct Q6_KPanel {
  static constexpr int64_t kGroup = 16;
  static constexpr int32_t kOffset = 32;
  static constexpr int kLargest = 63;
  static constexpr bool kHasMinimum = false;
  static constexpr bool kPowersOfTwo = false;

  template <typename Sink>
  DSV4_INLINE void unpack(const QuantMatrix&, const RowSet& rows, int64_t col, int64_t,
                          Sink& sink) {
    const int64_t block = col / 256 * 210;
    U32 scales[4];
    load_words(rows.at, block + 192, scales);
    const F32 d = high_half(rows.word(block + 206));
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half) {
      U32 low[2][8];
      U32 high[8];
      load_half_lines(rows.at, block + 64 * half, low[0]);
      load_half_lines(rows.at, block + 64 * half + 32, low[1]);
      load_half_lines(rows.at, block + 128 + 32 * half, high);
#pragma GCC unroll 8
      for (int i = 0; i < 8; ++i) {
        const int s = 8 * half + i;
        const int quarter = s % 8 / 2;
        U32 quads[4];
#pragma GCC unroll 4
        for (int q = 0; q < 4; ++q) {
          const int place = s % 2 * 4 + q;
          quads[q] = (low[quarter % 2][place] >> (quarter / 2 * 4) & 0x0F0F0F0F) |
                     (high[place] >> (2 * quarter) & 0x03030303) << 4;
        }
        const I32 scale = (I32)(byte_of(scales, s) << 24) >> 24;
        sink.put(s, quads, d * to_float(scale));
      }
    }
  }
};

}  // namespace
}  // namespace dsv4
