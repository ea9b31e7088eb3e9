// Scales that minimise the weighted squared error of values stored as small integers:
//   sum of w (x - (scale * code + offset))^2
// Sixteen candidates are tried at once, one in each lane: each gives codes, and codes give the best
// scale in closed form (least squares).
#pragma once

#include "quant/encode/lanes.h"
#include "quant/float_formats.h"

#include <algorithm>
#include <cmath>

namespace dsv4 {
namespace {

struct ScaleFit {
  float scale = 0;
  float offset = 0;
};

// One fit in each lane.
struct Candidates {
  FloatLanes scale;
  FloatLanes offset;

  DSV4_LANES_INLINE ScaleFit operator[](int lane) const { return {scale[lane], offset[lane]}; }
};

// Values and their importance.
struct Samples {
  const float* x;
  const float* w;

  DSV4_LANES_INLINE Samples from(int i) const { return {x + i, w + i}; }
};

// A scale as stored: F16, saturated.
DSV4_LANES_INLINE uint16_t stored_scale(float scale) {
  return float_to_f16(std::clamp(scale, -65504.0f, 65504.0f));
}

DSV4_LANES_INLINE void store_f16(uint16_t half, uint8_t* out) {
  std::memcpy(out, &half, sizeof(half));
}

// A scale too small to divide by counts as zero, which gives code zero or the nearest there is.
DSV4_LANES_INLINE FloatLanes inverse_of(FloatLanes scale) {
  return abs_lanes(scale) > 1e-30f ? 1.0f / scale : FloatLanes{};
}

DSV4_LANES_INLINE FloatLanes nearest_code(FloatLanes x, const Candidates& fit, FloatLanes inverse,
                                          float low, float high) {
  return round_lanes(clamp_lanes((x - fit.offset) * inverse, low, high));
}

// The nearest codes in [low, high] for x = scale * code + offset.
template <int kSize>
DSV4_LANES_INLINE Run<kSize> nearest_codes(const float* x, ScaleFit fit, float low, float high) {
  const Candidates same{splat(fit.scale), splat(fit.offset)};
  const FloatLanes inverse = inverse_of(same.scale);
  Run<kSize> codes = Run<kSize>::load(x);
  for (FloatLanes& lanes : codes.v) lanes = nearest_code(lanes, same, inverse, low, high);
  return codes;
}

template <int kSize>
DSV4_LANES_INLINE FloatLanes squared_errors(Samples samples, const Candidates& fits, float low,
                                            float high) {
  const FloatLanes inverse = inverse_of(fits.scale);
  FloatLanes sum = {};
  for (int i = 0; i < kSize; ++i) {
    const FloatLanes code = nearest_code(splat(samples.x[i]), fits, inverse, low, high);
    const FloatLanes error = samples.x[i] - (fits.scale * code + fits.offset);
    sum += samples.w[i] * error * error;
  }
  return sum;
}

// Least squares for the codes that each candidate gives, without an offset.
template <int kSize>
DSV4_LANES_INLINE Candidates refit_scales(Samples samples, const Candidates& fits, float low,
                                          float high) {
  const FloatLanes inverse = inverse_of(fits.scale);
  FloatLanes xq = {};
  FloatLanes qq = {};
  for (int i = 0; i < kSize; ++i) {
    const FloatLanes code = nearest_code(splat(samples.x[i]), fits, inverse, low, high);
    const FloatLanes wq = samples.w[i] * code;
    xq += samples.x[i] * wq;
    qq += wq * code;
  }
  return {qq > 0 ? xq / qq : FloatLanes{}, FloatLanes{}};
}

// Least squares with an offset of at most `max_offset`.
template <int kSize>
DSV4_LANES_INLINE Candidates refit_both(Samples samples, const Candidates& fits, float high,
                                        float max_offset) {
  const FloatLanes inverse = inverse_of(fits.scale);
  FloatLanes sq = {};
  FloatLanes sqq = {};
  FloatLanes sxq = {};
  float s1 = 0;
  float sx = 0;
  for (int i = 0; i < kSize; ++i) {
    const FloatLanes code = nearest_code(splat(samples.x[i]), fits, inverse, 0, high);
    const FloatLanes wq = samples.w[i] * code;
    sq += wq;
    sqq += wq * code;
    sxq += samples.x[i] * wq;
    s1 += samples.w[i];
    sx += samples.w[i] * samples.x[i];
  }
  const FloatLanes determinant = s1 * sqq - sq * sq;
  const FloatLanes scale = (s1 * sxq - sx * sq) / determinant;
  const FloatLanes offset = (sqq * sx - sq * sxq) / determinant;
  const FloatLanes zero = {};
  // Where the best offset is not allowed, or codes are all the same: the scale for another one.
  const FloatLanes other = determinant > 0 ? splat(max_offset) : fits.offset;
  const FloatLanes without = max_lanes(sqq > 0 ? (sxq - other * sq) / sqq : zero, zero);
  const IntLanes free = (determinant > 0) & (scale > 0) & (offset <= max_offset);
  return {free ? scale : without, free ? offset : other};
}

DSV4_LANES_INLINE int least_lane(FloatLanes errors) {
  int best = 0;
  for (int lane = 1; lane < kEncodeLanes; ++lane) best = errors[lane] < errors[best] ? lane : best;
  return best;
}

template <int kSize>
DSV4_LANES_INLINE float largest_magnitude(const float* x) {
  const Run<kSize> run = Run<kSize>::load(x);
  FloatLanes largest = abs_lanes(run.v[0]);
  for (const FloatLanes lanes : run.v) largest = max_lanes(largest, abs_lanes(lanes));
  return largest_of(largest);
}

// The best scale for codes in [low, high] without an offset; of either sign where low != -high.
template <int kSize, int kLow, int kHigh>
DSV4_LANES_INLINE float fit_scale(Samples samples) {
  // The largest value becomes a code between 0.8 of the last one and one beyond it: half of the
  // lanes for each sign. The first reaches it exactly.
  const float largest = largest_magnitude<kSize>(samples.x);
  constexpr int kSteps = kLow == -kHigh ? kEncodeLanes : kEncodeLanes / 2;
  FloatLanes start;
  for (int lane = 0; lane < kEncodeLanes; ++lane) {
    const float end = lane < kSteps ? kHigh : kLow;
    const auto step = static_cast<float>(lane % kSteps) / (kSteps - 1);
    start[lane] =
        lane == 0 ? largest / end : largest / (end * (0.8f + step * (0.2f - 1.0f / kLow)));
  }
  const Candidates fits = refit_scales<kSize>(samples, {start, FloatLanes{}}, kLow, kHigh);
  return fits.scale[least_lane(squared_errors<kSize>(samples, fits, kLow, kHigh))];
}

// The best scale and offset for codes in [0, kHigh], the offset at most `max_offset`.
template <int kSize, int kHigh>
DSV4_LANES_INLINE ScaleFit fit_scale_and_offset(Samples samples, float max_offset) {
  const Run<kSize> run = Run<kSize>::load(samples.x);
  FloatLanes most = run.v[0];
  FloatLanes least = -run.v[0];
  for (const FloatLanes lanes : run.v) {
    most = max_lanes(most, lanes);
    least = max_lanes(least, -lanes);
  }
  const float low = std::min(-largest_of(least), max_offset);
  const float range = std::max(largest_of(most) - low, 0.0f);
  // The range is covered by 0.6 to 1.2 times the codes there are; then two rounds of least squares.
  Candidates fits{{}, splat(low)};
  for (int lane = 0; lane < kEncodeLanes; ++lane) {
    fits.scale[lane] = range / (kHigh * (0.6f + 0.04f * static_cast<float>(lane)));
  }
  fits = refit_both<kSize>(samples, fits, kHigh, max_offset);
  fits = refit_both<kSize>(samples, fits, kHigh, max_offset);
  return fits[least_lane(squared_errors<kSize>(samples, fits, 0, kHigh))];
}

}  // namespace
}  // namespace dsv4
