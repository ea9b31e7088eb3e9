// K-quants: 256 values in sub-blocks of 16 or 32 whose scales are quantised in their turn.
#include "quant/block_codec.h"

namespace dsv4 {

void decode_q2_k(const uint8_t* block, float* out) {
  const uint8_t* scales = block;
  const uint8_t* codes = block + 16;
  const float d = load_f16(block + 80);
  const float dmin = load_f16(block + 82);
  for (int s = 0; s < 16; ++s) {
    const float scale = d * static_cast<float>(scales[s] & 15);
    const float minimum = dmin * static_cast<float>(scales[s] >> 4);
    for (int l = 0; l < 16; ++l) {
      const int byte = codes[s / 8 * 32 + s % 2 * 16 + l];
      const int q = byte >> (s % 8 / 2 * 2) & 3;
      out[s * 16 + l] = scale * static_cast<float>(q) - minimum;
    }
  }
}

void decode_q3_k(const uint8_t* block, float* out) {
  const uint8_t* high_bits = block;
  const uint8_t* codes = block + 32;
  const uint8_t* scales = block + 96;
  const float d = load_f16(block + 108);
  for (int s = 0; s < 16; ++s) {
    const float scale = d * static_cast<float>(unpack_q3_k_scale(scales, s) - 32);
    for (int l = 0; l < 16; ++l) {
      const int place = s % 2 * 16 + l;
      const int low = codes[s / 8 * 32 + place] >> (s % 8 / 2 * 2) & 3;
      const int high = high_bits[place] >> (s / 2) & 1;
      out[s * 16 + l] = scale * static_cast<float>(low - (high != 0 ? 0 : 4));
    }
  }
}

void decode_q4_k(const uint8_t* block, float* out) {
  const float d = load_f16(block);
  const float dmin = load_f16(block + 2);
  const uint8_t* codes = block + 16;
  for (int j = 0; j < 8; ++j) {
    const ScaleAndMinimum sub = unpack_k_scale(block + 4, j);
    const float scale = d * static_cast<float>(sub.scale);
    const float minimum = dmin * static_cast<float>(sub.minimum);
    for (int l = 0; l < 32; ++l) {
      const int q = codes[j / 2 * 32 + l] >> (j % 2 * 4) & 15;
      out[j * 32 + l] = scale * static_cast<float>(q) - minimum;
    }
  }
}

void decode_q5_k(const uint8_t* block, float* out) {
  const float d = load_f16(block);
  const float dmin = load_f16(block + 2);
  const uint8_t* high_bits = block + 16;
  const uint8_t* codes = block + 48;
  for (int j = 0; j < 8; ++j) {
    const ScaleAndMinimum sub = unpack_k_scale(block + 4, j);
    const float scale = d * static_cast<float>(sub.scale);
    const float minimum = dmin * static_cast<float>(sub.minimum);
    for (int l = 0; l < 32; ++l) {
      const int low = codes[j / 2 * 32 + l] >> (j % 2 * 4) & 15;
      const int q = low | (high_bits[l] >> j & 1) << 4;
      out[j * 32 + l] = scale * static_cast<float>(q) - minimum;
    }
  }
}

void decode_q6_k(const uint8_t* block, float* out) {
  const float d = load_f16(block + 208);
  for (int s = 0; s < 16; ++s) {
    const uint8_t* low_bits = block + s / 8 * 64;
    const uint8_t* high_bits = block + 128 + s / 8 * 32;
    const int quarter = s % 8 / 2;  // 32 values that share bits of a byte
    const float scale = d * static_cast<float>(static_cast<int8_t>(block[192 + s]));
    for (int l = s % 2 * 16; l < s % 2 * 16 + 16; ++l) {
      const int low = low_bits[quarter % 2 * 32 + l] >> (quarter / 2 * 4) & 15;
      const int high = high_bits[l] >> (quarter * 2) & 3;
      out[s / 2 * 32 + l] = scale * static_cast<float>((low | high << 4) - 32);
    }
  }
}

}  // namespace dsv4
