// Blocks of weights with their scales in one piece, as GGUF files hold them: one decoder for each
// type (docs/formats.md has the layouts). Scales that are infinite or NaN give what IEEE arithmetic
// gives.
#pragma once

#include "quant/float_formats.h"
#include "tensor/dtype.h"

#include <cstdint>
#include <cstring>

namespace dsv4 {

// Decodes one block (dtype_bytes) to dtype_block values.
using DecodeBlock = void (*)(const uint8_t* block, float* out);

// The decoder of a block type; nullptr for a scalar type.
DecodeBlock block_decoder(DType dtype);

void decode_q4_0(const uint8_t* block, float* out);
void decode_q4_1(const uint8_t* block, float* out);
void decode_q5_0(const uint8_t* block, float* out);
void decode_q5_1(const uint8_t* block, float* out);
void decode_q8_0(const uint8_t* block, float* out);
void decode_mxfp4(const uint8_t* block, float* out);
void decode_q2_k(const uint8_t* block, float* out);
void decode_q3_k(const uint8_t* block, float* out);
void decode_q4_k(const uint8_t* block, float* out);
void decode_q5_k(const uint8_t* block, float* out);
void decode_q6_k(const uint8_t* block, float* out);
void decode_iq2_xxs(const uint8_t* block, float* out);

// The IEEE half at `bytes`.
inline float load_f16(const uint8_t* bytes) {
  uint16_t half;
  std::memcpy(&half, bytes, sizeof(half));
  return f16_to_float(half);
}

// The 6-bit scale and minimum of sub-block j (0..7) in the 12 bytes of Q4_K and Q5_K.
struct ScaleAndMinimum {
  uint8_t scale;
  uint8_t minimum;
};
inline ScaleAndMinimum unpack_k_scale(const uint8_t* bytes, int j) {
  if (j < 4) return {static_cast<uint8_t>(bytes[j] & 63), static_cast<uint8_t>(bytes[j + 4] & 63)};
  return {static_cast<uint8_t>((bytes[j + 4] & 15) | (bytes[j - 4] >> 6 << 4)),
          static_cast<uint8_t>((bytes[j + 4] >> 4) | (bytes[j] >> 6 << 4))};
}

// The 6-bit scale of sub-block s (0..15) in the 12 bytes of Q3_K; 32 stands for zero.
inline int unpack_q3_k_scale(const uint8_t* bytes, int s) {
  const int low = s < 8 ? bytes[s] & 15 : bytes[s - 8] >> 4;
  return low | (bytes[8 + s % 4] >> (2 * (s / 4)) & 3) << 4;
}

}  // namespace dsv4
