// Scalar float formats of the checkpoints: BF16, F16, E4M3 (FP8), E8M0 (scales) and E2M1 (FP4).
// Decoding is exact; encoding rounds to nearest, ties to even, and saturates (docs/formats.md).
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

namespace dsv4 {

inline constexpr float kMaxE4m3 = 448.0f;
inline constexpr float kMaxE2m1 = 6.0f;

inline float bf16_to_float(uint16_t bits) {
  return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
}

inline uint16_t float_to_bf16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if (std::isnan(value)) return static_cast<uint16_t>((bits >> 16) | 0x40);
  return static_cast<uint16_t>((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
}

// The nearest BF16 value, as a float.
inline float round_to_bf16(float value) { return bf16_to_float(float_to_bf16(value)); }

float f16_to_float(uint16_t bits);
// Values beyond +-65504 become infinite, as they round; NaN stays NaN.
uint16_t float_to_f16(float value);

// Sign, 4 exponent bits (bias 7), 3 mantissa bits; 0x7F and 0xFF are NaN, no infinity.
float e4m3_to_float(uint8_t bits);
// Values beyond +-448 saturate; NaN stays NaN.
uint8_t float_to_e4m3(float value);

// 2^(bits - 127); 255 is NaN.
inline float e8m0_to_float(uint8_t bits) {
  if (bits == 255) return std::numeric_limits<float>::quiet_NaN();
  return std::bit_cast<float>(bits == 0 ? 0x00400000u : static_cast<uint32_t>(bits) << 23);
}

// Values of the E2M1 codes 0..15; code 8 is -0.
inline constexpr float kE2m1Values[16] = {0.0f,  0.5f,  1.0f,  1.5f,  2.0f,  3.0f,  4.0f,  6.0f,
                                          -0.0f, -0.5f, -1.0f, -1.5f, -2.0f, -3.0f, -4.0f, -6.0f};
// Values beyond +-6 saturate. NaN is not representable and becomes 6.
uint8_t float_to_e2m1(float value);

// The smallest power of two that is at least `value`, which must be positive and normal.
float next_power_of_two(float value);

// E8M0 bits of a power of two from next_power_of_two(); infinity becomes NaN.
inline uint8_t power_of_two_to_e8m0(float value) {
  return static_cast<uint8_t>(std::bit_cast<uint32_t>(value) >> 23);
}

// The scale that `count` values share in FP8: 2^ceil(log2(max(|x|, 1e-4) / 448)), and in FP4:
// 2^ceil(log2(max(|x|, 6 * 2^-126) / 6)).
float fp8_block_scale(const float* x, int64_t count);
float fp4_block_scale(const float* x, int64_t count);

// Simulated FP8 storage of `count` values in blocks of `block` that share a power-of-two scale
// (architecture.md 4.5): x becomes e4m3(x / s) * s with s = fp8_block_scale.
void fp8_round_trip(float* x, int64_t count, int64_t block);

// Simulated FP4 storage in blocks of 32 (architecture.md 4.6).
void fp4_round_trip(float* x, int64_t count);

}  // namespace dsv4
