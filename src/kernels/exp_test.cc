// Exponential and logarithm of the kernels against those of the C library in double.
#include "kernels/cpu/exp-inl.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

namespace dsv4 {
namespace {

// In units of the last place of the nearest float.
double error_in_ulp(float actual, double expected) {
  const double ulp = std::ldexp(1.0, std::ilogb(static_cast<float>(expected)) - 23);
  return std::fabs(double{actual} - expected) / ulp;
}
double error_in_ulp(float x) { return error_in_ulp(exp_nonpositive(x), std::exp(double{x})); }

float log_1_plus(float x) { return log_1_plus(broadcast(x))[0]; }

TEST(Exp, is_within_two_units_of_the_last_place) {
  double worst = 0;
  const uint32_t end = std::bit_cast<uint32_t>(-87.0f);
  for (uint32_t bits = std::bit_cast<uint32_t>(-0.0f); bits <= end; bits += 811) {
    worst = std::max(worst, error_in_ulp(std::bit_cast<float>(bits)));
  }
  for (float x = 0; x >= -87; x -= 0x1p-10f) worst = std::max(worst, error_in_ulp(x));
  EXPECT_LT(worst, 2);
  RecordProperty("worst", std::to_string(worst));
}

TEST(Exp, knows_its_ends) {
  EXPECT_EQ(exp_nonpositive(0.0f), 1);
  EXPECT_EQ(exp_nonpositive(-0.0f), 1);
  EXPECT_EQ(exp_nonpositive(-1e-30f), 1);
  EXPECT_LT(exp_nonpositive(-0x1p-24f), 1.0000001f);
  EXPECT_GT(exp_nonpositive(-87.0f), std::numeric_limits<float>::min());
  EXPECT_EQ(exp_nonpositive(std::nextafter(-87.0f, -88.0f)), 0);
  EXPECT_EQ(exp_nonpositive(-3e38f), 0);
  EXPECT_EQ(exp_nonpositive(-std::numeric_limits<float>::infinity()), 0);
  EXPECT_TRUE(std::isnan(exp_nonpositive(std::numeric_limits<float>::quiet_NaN())));
  EXPECT_TRUE(std::isnan(exp_nonpositive(std::bit_cast<float>(0xFFFFFFFFu))));
}

TEST(Log1Plus, is_within_three_units_of_the_last_place) {
  double worst = 0;
  const uint32_t end = std::bit_cast<uint32_t>(1.0f);
  const uint32_t begin = std::bit_cast<uint32_t>(std::numeric_limits<float>::min());
  for (uint32_t bits = begin; bits <= end; bits += 811) {
    const float x = std::bit_cast<float>(bits);
    worst = std::max(worst, error_in_ulp(log_1_plus(x), std::log1p(double{x})));
  }
  EXPECT_LT(worst, 3);
  EXPECT_EQ(log_1_plus(0.0f), 0);
  EXPECT_TRUE(std::isnan(log_1_plus(std::numeric_limits<float>::quiet_NaN())));
}

}  // namespace
}  // namespace dsv4
