// The exponential of attention against the one of the C library in double.
#include "kernels/cpu/exp-inl.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

namespace dsv4 {
namespace {

// In units of the last place of the nearest float.
double error_in_ulp(float x) {
  const double expected = std::exp(double{x});
  const double ulp = std::ldexp(1.0, std::ilogb(static_cast<float>(expected)) - 23);
  return std::fabs(double{exp_nonpositive(x)} - expected) / ulp;
}

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

}  // namespace
}  // namespace dsv4
