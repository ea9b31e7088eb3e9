// Encoder of AWQ groups: a zero point is an integer, so that zero is stored exactly.
#pragma once

#include "quant/block_encoder.h"
#include "quant/encode/scale_fit.h"

namespace dsv4 {
namespace {

constexpr float kMaxCode = 15;

// Zero points in the lanes, two starting scales for each: that of the free fit and one that covers
// the largest value. Scales are F16 from the start.
template <int kSize>
DSV4_LANES_INLINE Int4Group encode_group(const float* values, const float* importance,
                                         uint8_t* codes) {
  const Samples samples{values, importance};
  const ScaleFit free = fit_scale_and_offset<kSize, 15>(samples, 0.0f);
  const float covering = largest_magnitude<kSize>(values) / kMaxCode;
  const float wanted = free.scale > 0 ? std::min(-free.offset / free.scale, kMaxCode) : 0.0f;
  FloatLanes zeros;
  FloatLanes scales;
  for (int lane = 0; lane < kEncodeLanes; ++lane) {
    zeros[lane] = std::floor(wanted) - 3.0f + static_cast<float>(lane / 2);
    scales[lane] = lane % 2 == 0 ? free.scale : covering;
  }
  zeros = clamp_lanes(zeros, 0, kMaxCode);
  for (int round = 0; round < 2; ++round) {
    // x = scale * (code - zero): without an offset, if codes count from the zero point.
    const FloatLanes inverse = inverse_of(scales);
    FloatLanes xq = {};
    FloatLanes qq = {};
    for (int i = 0; i < kSize; ++i) {
      const FloatLanes code =
          round_lanes(clamp_lanes(values[i] * inverse + zeros, 0, kMaxCode)) - zeros;
      xq += importance[i] * values[i] * code;
      qq += importance[i] * code * code;
    }
    const FloatLanes best = max_lanes(qq > 0 ? xq / qq : FloatLanes{}, FloatLanes{});
    for (int lane = 0; lane < kEncodeLanes; ++lane) {
      scales[lane] = f16_to_float(stored_scale(best[lane]));
    }
  }
  const Candidates fits{scales, -scales * zeros};
  const int best = least_lane(squared_errors<kSize>(samples, fits, 0, kMaxCode));
  store_codes(nearest_codes<kSize>(values, fits[best], 0, kMaxCode), codes);
  return {stored_scale(scales[best]), static_cast<uint8_t>(zeros[best])};
}

inline Int4Group encode_int4(const float* values, const float* importance, int size,
                             uint8_t* codes) {
  if (size == 32) return encode_group<32>(values, importance, codes);
  if (size == 64) return encode_group<64>(values, importance, codes);
  return encode_group<128>(values, importance, codes);
}

}  // namespace
}  // namespace dsv4
