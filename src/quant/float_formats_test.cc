#include "quant/float_formats.h"

#include "base/rng.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

namespace dsv4 {
namespace {

// Nearest code by brute force over all finite codes; ties to the even code.
template <typename Decode>
float nearest_value(float x, int n_codes, Decode decode) {
  float best = 0;
  int best_code = -1;
  for (int code = 0; code < n_codes; ++code) {
    const float value = decode(static_cast<uint8_t>(code));
    if (std::isnan(value)) continue;
    const double distance = std::fabs(double{value} - double{x});
    const double best_distance = std::fabs(double{best} - double{x});
    if (best_code < 0 || distance < best_distance ||
        (distance == best_distance && code % 2 == 0 && best_code % 2 != 0)) {
      best = value;
      best_code = code;
    }
  }
  return best;
}

std::vector<float> hostile_values(uint64_t seed) {
  std::vector<float> values = {0.0f, -0.0f, 1e-30f, 447.9f, 448.0f, 463.9f, 464.0f, 1e30f, -1e30f};
  for (uint64_t i = 0; i < 4000; ++i) {
    const double exponent = random_uniform(seed, 1, i) * 30 - 15;
    const double sign = random_uniform(seed, 2, i) < 0.5 ? -1 : 1;
    values.push_back(static_cast<float>(sign * std::exp2(exponent)));
  }
  for (int code = 0; code < 126; ++code) {  // exact values and midpoints
    const float low = e4m3_to_float(static_cast<uint8_t>(code));
    const float high = e4m3_to_float(static_cast<uint8_t>(code + 1));
    values.insert(values.end(), {low, -low, (low + high) / 2, -(low + high) / 2});
  }
  return values;
}

TEST(FloatFormats, e4m3_rounds_to_the_nearest_value) {
  for (const float x : hostile_values(1)) {
    const float clamped = std::fmax(-448.0f, std::fmin(448.0f, x));
    EXPECT_EQ(e4m3_to_float(float_to_e4m3(x)), nearest_value(clamped, 256, e4m3_to_float)) << x;
  }
  EXPECT_TRUE(std::isnan(e4m3_to_float(float_to_e4m3(NAN))));
}

TEST(FloatFormats, e4m3_codes_survive_a_round_trip) {
  for (int code = 0; code < 256; ++code) {
    if ((code & 0x7F) == 0x7F) continue;
    EXPECT_EQ(float_to_e4m3(e4m3_to_float(static_cast<uint8_t>(code))), code);
  }
  EXPECT_EQ(e4m3_to_float(0x7E), 448.0f);
  EXPECT_EQ(e4m3_to_float(0x01), 0x1p-9f);
  EXPECT_EQ(e4m3_to_float(0x08), 0x1p-6f);
}

TEST(FloatFormats, e2m1_rounds_to_the_nearest_value) {
  const auto decode = [](uint8_t code) { return kE2m1Values[code]; };
  for (const float x : hostile_values(2)) {
    const float clamped = std::fmax(-6.0f, std::fmin(6.0f, x));
    EXPECT_EQ(kE2m1Values[float_to_e2m1(x)], nearest_value(clamped, 16, decode)) << x;
  }
  const float ties[][2] = {{.25f, 0}, {.75f, 1}, {1.25f, 1}, {1.75f, 2},
                           {2.5f, 2}, {3.5f, 4}, {5, 4}};
  for (const auto& [x, expected] : ties) EXPECT_EQ(kE2m1Values[float_to_e2m1(x)], expected) << x;
}

TEST(FloatFormats, bf16_rounds_ties_to_even) {
  EXPECT_EQ(round_to_bf16(1.0f + 0x1p-8f), 1.0f);
  EXPECT_EQ(round_to_bf16(1.0f + 3 * 0x1p-8f), 1.0f + 0x1p-6f);
  EXPECT_EQ(round_to_bf16(1.0f + 0x1.02p-8f), 1.0f + 0x1p-7f);
  EXPECT_TRUE(std::isnan(round_to_bf16(NAN)));
  EXPECT_TRUE(std::isinf(round_to_bf16(INFINITY)));
}

TEST(FloatFormats, f16_decodes_the_landmarks) {
  EXPECT_EQ(f16_to_float(0x3C00), 1.0f);
  EXPECT_EQ(f16_to_float(0x0001), 0x1p-24f);
  EXPECT_EQ(f16_to_float(0x7BFF), 65504.0f);
  EXPECT_EQ(f16_to_float(0xC000), -2.0f);
  EXPECT_TRUE(std::isinf(f16_to_float(0x7C00)));
  EXPECT_TRUE(std::isnan(f16_to_float(0x7E00)));
}

TEST(FloatFormats, e8m0_decodes_the_landmarks) {
  EXPECT_EQ(e8m0_to_float(0), 0x1p-127f);
  EXPECT_EQ(e8m0_to_float(127), 1.0f);
  EXPECT_EQ(e8m0_to_float(254), 0x1p127f);
  EXPECT_TRUE(std::isnan(e8m0_to_float(255)));
}

// architecture.md section 13: the scales that the maxima select.
TEST(FloatFormats, round_trips_choose_the_scales_of_the_specification) {
  const auto fp8 = [](float amax, float x) {
    float values[2] = {amax, x};
    fp8_round_trip(values, 2, 64);
    return values[1];
  };
  EXPECT_EQ(fp8(448, 0x1p-9f), 0x1p-9f);  // scale 1: the smallest subnormal survives
  EXPECT_EQ(fp8(449, 0x1p-9f), 0.0f);     // scale 2: half a step, to even
  EXPECT_EQ(fp8(0, 0x1p-31f), 0x1p-31f);  // scale 2^-22
  EXPECT_EQ(fp8(0, 0x1p-33f), 0.0f);
  const auto fp4 = [](float amax, float x) {
    float values[2] = {amax, x};
    fp4_round_trip(values, 2);
    return values[1];
  };
  EXPECT_EQ(fp4(6, 0.5f), 0.5f);
  EXPECT_EQ(fp4(6.01f, 0.5f), 0.0f);
  EXPECT_EQ(fp4(0, 0), 0.0f);
}

TEST(FloatFormats, blocks_have_their_own_scales) {
  float x[40] = {};
  x[0] = 6000;
  x[31] = 1;
  x[32] = 1;
  fp4_round_trip(x, 40);
  EXPECT_EQ(x[31], 0.0f);
  EXPECT_EQ(x[32], 1.0f);
}

}  // namespace
}  // namespace dsv4
