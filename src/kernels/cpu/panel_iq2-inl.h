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

// 43 plus or minus the magnitude, by digit and sign.
constexpr uint8_t kIq2xxsValues[16] = {43 + 8, 43 + 25, 43 + 43, 0, 43 - 8, 43 - 25, 43 - 43, 0};

struct Iq2xxsPanel {
  static constexpr int64_t kGroup = 32;
  static constexpr int32_t kOffset = 43;
  static constexpr int kLargest = 86;
  static constexpr bool kHasMinimum = false;

  template <typename Sink>
  DSV4_INLINE void unpack(const QuantMatrix&, const RowSet& rows, int64_t col, int64_t,
                          Sink& sink) {
    const int64_t block = col / 256 * 66;
    const F32 d = low_half(rows.word(block));
    for (int pair = 0; pair < 4; ++pair) {
      U32 words[4];
      load_words(rows.at, block + 2 + 16 * pair, words);
      unpack_group(2 * pair, words[0], words[1], d, sink);
      unpack_group(2 * pair + 1, words[2], words[3], d, sink);
    }
  }

  template <typename Sink>
  DSV4_INLINE void unpack_group(int64_t g, U32 indices, U32 signs_and_scale, F32 d, Sink& sink) {
    const U32 low = (U32)look_up_256(kIq2xxsDigits.low, (U8)indices);
    const U32 high = (U32)look_up_256(kIq2xxsDigits.high, (U8)indices);
    const U32 signs = complete_signs(signs_and_scale);
    U32 quads[8];
    put_signed<0>(low, high, signs, quads);
    put_signed<1>(low, high, signs, quads);
    put_signed<2>(low, high, signs, quads);
    put_signed<3>(low, high, signs, quads);
    const F32 scale = to_float((I32)(signs_and_scale >> 28)) + 0.5f;
    sink.put(g, quads, d * scale * 0.25f);
  }

  // Four times seven sign bits to four bytes; the eighth makes the number of each even.
  DSV4_INLINE U32 complete_signs(U32 v) {
    const U32 seven = (v & 0x7F) | (v << 1 & 0x7F00) | (v << 2 & 0x7F0000) | (v << 3 & 0x7F000000);
    U32 parity = seven ^ seven >> 4;
    parity ^= parity >> 2;
    parity ^= parity >> 1;
    return seven | (parity & 0x01010101) << 7;
  }

  // The quads of index k.
  template <int k>
  DSV4_INLINE void put_signed(U32 low, U32 high, U32 signs, U32 (&quads)[8]) {
    // Signs stand two bits higher, so that their first one can be read as bit 2.
    const U32 wanted = k == 0 ? signs << 2 : signs;
    constexpr int kBit = k == 0 ? 2 : 8 * k;
    quads[2 * k] =
        look_up_bytes(kIq2xxsValues, spread_pairs<8 * k>(low) | spread_bits_as_4<kBit>(wanted));
    quads[2 * k + 1] = look_up_bytes(
        kIq2xxsValues, spread_pairs<8 * k>(high) | spread_bits_as_4<kBit + 4>(wanted));
  }
};

}  // namespace
}  // namespace dsv4
