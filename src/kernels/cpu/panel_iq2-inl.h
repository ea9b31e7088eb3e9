// Unpacker of IQ2_XXS (quant/iq2_xxs.cc defines it). Columns come in whole blocks of 256.
#pragma once

#include "kernels/cpu/panel-inl.h"
#include "quant/iq2_xxs_grid.h"

namespace dsv4 {
namespace {

// Digits of the codewords, four to a byte.
struct Iq2xxsDigits {
  uint8_t low[256] = {};   // of the first four values
  uint8_t high[256] = {};  // of the others

  constexpr Iq2xxsDigits() {
    for (int i = 0; i < 256; ++i) {
      low[i] = static_cast<uint8_t>(kIq2xxsGrid[i] & 0xFF);
      high[i] = static_cast<uint8_t>(kIq2xxsGrid[i] >> 8);
    }
  }
};
constexpr Iq2xxsDigits kIq2xxsDigits;

// 43 plus or minus the magnitude, by digit and sign; repeated.
struct Iq2xxsValues {
  uint8_t biased[64] = {};

  constexpr Iq2xxsValues() {
    constexpr int kMagnitudes[4] = {8, 25, 43, 0};
    for (int i = 0; i < 64; ++i) {
      const int magnitude = kMagnitudes[i % 4];
      biased[i] = static_cast<uint8_t>(i % 8 < 4 ? 43 + magnitude : 43 - magnitude);
    }
  }
};
constexpr Iq2xxsValues kIq2xxsValues;

// Seven signs and the eighth, which makes their number even.
struct Iq2xxsSigns {
  uint8_t all[128] = {};

  constexpr Iq2xxsSigns() {
    for (int i = 0; i < 128; ++i) {
      int parity = 0;
      for (int bit = 0; bit < 7; ++bit) parity ^= i >> bit & 1;
      all[i] = static_cast<uint8_t>(i | parity << 7);
    }
  }
};
constexpr Iq2xxsSigns kIq2xxsSigns;

struct Iq2xxsPanel {
  static constexpr int64_t kGroup = 32;
  static constexpr int32_t kOffset = 43;
  static constexpr int kLargest = 86;
  static constexpr bool kHasMinimum = false;
  static constexpr bool kPowersOfTwo = false;

  template <typename Sink>
  DSV4_INLINE void unpack(const QuantMatrix&, const RowSet& rows, int64_t col, int64_t,
                          Sink& sink) {
    const int64_t block = col / 256 * 66;
    const F32 d = low_half(rows.word(block));
    for (int half = 0; half < 2; ++half) {
      U32 words[8];
      load_half_lines(rows.at, block + 2 + 32 * half, words);
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) {
        unpack_group(4 * half + i, words[2 * i], words[2 * i + 1], d, sink);
      }
    }
  }

  template <typename Sink>
  DSV4_INLINE void unpack_group(int64_t g, U32 indices, U32 signs_and_scale, F32 d, Sink& sink) {
    const U32 low = (U32)look_up_256(kIq2xxsDigits.low, (U8)indices);
    const U32 high = (U32)look_up_256(kIq2xxsDigits.high, (U8)indices);
    const U32 signs = look_up_sevens(kIq2xxsSigns.all, signs_and_scale);
    U32 quads[8];
    put_signed<0>(low, high, signs, quads);
    put_signed<1>(low, high, signs, quads);
    put_signed<2>(low, high, signs, quads);
    put_signed<3>(low, high, signs, quads);
    const F32 scale = to_float((I32)(signs_and_scale >> 28)) + 0.5f;
    sink.put(g, quads, d * scale * 0.25f);
  }

  // The quads of index k.
  template <int k>
  DSV4_INLINE void put_signed(U32 low, U32 high, U32 signs, U32 (&quads)[8]) {
    quads[2 * k] = look_up_signed<8 * k, 8 * k>(kIq2xxsValues.biased, low, signs);
    quads[2 * k + 1] = look_up_signed<8 * k, 8 * k + 4>(kIq2xxsValues.biased, high, signs);
  }
};

}  // namespace
}  // namespace dsv4
