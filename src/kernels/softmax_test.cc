#include "kernels/softmax.h"

#include "kernels/cpu/kernel_table.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <random>

namespace dsv4 {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Numbers of many sizes, among them such as a broken model gives.
std::vector<float> hostile_logits(size_t n, std::mt19937& random) {
  std::normal_distribution<float> normal(0, 10);
  std::vector<float> logits(n);
  for (float& logit : logits) {
    const auto kind = random() % 16;
    logit = kind == 0 ? kNan : kind == 1 ? -kInfinity : kind == 2 ? -3e38f : normal(random);
  }
  return logits;
}

TEST(Softmax, has_the_same_bits_on_every_instruction_set) {
  std::mt19937 random(1);
  for (size_t n = 1; n < 200; ++n) {
    std::vector<float> logits = hostile_logits(n, random);
    logits[random() % n] = -1;
    float expected_largest = -kInfinity;
    for (const float logit : logits) {
      if (logit > expected_largest) expected_largest = logit;
    }
    std::vector<float> expected(n);
    const double sum = kernel_table_scalar().rows.exponentials(
        logits.data(), static_cast<int64_t>(n), expected_largest, expected.data());
    for (const Isa isa : kAllIsas) {
      if (!isa_supported(isa)) continue;
      const RowKernels& rows = kernel_table(isa).rows;
      EXPECT_EQ(rows.largest(logits.data(), static_cast<int64_t>(n)), expected_largest);
      std::vector<float> y(n);
      EXPECT_EQ(
          rows.exponentials(logits.data(), static_cast<int64_t>(n), expected_largest, y.data()),
          sum);
      for (size_t i = 0; i < n; ++i) {
        EXPECT_EQ(std::bit_cast<uint32_t>(y[i]), std::bit_cast<uint32_t>(expected[i]))
            << isa_name(isa) << " " << i << " of " << n;
      }
    }
  }
}

TEST(Softmax, is_that_of_the_c_library_in_double) {
  std::mt19937 random(2);
  Softmax softmax;
  for (const size_t n : {size_t{1}, size_t{3}, size_t{33}, size_t{1000}, size_t{129280}}) {
    std::vector<float> logits = hostile_logits(n, random);
    logits[n / 2] = 100;
    softmax.compute(logits);
    double total = 0;
    for (const float logit : logits) total += logit == logit ? std::exp(double{logit} - 100) : 0;
    EXPECT_EQ(softmax.largest, 100);
    EXPECT_NEAR(softmax.total, total, 1e-6 * total);
    for (size_t i = 0; i < n; ++i) {
      const double expected = logits[i] == logits[i] ? std::exp(double{logits[i]} - 100) : 0;
      EXPECT_NEAR(softmax.weights[i], expected, 1e-5 * expected + 1e-37) << logits[i];
      const float logprob = softmax.logprob(logits[i]);
      if (expected == 0) {
        EXPECT_LT(logprob, -80);
      } else {
        EXPECT_NEAR(logprob, std::log(expected / total), 1e-4);
      }
    }
  }
}

TEST(Softmax, shares_among_the_largest_of_a_broken_model) {
  Softmax softmax;
  softmax.compute(std::vector<float>{kInfinity, 3, kNan, kInfinity});
  EXPECT_EQ(softmax.weights, (std::vector<float>{1, 0, 0, 1}));
  EXPECT_FLOAT_EQ(softmax.logprob(kInfinity), std::log(0.5f));
  EXPECT_EQ(softmax.logprob(3), -kInfinity);
  softmax.compute(std::vector<float>{kNan, -kInfinity});
  EXPECT_EQ(softmax.weights, (std::vector<float>{1, 1}));
  EXPECT_FLOAT_EQ(softmax.logprob(kNan), std::log(0.5f));
  EXPECT_EQ(largest_of(std::vector<float>{kNan}), -kInfinity);
}

}  // namespace
}  // namespace dsv4
