// Unpackers of blocks of 32 values with one scale (quant/small_blocks.cc defines them): value j and
// value j + 16 share a byte of nibbles.
#pragma once

#include "kernels/cpu/panel-inl.h"

namespace dsv4 {
namespace {

// The lower nibbles of 16 bytes, then the upper ones.
DSV4_INLINE void load_nibbles(const RowSet& rows, int64_t offset, U32 (&quads)[8]) {
  U32 words[4];
  load_words(rows.at, offset, words);
#pragma GCC unroll 4
  for (int q = 0; q < 4; ++q) {
    quads[q] = words[q] & 0x0F0F0F0F;
    quads[q + 4] = words[q] >> 4 & 0x0F0F0F0F;
  }
}

// Adds the fifth bits of 32 values, which lie in order in a word.
DSV4_INLINE void add_fifth_bits(U32 bits, U32 (&quads)[8]) {
#pragma GCC unroll 8
  for (int q = 0; q < 8; ++q) {
    // Four copies of the four bits, seven apart, have bit i at place 8 i.
    quads[q] |= ((bits >> (4 * q) & 15) * 0x00204081 & 0x01010101) << 4;
  }
}

struct Q4_0Panel {
  static constexpr int64_t kGroup = 32;
  static constexpr int32_t kOffset = 8;
  static constexpr int kLargest = 15;
  static constexpr bool kHasMinimum = false;
  static constexpr bool kPowersOfTwo = false;

  template <typename Sink>
  DSV4_INLINE void unpack(const QuantMatrix&, const RowSet& rows, int64_t col, int64_t n_cols,
                          Sink& sink) {
    for (int64_t g = 0; g < n_cols / kGroup; ++g) {
      const int64_t block = (col / kGroup + g) * 18;
      U32 quads[8];
      load_nibbles(rows, block + 2, quads);
      sink.put(g, quads, low_half(rows.word(block)));
    }
  }
};

struct Q4_1Panel {
  static constexpr int64_t kGroup = 32;
  static constexpr int32_t kOffset = 0;
  static constexpr int kLargest = 15;
  static constexpr bool kHasMinimum = true;
  static constexpr bool kPowersOfTwo = false;

  template <typename Sink>
  DSV4_INLINE void unpack(const QuantMatrix&, const RowSet& rows, int64_t col, int64_t n_cols,
                          Sink& sink) {
    for (int64_t g = 0; g < n_cols / kGroup; ++g) {
      const int64_t block = (col / kGroup + g) * 20;
      U32 quads[8];
      load_nibbles(rows, block + 4, quads);
      const U32 halves = rows.word(block);
      sink.put(g, quads, low_half(halves), high_half(halves));
    }
  }
};

struct Q5_0Panel {
  static constexpr int64_t kGroup = 32;
  static constexpr int32_t kOffset = 16;
  static constexpr int kLargest = 31;
  static constexpr bool kHasMinimum = false;
  static constexpr bool kPowersOfTwo = false;

  template <typename Sink>
  DSV4_INLINE void unpack(const QuantMatrix&, const RowSet& rows, int64_t col, int64_t n_cols,
                          Sink& sink) {
    for (int64_t g = 0; g < n_cols / kGroup; ++g) {
      const int64_t block = (col / kGroup + g) * 22;
      U32 quads[8];
      load_nibbles(rows, block + 6, quads);
      add_fifth_bits(rows.word(block + 2), quads);
      sink.put(g, quads, low_half(rows.word(block)));
    }
  }
};

struct Q5_1Panel {
  static constexpr int64_t kGroup = 32;
  static constexpr int32_t kOffset = 0;
  static constexpr int kLargest = 31;
  static constexpr bool kHasMinimum = true;
  static constexpr bool kPowersOfTwo = false;

  template <typename Sink>
  DSV4_INLINE void unpack(const QuantMatrix&, const RowSet& rows, int64_t col, int64_t n_cols,
                          Sink& sink) {
    for (int64_t g = 0; g < n_cols / kGroup; ++g) {
      const int64_t block = (col / kGroup + g) * 24;
      U32 quads[8];
      load_nibbles(rows, block + 8, quads);
      add_fifth_bits(rows.word(block + 4), quads);
      const U32 halves = rows.word(block);
      sink.put(g, quads, low_half(halves), high_half(halves));
    }
  }
};

struct Q8_0Panel {
  static constexpr int64_t kGroup = 32;
  static constexpr int32_t kOffset = 128;
  static constexpr int kLargest = 255;
  static constexpr bool kHasMinimum = false;
  static constexpr bool kPowersOfTwo = false;

  template <typename Sink>
  DSV4_INLINE void unpack(const QuantMatrix&, const RowSet& rows, int64_t col, int64_t n_cols,
                          Sink& sink) {
    for (int64_t g = 0; g < n_cols / kGroup; ++g) {
      const int64_t block = (col / kGroup + g) * 34;
      U32 quads[8];
      load_half_lines(rows.at, block + 2, quads);
#pragma GCC unroll 8
      for (int q = 0; q < 8; ++q) quads[q] ^= 0x80808080;
      sink.put(g, quads, low_half(rows.word(block)));
    }
  }
};

struct Mxfp4Panel {
  static constexpr int64_t kGroup = 32;
  static constexpr int32_t kOffset = 12;
  static constexpr int kLargest = 24;
  static constexpr bool kHasMinimum = false;
  static constexpr bool kPowersOfTwo = true;

  template <typename Sink>
  DSV4_INLINE void unpack(const QuantMatrix&, const RowSet& rows, int64_t col, int64_t n_cols,
                          Sink& sink) {
    const int64_t n_groups = n_cols / kGroup;
    int64_t g = 0;
    for (; g + 4 <= n_groups; g += 4) {
      const int64_t block = (col / kGroup + g) * 17;
      U32 halves[2][8];
      load_half_lines(rows.at, block, halves[0]);
      load_half_lines(rows.at, block + 32, halves[1]);
      U32 words[17];
#pragma GCC unroll 16
      for (int i = 0; i < 16; ++i) words[i] = halves[i / 8][i % 8];
      words[16] = rows.word(block + 64);
      put_shifted<0>(g, words, sink);
      put_shifted<1>(g, words, sink);
      put_shifted<2>(g, words, sink);
      put_shifted<3>(g, words, sink);
    }
    for (; g < n_groups; ++g) {
      const int64_t block = (col / kGroup + g) * 17;
      U32 words[4];
      load_words(rows.at, block + 1, words);
      put_fp4(g, words, rows.word(block) & 0xFF, sink);
    }
  }

  // Block i of four in 17 words: its exponent is byte i of word 4 i.
  template <int i, typename Sink>
  DSV4_INLINE void put_shifted(int64_t g, const U32* words, Sink& sink) {
    const U32* first = words + 4 * i;
    U32 shifted[4];
#pragma GCC unroll 4
    for (int q = 0; q < 4; ++q) {
      shifted[q] = i == 3 ? first[q + 1] : first[q] >> (8 * i + 8) | first[q + 1] << (24 - 8 * i);
    }
    put_fp4(g + i, shifted, first[0] >> (8 * i) & 0xFF, sink);
  }
};

}  // namespace
}  // namespace dsv4
