// Encoders of the block types of 32 values with one scale, or a scale and a minimum.
#pragma once

#include "quant/encode/scale_fit.h"

namespace dsv4 {
namespace {

constexpr int kSize = 32;

// Codes of a block, with the scale and offset as stored.
struct SmallBlock {
  uint16_t scale = 0;
  uint16_t offset = 0;
  uint8_t codes[kSize];
};

// Codes in [low, high], stored from zero on.
template <int kLow, int kHigh>
DSV4_LANES_INLINE SmallBlock encode_scaled(const float* values, const float* importance) {
  SmallBlock block;
  block.scale = stored_scale(fit_scale<kSize, kLow, kHigh>({values, importance}));
  auto codes = nearest_codes<kSize>(values, {f16_to_float(block.scale), 0}, kLow, kHigh);
  for (FloatLanes& lanes : codes.v) lanes -= static_cast<float>(kLow);
  store_codes(codes, block.codes);
  return block;
}

template <int kHigh>
DSV4_LANES_INLINE SmallBlock encode_with_minimum(const float* values, const float* importance) {
  constexpr float kAnyOffset = 65504.0f;
  const ScaleFit fit = fit_scale_and_offset<kSize, kHigh>({values, importance}, kAnyOffset);
  SmallBlock block;
  block.scale = stored_scale(fit.scale);
  block.offset = stored_scale(fit.offset);
  const ScaleFit stored{f16_to_float(block.scale), f16_to_float(block.offset)};
  store_codes(nearest_codes<kSize>(values, stored, 0, kHigh), block.codes);
  return block;
}

// Value j in the low nibble of byte j, value j + 16 in the high one.
DSV4_LANES_INLINE void store_nibbles(const uint8_t* codes, uint8_t* out) {
  for (int j = 0; j < 16; ++j) {
    out[j] = static_cast<uint8_t>((codes[j] & 15) | (codes[j + 16] & 15) << 4);
  }
}

DSV4_LANES_INLINE void store_fifth_bits(const uint8_t* codes, uint8_t* out) {
  uint32_t bits = 0;
  for (int j = 0; j < kSize; ++j) bits |= static_cast<uint32_t>(codes[j] >> 4 & 1) << j;
  std::memcpy(out, &bits, sizeof(bits));
}

// Nearest E2M1 values of x / scale, ties to the even code, as codes 0..7 and the values themselves.
struct E2m1Lanes {
  FloatLanes codes;
  FloatLanes values;
};
DSV4_LANES_INLINE E2m1Lanes nearest_e2m1(FloatLanes magnitude) {
  const FloatLanes zero = {};
  const auto step = [&](IntLanes reached, float size) __attribute__((always_inline)) {
    return reached != 0 ? splat(size) : zero;
  };
  const IntLanes half = (magnitude > 0.25f) + (magnitude >= 0.75f) + (magnitude > 1.25f) +
                        (magnitude >= 1.75f);  // counts down
  const IntLanes one = (magnitude > 2.5f) + (magnitude >= 3.5f);
  const IntLanes two = magnitude > 5.0f;
  const FloatLanes halves = -__builtin_convertvector(half, FloatLanes);
  const FloatLanes ones = -__builtin_convertvector(one, FloatLanes);
  return {halves + ones + step(two, 1.0f), 0.5f * halves + ones + step(two, 2.0f)};
}

// The exponent (biased) whose scale gives the least error, and the codes with it.
DSV4_LANES_INLINE uint8_t encode_e2m1(const float* values, const float* importance,
                                      uint8_t* codes) {
  const auto x = Run<kSize>::load(values);
  const auto w = Run<kSize>::load(importance);
  const float largest = largest_magnitude<kSize>(values);
  int exponent = 0;  // 6 * 2^exponent reaches the largest value
  if (std::frexp(largest / kMaxE2m1, &exponent) == 0.5f) --exponent;
  const float unit = e8m0_to_float(static_cast<uint8_t>(std::clamp(127 - exponent, 1, 253)));
  int best = 0;
  float best_error = INFINITY;
  for (int candidate = exponent; candidate >= exponent - 2; --candidate) {
    const int biased = std::clamp(candidate + 127, 1, 253);
    const float scale = e8m0_to_float(static_cast<uint8_t>(biased));
    const float inverse = e8m0_to_float(static_cast<uint8_t>(254 - biased));
    FloatLanes sum = {};
    for (int i = 0; i < Run<kSize>::kVectors; ++i) {
      const FloatLanes magnitude = abs_lanes(x.v[i]);
      const FloatLanes error =
          (magnitude - nearest_e2m1(magnitude * inverse).values * scale) * unit;
      sum += w.v[i] * error * error;
    }
    const float error = sum_of(sum);
    if (error < best_error) {
      best_error = error;
      best = biased;
    }
  }
  const float inverse = e8m0_to_float(static_cast<uint8_t>(254 - best));
  Run<kSize> found;
  for (int i = 0; i < Run<kSize>::kVectors; ++i) {
    const E2m1Lanes nearest = nearest_e2m1(abs_lanes(x.v[i]) * inverse);
    found.v[i] = nearest.codes + (x.v[i] < 0 ? splat(8.0f) : FloatLanes{});
  }
  store_codes(found, codes);
  return static_cast<uint8_t>(best);
}

void encode_q4_0(const float* values, const float* importance, uint8_t* block) {
  const SmallBlock b = encode_scaled<-8, 7>(values, importance);
  store_f16(b.scale, block);
  store_nibbles(b.codes, block + 2);
}

void encode_q4_1(const float* values, const float* importance, uint8_t* block) {
  const SmallBlock b = encode_with_minimum<15>(values, importance);
  store_f16(b.scale, block);
  store_f16(b.offset, block + 2);
  store_nibbles(b.codes, block + 4);
}

void encode_q5_0(const float* values, const float* importance, uint8_t* block) {
  const SmallBlock b = encode_scaled<-16, 15>(values, importance);
  store_f16(b.scale, block);
  store_fifth_bits(b.codes, block + 2);
  store_nibbles(b.codes, block + 6);
}

void encode_q5_1(const float* values, const float* importance, uint8_t* block) {
  const SmallBlock b = encode_with_minimum<31>(values, importance);
  store_f16(b.scale, block);
  store_f16(b.offset, block + 2);
  store_fifth_bits(b.codes, block + 4);
  store_nibbles(b.codes, block + 8);
}

void encode_q8_0(const float* values, const float* importance, uint8_t* block) {
  const SmallBlock b = encode_scaled<-127, 127>(values, importance);
  store_f16(b.scale, block);
  for (int j = 0; j < kSize; ++j) block[2 + j] = static_cast<uint8_t>(b.codes[j] - 127);
}

void encode_mxfp4(const float* values, const float* importance, uint8_t* block) {
  uint8_t codes[kSize];
  block[0] = encode_e2m1(values, importance, codes);
  store_nibbles(codes, block + 1);
}

void encode_fp4(const float* values, const float* importance, uint8_t* codes, uint8_t* scale) {
  uint8_t each[kSize];
  *scale = encode_e2m1(values, importance, each);
  for (int j = 0; j < 16; ++j) {
    codes[j] = static_cast<uint8_t>(each[2 * j] | each[2 * j + 1] << 4);
  }
}

}  // namespace
}  // namespace dsv4
