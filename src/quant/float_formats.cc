#include "quant/float_formats.h"

#include <algorithm>
#include <array>

namespace dsv4 {
namespace {

constexpr int64_t kFp4Block = 32;

float decode_e4m3(uint8_t bits) {
  const int exponent = (bits >> 3) & 15;
  const int mantissa = bits & 7;
  if (exponent == 15 && mantissa == 7) return std::numeric_limits<float>::quiet_NaN();
  const float magnitude = exponent == 0
                              ? std::ldexp(static_cast<float>(mantissa), -9)
                              : std::ldexp(1.0f + static_cast<float>(mantissa) / 8, exponent - 7);
  return (bits & 0x80) != 0 ? -magnitude : magnitude;
}

std::array<float, 256> make_e4m3_table() {
  std::array<float, 256> table{};
  for (size_t i = 0; i < table.size(); ++i) table[i] = decode_e4m3(static_cast<uint8_t>(i));
  return table;
}

const std::array<float, 256> kE4m3Values = make_e4m3_table();

float max_magnitude(const float* x, int64_t count) {
  float largest = 0;
  for (int64_t i = 0; i < count; ++i) largest = std::max(largest, std::fabs(x[i]));
  return largest;
}

}  // namespace

float f16_to_float(uint16_t bits) {
  const uint32_t sign = static_cast<uint32_t>(bits & 0x8000) << 16;
  const uint32_t exponent = (bits >> 10) & 31;
  const uint32_t mantissa = bits & 0x3FF;
  if (exponent == 0) {
    const float magnitude = std::ldexp(static_cast<float>(mantissa), -24);
    return sign != 0 ? -magnitude : magnitude;
  }
  const uint32_t wide_exponent = exponent == 31 ? 255 : exponent + 112;
  return std::bit_cast<float>(sign | (wide_exponent << 23) | (mantissa << 13));
}

uint16_t float_to_f16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const auto sign = static_cast<uint16_t>((bits >> 16) & 0x8000);
  const float magnitude = std::fabs(value);
  if (std::isnan(value)) return sign | 0x7E00;
  if (magnitude >= 65520.0f) return sign | 0x7C00;
  if (magnitude < 0x1p-14f) {  // subnormal: multiples of 2^-24
    return sign | static_cast<uint16_t>(std::nearbyint(magnitude * 0x1p24f));
  }
  const uint32_t wide = std::bit_cast<uint32_t>(magnitude) - (112u << 23);
  return sign | static_cast<uint16_t>((wide + 0xFFF + ((wide >> 13) & 1)) >> 13);
}

float e4m3_to_float(uint8_t bits) { return kE4m3Values[bits]; }

uint8_t float_to_e4m3(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const auto sign = static_cast<uint8_t>((bits >> 24) & 0x80);
  const float magnitude = std::fabs(value);
  if (std::isnan(value)) return sign | 0x7F;
  if (magnitude >= kMaxE4m3) return sign | 0x7E;
  if (magnitude < 0x1p-6f) {  // subnormal: multiples of 2^-9; 8 of them are the first normal code
    return sign | static_cast<uint8_t>(std::nearbyint(magnitude * 0x1p9f));
  }
  const uint32_t rounded = (bits & 0x7FFFFFFF) + 0x7FFFF + ((bits >> 20) & 1);
  return sign | static_cast<uint8_t>((rounded >> 20) - (120u << 3));
}

uint8_t float_to_e2m1(float value) {
  // Midpoints between neighbouring values; on a tie the even code wins.
  constexpr float kMidpoints[7] = {0.25f, 0.75f, 1.25f, 1.75f, 2.5f, 3.5f, 5.0f};
  const float magnitude = std::fabs(value);
  uint8_t code = 0;
  while (code < 7 && !(magnitude < kMidpoints[code])) {
    if (magnitude == kMidpoints[code] && code % 2 == 0) break;
    ++code;
  }
  return std::signbit(value) ? code | 8 : code;
}

float next_power_of_two(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint32_t exponent = (bits >> 23) + ((bits & 0x7FFFFF) != 0 ? 1 : 0);
  return std::bit_cast<float>(exponent << 23);
}

float fp8_block_scale(const float* x, int64_t count) {
  constexpr float kSmallest = 1e-4f;
  return next_power_of_two(std::max(max_magnitude(x, count), kSmallest) * (1.0f / kMaxE4m3));
}

float fp4_block_scale(const float* x, int64_t count) {
  constexpr float kSmallest = 6 * 0x1p-126f;
  return next_power_of_two(std::max(max_magnitude(x, count), kSmallest) * (1.0f / kMaxE2m1));
}

void fp8_round_trip(float* x, int64_t count, int64_t block) {
  for (int64_t begin = 0; begin < count; begin += block) {
    const int64_t n = std::min(block, count - begin);
    const float scale = fp8_block_scale(x + begin, n);
    for (int64_t i = begin; i < begin + n; ++i) {
      x[i] = e4m3_to_float(float_to_e4m3(x[i] / scale)) * scale;
    }
  }
}

void fp4_round_trip(float* x, int64_t count) {
  for (int64_t begin = 0; begin < count; begin += kFp4Block) {
    const int64_t n = std::min(kFp4Block, count - begin);
    const float scale = fp4_block_scale(x + begin, n);
    for (int64_t i = begin; i < begin + n; ++i) {
      x[i] = kE2m1Values[float_to_e2m1(x[i] / scale)] * scale;
    }
  }
}

}  // namespace dsv4
