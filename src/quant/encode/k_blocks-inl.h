// Encoders of the K-quants. Each sub-block is fitted alone; its scale is then an integer times the
// block's, chosen among the neighbours with the error of the codes it gives; and least squares over
// the whole block moves the block's scale to where those integers fit best.
#pragma once

#include "quant/encode/scale_fit.h"

namespace dsv4 {
namespace {

constexpr int kBlock = 256;
constexpr int kRounds = 2;  // of least squares over the block

// value = scale * scales[s] * code - minimum * minimums[s]; symmetric types have no minimums.
template <int kSize>
struct SuperBlock {
  static constexpr int kSubs = kBlock / kSize;
  uint16_t scale = 0;
  uint16_t minimum = 0;
  int scales[kSubs] = {};
  int minimums[kSubs] = {};
  Run<kSize> codes[kSubs];
  float error = 0;
};

// How a type stores its sub-blocks.
struct SubFormat {
  int low;  // codes
  int high;
  int max_scale;  // integers that multiply the block's scale: from 0, or from -max - 1 on
  bool symmetric;
};

// The integers for one sub-block around those that its own fit asks for: five scales
// by three minimums.
template <SubFormat kFormat>
DSV4_LANES_INLINE Candidates neighbours(ScaleFit wanted, float d, float dmin, FloatLanes& scales,
                                        FloatLanes& minimums) {
  constexpr float kLeast = kFormat.symmetric ? -kFormat.max_scale - 1 : 0;
  const auto nearest = [&](float value, float unit) __attribute__((always_inline)) {
    return unit > 0 ? std::floor(std::clamp(value / unit, kLeast, 1.0f * kFormat.max_scale) + 0.5f)
                    : 0.0f;
  };
  const float scale = nearest(wanted.scale, d);
  const float minimum = kFormat.symmetric ? 0.0f : nearest(-wanted.offset, dmin);
  for (int lane = 0; lane < kEncodeLanes; ++lane) {
    const int i = lane % 5 - 2;
    const int m = kFormat.symmetric ? 0 : lane / 5 - 1;
    scales[lane] = scale + static_cast<float>(i);
    minimums[lane] = minimum + static_cast<float>(m);
  }
  scales = clamp_lanes(scales, kLeast, kFormat.max_scale);
  minimums = clamp_lanes(minimums, 0, kFormat.symmetric ? 0 : kFormat.max_scale);
  return {d * scales, -dmin * minimums};
}

// All integers and codes for a block's scale and minimum.
template <int kSize, SubFormat kFormat>
DSV4_LANES_INLINE SuperBlock<kSize> with_scales(Samples samples, const ScaleFit* wanted,
                                                float scale, float minimum) {
  SuperBlock<kSize> block;
  block.scale = stored_scale(scale);
  block.minimum = stored_scale(minimum);
  const float d = f16_to_float(block.scale);
  const float dmin = f16_to_float(block.minimum);
  for (int s = 0; s < SuperBlock<kSize>::kSubs; ++s) {
    const Samples sub = samples.from(s * kSize);
    FloatLanes scales;
    FloatLanes minimums;
    const Candidates fits = neighbours<kFormat>(wanted[s], d, dmin, scales, minimums);
    const FloatLanes errors = squared_errors<kSize>(sub, fits, kFormat.low, kFormat.high);
    const int best = least_lane(errors);
    block.scales[s] = static_cast<int>(scales[best]);
    block.minimums[s] = static_cast<int>(minimums[best]);
    block.codes[s] = nearest_codes<kSize>(sub.x, fits[best], kFormat.low, kFormat.high);
    block.error += errors[best];
  }
  return block;
}

// Scale and minimum (as the offset) that suit a block's integers and codes best.
template <int kSize>
DSV4_LANES_INLINE ScaleFit refit(Samples samples, const SuperBlock<kSize>& block) {
  FloatLanes lanes[5] = {};
  for (int s = 0; s < SuperBlock<kSize>::kSubs; ++s) {
    const auto x = Run<kSize>::load(samples.x + s * kSize);
    const auto w = Run<kSize>::load(samples.w + s * kSize);
    const auto b = static_cast<float>(block.minimums[s]);
    for (int i = 0; i < Run<kSize>::kVectors; ++i) {
      const FloatLanes a = static_cast<float>(block.scales[s]) * block.codes[s].v[i];
      lanes[0] += w.v[i] * a * a;
      lanes[1] += w.v[i] * a * b;
      lanes[2] += w.v[i] * b * b;
      lanes[3] += w.v[i] * x.v[i] * a;
      lanes[4] += w.v[i] * x.v[i] * b;
    }
  }
  const float aa = sum_of(lanes[0]);
  const float ab = sum_of(lanes[1]);
  const float bb = sum_of(lanes[2]);
  const float xa = sum_of(lanes[3]);
  const float xb = sum_of(lanes[4]);
  const float determinant = aa * bb - ab * ab;
  if (determinant > 1e-6f * aa * bb) {
    return {(xa * bb - ab * xb) / determinant, (ab * xa - aa * xb) / determinant};
  }
  return {aa > 0 ? xa / aa : 0.0f, f16_to_float(block.minimum)};
}

template <int kSize, SubFormat kFormat>
DSV4_LANES_INLINE SuperBlock<kSize> encode_super(const float* values, const float* importance) {
  const Samples samples{values, importance};
  ScaleFit wanted[SuperBlock<kSize>::kSubs];
  float scale = 0;
  float minimum = 0;
  for (int s = 0; s < SuperBlock<kSize>::kSubs; ++s) {
    const Samples sub = samples.from(s * kSize);
    if constexpr (kFormat.symmetric) {
      wanted[s] = {fit_scale<kSize, kFormat.low, kFormat.high>(sub), 0};
    } else {
      wanted[s] = fit_scale_and_offset<kSize, kFormat.high>(sub, 0.0f);
    }
    scale = std::max(scale, std::fabs(wanted[s].scale));
    minimum = std::max(minimum, -wanted[s].offset);
  }
  auto best = with_scales<kSize, kFormat>(samples, wanted, scale / kFormat.max_scale,
                                          minimum / kFormat.max_scale);
  for (int round = 0; round < kRounds; ++round) {
    const ScaleFit fit = refit(samples, best);
    if (!(fit.scale > 0 && fit.offset >= 0)) break;
    const auto block = with_scales<kSize, kFormat>(samples, wanted, fit.scale, fit.offset);
    if (!(block.error < best.error)) break;
    best = block;
  }
  return best;
}

// The codes from zero on.
template <int kSize>
DSV4_LANES_INLINE void store_codes(const SuperBlock<kSize>& block, int low, uint8_t* out) {
  for (int s = 0; s < SuperBlock<kSize>::kSubs; ++s) {
    Run<kSize> codes = block.codes[s];
    for (FloatLanes& lanes : codes.v) lanes -= static_cast<float>(low);
    store_codes(codes, out + s * kSize);
  }
}

constexpr SubFormat kSubQ2 = {0, 3, 15, false};
constexpr SubFormat kSubQ3 = {-4, 3, 31, true};
constexpr SubFormat kSubQ4 = {0, 15, 63, false};
constexpr SubFormat kSubQ5 = {0, 31, 63, false};
constexpr SubFormat kSubQ6 = {-32, 31, 127, true};

// The 6-bit scales and minimums of Q4_K and Q5_K in 12 bytes (unpack_k_scale reads them).
DSV4_LANES_INLINE void pack_k_scales(const int* scales, const int* minimums, uint8_t* out) {
  for (int j = 0; j < 4; ++j) {
    out[j] = static_cast<uint8_t>(scales[j] | scales[j + 4] >> 4 << 6);
    out[j + 4] = static_cast<uint8_t>(minimums[j] | minimums[j + 4] >> 4 << 6);
    out[j + 8] = static_cast<uint8_t>((scales[j + 4] & 15) | (minimums[j + 4] & 15) << 4);
  }
}

// Two bits of each code: four runs of 32 values share 32 bytes.
DSV4_LANES_INLINE void pack_two_bits(const uint8_t* codes, uint8_t* out) {
  std::fill_n(out, 64, uint8_t{0});
  for (int i = 0; i < kBlock; ++i) {
    const int byte = i / 128 * 32 + i % 32;
    out[byte] = static_cast<uint8_t>(out[byte] | (codes[i] & 3) << (i % 128 / 32 * 2));
  }
}

// Pairs of 32 values share 32 bytes.
DSV4_LANES_INLINE void pack_nibbles(const uint8_t* codes, uint8_t* out) {
  for (int p = 0; p < 4; ++p) {
    for (int l = 0; l < 32; ++l) {
      out[p * 32 + l] =
          static_cast<uint8_t>((codes[p * 64 + l] & 15) | (codes[p * 64 + 32 + l] & 15) << 4);
    }
  }
}

void encode_q2_k(const float* values, const float* importance, uint8_t* block) {
  const SuperBlock<16> b = encode_super<16, kSubQ2>(values, importance);
  uint8_t codes[kBlock];
  store_codes(b, kSubQ2.low, codes);
  for (int s = 0; s < 16; ++s) block[s] = static_cast<uint8_t>(b.scales[s] | b.minimums[s] << 4);
  pack_two_bits(codes, block + 16);
  store_f16(b.scale, block + 80);
  store_f16(b.minimum, block + 82);
}

void encode_q3_k(const float* values, const float* importance, uint8_t* block) {
  const SuperBlock<16> b = encode_super<16, kSubQ3>(values, importance);
  uint8_t codes[kBlock];
  store_codes(b, kSubQ3.low, codes);
  std::fill_n(block, 32, uint8_t{0});
  for (int i = 0; i < kBlock; ++i) {
    block[i % 32] = static_cast<uint8_t>(block[i % 32] | (codes[i] >> 2) << (i / 32));
  }
  pack_two_bits(codes, block + 32);
  uint8_t* scales = block + 96;
  std::fill_n(scales, 12, uint8_t{0});
  for (int s = 0; s < 16; ++s) {
    const int stored = b.scales[s] + 32;
    scales[s % 8] = static_cast<uint8_t>(scales[s % 8] | (stored & 15) << (s / 8 * 4));
    scales[8 + s % 4] = static_cast<uint8_t>(scales[8 + s % 4] | (stored >> 4) << (s / 4 * 2));
  }
  store_f16(b.scale, block + 108);
}

void encode_q4_k(const float* values, const float* importance, uint8_t* block) {
  const SuperBlock<32> b = encode_super<32, kSubQ4>(values, importance);
  uint8_t codes[kBlock];
  store_codes(b, kSubQ4.low, codes);
  store_f16(b.scale, block);
  store_f16(b.minimum, block + 2);
  pack_k_scales(b.scales, b.minimums, block + 4);
  pack_nibbles(codes, block + 16);
}

void encode_q5_k(const float* values, const float* importance, uint8_t* block) {
  const SuperBlock<32> b = encode_super<32, kSubQ5>(values, importance);
  uint8_t codes[kBlock];
  store_codes(b, kSubQ5.low, codes);
  store_f16(b.scale, block);
  store_f16(b.minimum, block + 2);
  pack_k_scales(b.scales, b.minimums, block + 4);
  std::fill_n(block + 16, 32, uint8_t{0});
  for (int i = 0; i < kBlock; ++i) {
    uint8_t& high = block[16 + i % 32];
    high = static_cast<uint8_t>(high | (codes[i] >> 4) << (i / 32));
  }
  pack_nibbles(codes, block + 48);
}

void encode_q6_k(const float* values, const float* importance, uint8_t* block) {
  const SuperBlock<16> b = encode_super<16, kSubQ6>(values, importance);
  uint8_t each[kBlock];
  store_codes(b, kSubQ6.low, each);
  for (int h = 0; h < 2; ++h) {
    const uint8_t* codes = each + h * 128;
    for (int l = 0; l < 64; ++l) {
      block[h * 64 + l] = static_cast<uint8_t>((codes[l] & 15) | (codes[l + 64] & 15) << 4);
    }
    for (int l = 0; l < 32; ++l) {
      block[128 + h * 32 + l] =
          static_cast<uint8_t>(codes[l] >> 4 | codes[l + 32] >> 4 << 2 | codes[l + 64] >> 4 << 4 |
                               codes[l + 96] >> 4 << 6);
    }
  }
  for (int s = 0; s < 16; ++s) block[192 + s] = static_cast<uint8_t>(b.scales[s]);
  store_f16(b.scale, block + 208);
}

}  // namespace
}  // namespace dsv4
