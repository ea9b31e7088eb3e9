// Products decode every stored code exactly as QuantMatrix::decode() does.
#include "kernels/ops_testing.h"

#include "quant/float_formats.h"

#include <numeric>

namespace dsv4::testing {
namespace {

constexpr int64_t kGroup = 16;  // equal weights of a row: one whole group of the fast path

// Row r is one weight repeated; its products with ones are 16 times the weight, which is exact.
void expect_sums_of_equal_weights(const QuantMatrix& w) {
  const Tensor<float, 2> ones({1, kGroup});
  std::fill_n(ones.view().data(), kGroup, 1.0f);
  const Tensor<float, 2> y({1, w.rows});
  for (const NamedOps& build : AllOps::instance().each()) {
    build.ops.linear(ones.view(), w, y.view());
    for (int64_t r = 0; r < w.rows; ++r) {
      float weight = 0;
      w.decode(r, 0, 1, &weight);
      const float expected = kGroup * weight;
      if (std::isnan(expected) && std::isnan(y.view()(0, r))) continue;
      ASSERT_EQ(y.view()(0, r), expected) << build.name << " row " << r << " weight " << weight;
    }
  }
}

TEST(Decode, every_code_of_two_bytes) {
  std::vector<uint16_t> data(65536 * kGroup);
  for (size_t i = 0; i < data.size(); ++i) data[i] = static_cast<uint16_t>(i / kGroup);
  for (const WeightFormat format : {WeightFormat::kBF16, WeightFormat::kF16}) {
    expect_sums_of_equal_weights({.data = reinterpret_cast<const std::byte*>(data.data()),
                                  .rows = 65536,
                                  .cols = kGroup,
                                  .format = format});
  }
}

TEST(Decode, every_code_of_fp8_with_every_scale) {
  std::vector<std::byte> data(65536 * kGroup);
  std::vector<std::byte> scales(65536);
  for (size_t i = 0; i < data.size(); ++i) data[i] = static_cast<std::byte>(i / kGroup % 256);
  for (size_t i = 0; i < scales.size(); ++i) scales[i] = static_cast<std::byte>(i / 256);
  expect_sums_of_equal_weights({.data = data.data(),
                                .scales = scales.data(),
                                .rows = 65536,
                                .cols = kGroup,
                                .block_cols = kGroup,
                                .scale_cols = 1,
                                .format = WeightFormat::kFP8,
                                .scale_format = ScaleFormat::kE8M0});
}

TEST(Decode, every_code_of_fp4_with_every_scale) {
  constexpr int64_t kRows = 16 * 256;
  std::vector<std::byte> data(kRows * kGroup / 2);
  std::vector<std::byte> scales(kRows);
  for (size_t i = 0; i < data.size(); ++i) data[i] = static_cast<std::byte>(i / 8 % 16 * 0x11);
  for (size_t i = 0; i < scales.size(); ++i) scales[i] = static_cast<std::byte>(i / 16);
  expect_sums_of_equal_weights({.data = data.data(),
                                .scales = scales.data(),
                                .rows = kRows,
                                .cols = kGroup,
                                .block_cols = kGroup,
                                .scale_cols = 1,
                                .format = WeightFormat::kFP4,
                                .scale_format = ScaleFormat::kE8M0});
}

// Token t is the unit vector of column t, so that its products are the weights of that column.
TEST(Decode, puts_every_weight_at_its_column) {
  for (uint64_t seed = 1; seed <= 60; ++seed) {
    Inputs inputs(seed);
    const auto format = inputs.one_of({WeightFormat::kF32, WeightFormat::kF16, WeightFormat::kBF16,
                                       WeightFormat::kFP8, WeightFormat::kFP4});
    const int64_t cols = 2 * inputs.size("pairs", inputs.integer(1, 90));
    const QuantMatrix w = inputs.weight(inputs.integer(1, 20), cols, format);
    const Tensor<float, 2> units({cols, cols});
    std::fill_n(units.view().data(), cols * cols, 0.0f);
    for (int64_t t = 0; t < cols; ++t) units.view()(t, t) = 1;
    const Tensor<float, 2> y({cols, w.rows});
    for (const NamedOps& build : AllOps::instance().each()) {
      build.ops.linear(units.view(), w, y.view());
      for (int64_t r = 0; r < w.rows; ++r) {
        std::vector<float> expected(static_cast<size_t>(cols));
        w.decode(r, 0, cols, expected.data());
        for (int64_t t = 0; t < cols; ++t) {
          ASSERT_EQ(y.view()(t, r), expected[static_cast<size_t>(t)])
              << build.name << " row " << r << " column " << t << ", " << inputs.description();
        }
      }
    }
  }
}

// Weights 1 everywhere, scales 0, 1, 2, ...: a product with ones counts the scale blocks by hand.
TEST(Decode, finds_the_scales_of_a_slice_that_starts_inside_a_block) {
  constexpr int64_t kRows = 300;
  constexpr int64_t kCols = 200;  // two blocks of 128, the second one cut
  const std::vector<std::byte> data(kRows * kCols, std::byte{0x38});
  std::vector<float> scales(6);
  std::iota(scales.begin(), scales.end(), 0.0f);
  const QuantMatrix whole{.data = data.data(),
                          .scales = reinterpret_cast<const std::byte*>(scales.data()),
                          .rows = kRows,
                          .cols = kCols,
                          .block_rows = 128,
                          .block_cols = 128,
                          .scale_cols = 2,
                          .format = WeightFormat::kFP8,
                          .scale_format = ScaleFormat::kF32};
  const Tensor<float, 2> ones({1, kCols});
  std::fill_n(ones.view().data(), kCols, 1.0f);
  for (const int64_t first : {0, 1, 100, 127, 128, 129, 299}) {
    const QuantMatrix slice = whole.slice_rows(first, kRows - first);
    const Tensor<float, 2> y({1, slice.rows});
    for (const NamedOps& build : AllOps::instance().each()) {
      build.ops.linear(ones.view(), slice, y.view());
      for (int64_t r = 0; r < slice.rows; ++r) {
        const auto block = static_cast<float>((first + r) / 128);
        ASSERT_EQ(y.view()(0, r), 128 * (2 * block) + 72 * (2 * block + 1))
            << build.name << " first " << first << " row " << r;
      }
    }
  }
}

// Scale blocks of 48 columns cross the borders of the blocks of 1024 that products decode at a
// time.
TEST(Decode, finds_the_scales_of_blocks_that_do_not_divide_a_power_of_two) {
  constexpr int64_t kCols = 2100;
  constexpr int64_t kBlock = 48;
  std::vector<float> scales(kCols / kBlock + 1);
  std::iota(scales.begin(), scales.end(), 1.0f);
  const std::vector<int64_t> columns = {0, 47, 48, 1007, 1008, 1023, 1024, 1055, 1056, 2047, 2099};
  const auto n = static_cast<int64_t>(columns.size());
  const Tensor<float, 2> units({n, kCols});
  std::fill_n(units.view().data(), n * kCols, 0.0f);
  for (int64_t t = 0; t < n; ++t) units.view()(t, columns[static_cast<size_t>(t)]) = 1;
  for (const WeightFormat format : {WeightFormat::kFP8, WeightFormat::kFP4}) {
    const std::byte one = format == WeightFormat::kFP8 ? std::byte{0x38} : std::byte{0x22};
    const std::vector<std::byte> data(kCols, one);
    const QuantMatrix w{.data = data.data(),
                        .scales = reinterpret_cast<const std::byte*>(scales.data()),
                        .rows = 1,
                        .cols = kCols,
                        .block_cols = kBlock,
                        .scale_cols = static_cast<int64_t>(scales.size()),
                        .format = format,
                        .scale_format = ScaleFormat::kF32};
    const Tensor<float, 2> y({n, 1});
    for (const NamedOps& build : AllOps::instance().each()) {
      build.ops.linear(units.view(), w, y.view());
      for (int64_t t = 0; t < n; ++t) {
        const int64_t column = columns[static_cast<size_t>(t)];
        EXPECT_EQ(y.view()(t, 0), static_cast<float>(column / kBlock + 1))
            << build.name << " format " << static_cast<int>(format) << " column " << column;
      }
    }
  }
}

}  // namespace
}  // namespace dsv4::testing
