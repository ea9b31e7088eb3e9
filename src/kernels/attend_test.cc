// Attention on inputs whose results are known by hand, for the reference and every instruction set.
#include "kernels/ops_testing.h"

#include "quant/float_formats.h"

namespace dsv4::testing {
namespace {

// One head of one token: q = (1, 0, ...), so that the first column of a row is its logit.
class Attend : public ::testing::Test {
 protected:
  static constexpr int64_t kWidth = 3;

  // A row with the given logit and the values (1, x).
  const float* row(float logit, float x) {
    kept_.push_back({logit, 1, x});
    return kept_.back().data();
  }

  // Calls test(o) with the output of every build of the operations.
  template <typename Test>
  void expect(const std::vector<const float*>& rows, float sink, Rounding rounding,
              const Test& test) {
    std::array<float, kWidth> q = {1, 0, 0};
    std::array<float, kWidth> o = {-1, -1, -1};
    std::vector<const std::byte*> stored;
    for (const float* values : rows) stored.push_back(reinterpret_cast<const std::byte*>(values));
    const std::vector<int64_t> begin = {0};
    const std::vector<int64_t> end = {static_cast<int64_t>(rows.size())};
    for (const NamedOps& build : AllOps::instance().each()) {
      SCOPED_TRACE(build.name);
      build.ops.attend(View<float, 3>(q.data(), {1, 1, kWidth}),
                       {{EntryType::kF32, kWidth, 0}, {stored, begin, end}}, {&sink, 1}, 1,
                       rounding, View<float, 3>(o.data(), {1, 1, kWidth}));
      test(o);
    }
  }

 private:
  std::deque<std::array<float, kWidth>> kept_;
};

TEST_F(Attend, the_sink_takes_its_share_of_the_denominator) {
  const double share = std::exp(2.0) / (std::exp(2.0) + std::exp(0.5));
  expect({row(2, 7)}, 0.5f, Rounding::kNone, [&](const auto& o) {
    EXPECT_NEAR(o[1], share, 1e-6);
    EXPECT_NEAR(o[2], 7 * share, 1e-5);
  });
}

TEST_F(Attend, rows_count_by_their_exponentials) {
  const double e1 = std::exp(1.0);
  const double e3 = std::exp(3.0);
  const double denominator = e1 + e3 + std::exp(2.0);
  expect({row(1, 10), row(3, 20)}, 2, Rounding::kNone, [&](const auto& o) {
    EXPECT_NEAR(o[0], (1 * e1 + 3 * e3) / denominator, 1e-5);  // keys are values too
    EXPECT_NEAR(o[1], (e1 + e3) / denominator, 1e-6);
    EXPECT_NEAR(o[2], (10 * e1 + 20 * e3) / denominator, 1e-5);
  });
}

TEST_F(Attend, no_rows_give_zero) {
  const auto is_zero = [](const auto& o) {
    for (const float x : o) EXPECT_EQ(x, 0);
  };
  expect({}, 0, Rounding::kNone, is_zero);
  expect(std::vector<const float*>(3, nullptr), 1, Rounding::kBf16, is_zero);
  expect(std::vector<const float*>(200, nullptr), -1, Rounding::kNone, is_zero);
}

TEST_F(Attend, sinks_and_logits_of_any_size_are_safe) {
  expect({row(5, 7)}, 1000, Rounding::kNone, [](const auto& o) { EXPECT_EQ(o[2], 0); });
  expect({row(5, 7)}, -1000, Rounding::kNone, [](const auto& o) { EXPECT_EQ(o[2], 7); });
  expect({row(5000, 7), row(-5000, 9)}, 0, Rounding::kNone,
         [](const auto& o) { EXPECT_EQ(o[2], 7); });
  expect({row(-5000, 7)}, -5001, Rounding::kNone,
         [](const auto& o) { EXPECT_NEAR(o[2], 7 / (1 + std::exp(-1.0)), 1e-5); });
}

// 130 equal rows in three blocks; null rows between them change nothing.
TEST_F(Attend, many_rows_and_null_rows_average) {
  std::vector<const float*> rows;
  for (int i = 0; i < 130; ++i) {
    rows.push_back(row(0, static_cast<float>(i)));
    if (i % 3 == 0) rows.push_back(nullptr);
  }
  expect(rows, 0, Rounding::kNone, [](const auto& o) {
    EXPECT_NEAR(o[1], 130.0 / 131, 1e-5);
    EXPECT_NEAR(o[2], 129.0 * 130 / 2 / 131, 1e-3);
  });
}

// 0.7 becomes 0.69921875 in the value product, and stays in the denominator.
TEST_F(Attend, rounding_touches_the_value_product_only) {
  const double denominator = 1.7 + std::exp(-2.0);
  expect({row(0, 10), row(std::log(0.7f), 20)}, -2, Rounding::kBf16, [&](const auto& o) {
    EXPECT_NEAR(o[1], 1.69921875 / denominator, 1e-6);
    EXPECT_NEAR(o[2], (10 + 20 * 0.69921875) / denominator, 1e-5);
  });
}

// An exponential is rounded against the maximum of the blocks of 64 places so far: the row at place
// 64 comes too late for the first two. Without the null rows it shares their block.
TEST_F(Attend, null_rows_take_a_place_in_the_blocks_of_rounding) {
  const float* first = row(0, 10);
  const float* second = row(std::log(0.7f), 20);
  const float* third = row(3, 30);
  const double e3 = std::exp(-3.0);
  const double denominator = 1 + 1.7 * e3 + std::exp(-5.0);
  std::vector<const float*> apart = {first, second};
  apart.resize(64, nullptr);
  apart.push_back(third);
  expect(apart, -2, Rounding::kBf16,
         [&](const auto& o) { EXPECT_NEAR(o[1], (1 + 1.69921875 * e3) / denominator, 1e-6); });
  const double rounded =
      round_to_bf16(static_cast<float>(e3)) + round_to_bf16(static_cast<float>(0.7 * e3));
  ASSERT_GT(std::fabs(rounded - 1.69921875 * e3), 1e-5);  // the two cases can be told apart
  expect({first, second, third}, -2, Rounding::kBf16,
         [&](const auto& o) { EXPECT_NEAR(o[1], (1 + rounded) / denominator, 1e-6); });
}

}  // namespace
}  // namespace dsv4::testing
