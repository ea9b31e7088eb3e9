// Block types of 32 values with one scale, or a scale and a minimum: value j and value j + 16 share
// a byte of nibbles, except in Q8_0.
#include "quant/block_codec.h"

namespace dsv4 {
namespace {

// The fifth bits of Q5_0 and Q5_1, value by value.
uint32_t load_high_bits(const uint8_t* bytes) {
  uint32_t bits;
  std::memcpy(&bits, bytes, sizeof(bits));
  return bits;
}

}  // namespace

void decode_q4_0(const uint8_t* block, float* out) {
  const float d = load_f16(block);
  for (int j = 0; j < 16; ++j) {
    const int codes = block[2 + j];
    out[j] = d * static_cast<float>((codes & 15) - 8);
    out[j + 16] = d * static_cast<float>((codes >> 4) - 8);
  }
}

void decode_q4_1(const uint8_t* block, float* out) {
  const float d = load_f16(block);
  const float m = load_f16(block + 2);
  for (int j = 0; j < 16; ++j) {
    const int codes = block[4 + j];
    out[j] = d * static_cast<float>(codes & 15) + m;
    out[j + 16] = d * static_cast<float>(codes >> 4) + m;
  }
}

void decode_q5_0(const uint8_t* block, float* out) {
  const float d = load_f16(block);
  const uint32_t high = load_high_bits(block + 2);
  for (int j = 0; j < 16; ++j) {
    const int codes = block[6 + j];
    const int low_value = (codes & 15) | static_cast<int>(high >> j & 1) << 4;
    const int high_value = (codes >> 4) | static_cast<int>(high >> (j + 16) & 1) << 4;
    out[j] = d * static_cast<float>(low_value - 16);
    out[j + 16] = d * static_cast<float>(high_value - 16);
  }
}

void decode_q5_1(const uint8_t* block, float* out) {
  const float d = load_f16(block);
  const float m = load_f16(block + 2);
  const uint32_t high = load_high_bits(block + 4);
  for (int j = 0; j < 16; ++j) {
    const int codes = block[8 + j];
    const int low_value = (codes & 15) | static_cast<int>(high >> j & 1) << 4;
    const int high_value = (codes >> 4) | static_cast<int>(high >> (j + 16) & 1) << 4;
    out[j] = d * static_cast<float>(low_value) + m;
    out[j + 16] = d * static_cast<float>(high_value) + m;
  }
}

void decode_q8_0(const uint8_t* block, float* out) {
  const float d = load_f16(block);
  for (int j = 0; j < 32; ++j) out[j] = d * static_cast<float>(static_cast<int8_t>(block[2 + j]));
}

void decode_mxfp4(const uint8_t* block, float* out) {
  const float scale = e8m0_to_float(block[0]);
  for (int j = 0; j < 16; ++j) {
    out[j] = kE2m1Values[block[1 + j] & 15] * scale;
    out[j + 16] = kE2m1Values[block[1 + j] >> 4] * scale;
  }
}

}  // namespace dsv4
