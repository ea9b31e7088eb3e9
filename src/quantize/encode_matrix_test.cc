// Matrices from one type to another: exact where codes agree, nearer than plain rounding elsewhere.
#include "quantize/encode_matrix.h"

#include "base/error.h"
#include "base/rng.h"
#include "quant/float_formats.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <numbers>

namespace dsv4 {
namespace {

constexpr int64_t kRows = 40;
constexpr int64_t kCols = 512;

// Normal values, a few of them larger; rows of different size, as in trained matrices.
std::vector<float> random_matrix(uint64_t seed, int64_t rows = kRows, int64_t cols = kCols) {
  std::vector<float> values(static_cast<size_t>(rows * cols));
  for (size_t i = 0; i < values.size(); ++i) {
    const double radius = std::sqrt(-2 * std::log(1 - random_uniform(seed, 0, i)));
    const double angle = 2 * std::numbers::pi * random_uniform(seed, 1, i);
    const double row_size = 0.01 * (1 + static_cast<double>(i / static_cast<size_t>(cols) % 7));
    values[i] = static_cast<float>(row_size * radius * std::cos(angle) * (i % 211 == 5 ? 3 : 1));
  }
  return values;
}

// A few inputs are ten times as large as the others, as behind norms of trained models.
std::vector<float> random_importance(uint64_t seed, int64_t cols = kCols) {
  std::vector<float> squares(static_cast<size_t>(cols));
  for (size_t i = 0; i < squares.size(); ++i) {
    squares[i] = static_cast<float>(0.2 + random_uniform(seed, 2, i)) * (i % 29 == 3 ? 100.f : 1.f);
  }
  return squares;
}

QuantMatrix matrix_of(const std::vector<float>& values, int64_t cols = kCols) {
  return {.data = std::as_bytes(std::span(values)).data(),
          .rows = std::ssize(values) / cols,
          .cols = cols};
}

// The encoded rows, decoded by the definitions of docs/formats.md.
std::vector<float> decoded(const Encoding& e, int64_t n_rows, const EncodedRows& rows) {
  QuantMatrix m{.data = rows.weights.data(), .scales = rows.scales.data(), .rows = n_rows};
  m.cols = e.from.cols;
  if (e.to == DType::kI32) {
    m.format = WeightFormat::kAwqInt4;
    m.scale_format = ScaleFormat::kF16;
    m.zeros = rows.zeros.data();
    m.block_cols = e.int4_group;
    m.scale_cols = n_rows;
  } else if (e.to == DType::kI8 || e.to == DType::kF8E4M3) {
    const bool fp4 = e.to == DType::kI8;
    m.format = fp4 ? WeightFormat::kFP4 : WeightFormat::kFP8;
    m.scale_format = ScaleFormat::kE8M0;
    m.block_rows = fp4 ? 1 : 128;
    m.block_cols = fp4 ? 32 : 128;
    m.scale_cols = (m.cols + m.block_cols - 1) / m.block_cols;
  } else if (const auto blocks = weight_format(e.to)) {
    m.format = *blocks;
  } else {
    m.format = e.to == DType::kF32   ? WeightFormat::kF32
               : e.to == DType::kF16 ? WeightFormat::kF16
                                     : WeightFormat::kBF16;
  }
  std::vector<float> values(static_cast<size_t>(n_rows * m.cols));
  for (int64_t row = 0; row < n_rows; ++row) m.decode(row, 0, m.cols, &values[row * m.cols]);
  return values;
}

struct Encoded {
  std::vector<float> values;
  EncodingError error;
  EncodedRows rows;
};

Encoded encode(const Encoding& e, int n_threads = 2) {
  ThreadPool pool(n_threads);
  Encoded result;
  result.error = encode_rows(e, 0, e.from.rows, pool, result.rows);
  result.values = decoded(e, e.from.rows, result.rows);
  return result;
}

double weighted_error(const std::vector<float>& x, const std::vector<float>& y,
                      const std::vector<float>& importance) {
  double sum = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const double weight = importance.empty() ? 1 : importance[i % importance.size()];
    sum += weight * (double{x[i]} - y[i]) * (double{x[i]} - y[i]);
  }
  return sum;
}

// Applies `round` to runs of values.
std::vector<float> in_runs(const std::vector<float>& values, size_t size,
                           const std::function<void(std::span<const float>, float*)>& round) {
  std::vector<float> result(values.size());
  for (size_t i = 0; i < values.size(); i += size) {
    round(std::span(values).subspan(i, size), &result[i]);
  }
  return result;
}

float largest_of(std::span<const float> x) {
  float largest = 0;
  for (const float value : x) largest = std::max(largest, std::fabs(value));
  return largest;
}

// The plain encoder of the microscaling standard: the exponent of the largest value less two.
void round_to_mxfp4(std::span<const float> x, float* out) {
  constexpr float kLevels[] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6};
  const double scale = std::exp2(std::floor(std::log2(largest_of(x))) - 2);
  for (size_t i = 0; i < x.size(); ++i) {
    const double magnitude = std::fabs(x[i]) / scale;
    const float nearest = *std::ranges::min_element(
        kLevels, {}, [&](float level) { return std::fabs(level - magnitude); });
    out[i] = static_cast<float>(std::copysign(nearest * scale, x[i]));
  }
}

// From the smallest to the largest value, which include zero.
void round_to_int4(std::span<const float> x, float* out) {
  const double low = std::min(0.0f, *std::ranges::min_element(x));
  const double high = std::max(0.0f, *std::ranges::max_element(x));
  const double scale = (high - low) / 15;
  const double zero = std::round(-low / scale);
  for (size_t i = 0; i < x.size(); ++i) {
    const double code = std::clamp(std::round(x[i] / scale) + zero, 0.0, 15.0);
    out[i] = static_cast<float>(scale * (code - zero));
  }
}

// Signs as they are, all magnitudes the mean of eight: what two bits a weight can do at once.
void round_to_sign_and_mean(std::span<const float> x, float* out) {
  double mean = 0;
  for (const float value : x) mean += std::fabs(value) / static_cast<double>(x.size());
  for (size_t i = 0; i < x.size(); ++i) out[i] = static_cast<float>(std::copysign(mean, x[i]));
}

struct Plain {
  DType type;
  size_t run;
  void (*round)(std::span<const float>, float*);
  double margin;           // share of plain rounding's error that is left
  double weighted_margin;  // the same with importance
};

TEST(EncodeMatrix, is_closer_than_plain_rounding) {
  const std::vector<float> values = random_matrix(1);
  const std::vector<float> importance = random_importance(1);
  for (const Plain& plain : {Plain{DType::kMXFP4, 32, round_to_mxfp4, 0.95, 0.97},
                             {DType::kI8, 32, round_to_mxfp4, 0.95, 0.97},
                             {DType::kI32, 128, round_to_int4, 0.92, 0.7},
                             {DType::kIQ2_XXS, 8, round_to_sign_and_mean, 0.7, 0.7}}) {
    const std::vector<float> rounded = in_runs(values, plain.run, plain.round);
    const Encoded even = encode({.from = matrix_of(values), .to = plain.type});
    const double share =
        weighted_error(values, even.values, {}) / weighted_error(values, rounded, {});
    EXPECT_LT(share, plain.margin) << weight_type_name(plain.type);
    const Encoded weighed =
        encode({.from = matrix_of(values), .to = plain.type, .importance = importance});
    const double with = weighted_error(values, weighed.values, importance);
    const double weighted_share = with / weighted_error(values, rounded, importance);
    EXPECT_LT(weighted_share, plain.weighted_margin) << weight_type_name(plain.type);
    EXPECT_LT(with, weighted_error(values, even.values, importance));
  }
}

// Blocks of 128 x 128 with the power of two that reaches the largest value.
TEST(EncodeMatrix, fp8_rounds_to_the_nearest_code_of_each_block) {
  const std::vector<float> values = random_matrix(2, 300, 320);
  const Encoded got = encode({.from = matrix_of(values, 320), .to = DType::kF8E4M3});
  ASSERT_EQ(got.rows.scales.size(), 9u);
  for (int64_t row = 0; row < 300; ++row) {
    for (int64_t col = 0; col < 320; ++col) {
      float largest = 0;
      for (int64_t r = row / 128 * 128; r < std::min<int64_t>(row / 128 * 128 + 128, 300); ++r) {
        const int64_t begin = col / 128 * 128;
        const int64_t n = std::min<int64_t>(128, 320 - begin);
        largest =
            std::max(largest, largest_of(std::span(values).subspan(
                                  static_cast<size_t>(r * 320 + begin), static_cast<size_t>(n))));
        if (col % 128 != 0) break;  // looked at in the first column of the block
      }
      const auto scale_byte =
          static_cast<int>(got.rows.scales[static_cast<size_t>(row / 128 * 3 + col / 128)]);
      const double scale = std::ldexp(1, scale_byte - 127);
      if (row % 128 == 0 && col % 128 == 0) {
        EXPECT_LE(largest, 448 * scale);
        EXPECT_GT(largest, 224 * scale);
      }
      const auto at = static_cast<size_t>(row * 320 + col);
      // Half a step of the mantissa, or of the smallest number.
      const double bound = std::max(std::fabs(values[at]) / 16.0, std::ldexp(scale, -10));
      ASSERT_LE(std::fabs(got.values[at] - values[at]), bound) << row << " " << col;
    }
  }
}

TEST(EncodeMatrix, plain_types_round_to_the_nearest_number) {
  const std::vector<float> values = random_matrix(3);
  EXPECT_EQ(encode({.from = matrix_of(values), .to = DType::kF32}).values, values);
  for (const auto& [type, bits] : {std::pair{DType::kF16, 11}, {DType::kBF16, 8}}) {
    const std::vector<float> got = encode({.from = matrix_of(values), .to = type}).values;
    for (size_t i = 0; i < values.size(); ++i) {
      ASSERT_LE(std::fabs(got[i] - values[i]), std::ldexp(std::fabs(values[i]), -bits) + 0x1p-25)
          << i;
    }
  }
}

TEST(EncodeMatrix, tells_the_error_that_it_makes) {
  const std::vector<float> values = random_matrix(4);
  const std::vector<float> importance = random_importance(4);
  for (const DType type : {DType::kQ4_K, DType::kI8, DType::kI32, DType::kF8E4M3, DType::kBF16}) {
    const Encoded got = encode({.from = matrix_of(values), .to = type, .importance = importance});
    const std::vector<float> zeros(values.size());
    const double expected =
        std::sqrt(weighted_error(values, got.values, {}) / weighted_error(values, zeros, {}));
    EXPECT_NEAR(got.error.relative_rms(), expected, 1e-12) << weight_type_name(type);
  }
}

// Whatever the pieces and threads, the same bytes.
TEST(EncodeMatrix, can_be_cut_into_pieces) {
  const std::vector<float> values = random_matrix(5, 300, 256);
  const std::vector<float> importance = random_importance(5, 256);
  for (const DType type : {DType::kQ3_K, DType::kQ5_1, DType::kI8, DType::kF8E4M3, DType::kF16}) {
    const Encoding e{.from = matrix_of(values, 256), .to = type, .importance = importance};
    const Encoded whole = encode(e, 1);
    EncodedRows pieces;
    EncodedRows rows;
    ThreadPool pool(3);
    EncodingError error;
    for (int64_t begin = 0; begin < 300; begin += 128) {
      ASSERT_EQ(128 % piece_granule(e), 0);
      error += encode_rows(e, begin, std::min<int64_t>(begin + 128, 300), pool, rows);
      pieces.weights.insert(pieces.weights.end(), rows.weights.begin(), rows.weights.end());
      pieces.scales.insert(pieces.scales.end(), rows.scales.begin(), rows.scales.end());
    }
    EXPECT_EQ(pieces.weights, whole.rows.weights) << weight_type_name(type);
    EXPECT_EQ(pieces.scales, whole.rows.scales) << weight_type_name(type);
    EXPECT_NEAR(error.error, whole.error.error, 1e-9 * whole.error.error);
  }
  EXPECT_EQ(piece_granule({.from = matrix_of(values, 256), .to = DType::kI32}), 300);
}

// A matrix whose groups of rows have inputs of their own.
TEST(EncodeMatrix, weighs_each_group_of_rows_with_its_own_inputs) {
  const std::vector<float> values = random_matrix(6, 48, 256);
  std::vector<float> importance = random_importance(6, 256);
  const std::vector<float> second = random_importance(7, 256);
  const std::vector<float> first = importance;
  importance.insert(importance.end(), second.begin(), second.end());
  for (const DType type : {DType::kQ4_K, DType::kMXFP4, DType::kI8}) {
    const QuantMatrix whole = matrix_of(values, 256);
    const Encoded both = encode({.from = whole, .to = type, .importance = importance});
    const Encoded top = encode({.from = whole.slice_rows(0, 24), .to = type, .importance = first});
    const Encoded bottom =
        encode({.from = whole.slice_rows(24, 24), .to = type, .importance = second});
    std::vector<float> expected = top.values;
    expected.insert(expected.end(), bottom.values.begin(), bottom.values.end());
    EXPECT_EQ(both.values, expected) << weight_type_name(type);
  }
}

// What was encoded once is copied, from the middle of a matrix too.
TEST(EncodeMatrix, copies_what_is_in_the_type_already) {
  const std::vector<float> values = random_matrix(8, 384, 256);
  for (const DType type :
       {DType::kQ6_K, DType::kIQ2_XXS, DType::kI8, DType::kF8E4M3, DType::kI32}) {
    const Encoding e{.from = matrix_of(values, 256), .to = type};
    const Encoded once = encode(e);
    QuantMatrix stored{.data = once.rows.weights.data(), .scales = once.rows.scales.data()};
    stored.rows = 384;
    stored.cols = 256;
    if (type == DType::kI32) {
      stored.format = WeightFormat::kAwqInt4;
      stored.scale_format = ScaleFormat::kF16;
      stored.zeros = once.rows.zeros.data();
      stored.block_cols = 128;
      stored.scale_cols = 384;
    } else if (type == DType::kI8 || type == DType::kF8E4M3) {
      stored.format = type == DType::kI8 ? WeightFormat::kFP4 : WeightFormat::kFP8;
      stored.scale_format = ScaleFormat::kE8M0;
      stored.block_rows = type == DType::kI8 ? 1 : 128;
      stored.block_cols = type == DType::kI8 ? 32 : 128;
      stored.scale_cols = 256 / stored.block_cols;
    } else {
      stored.format = *weight_format(type);
    }
    const Encoded twice = encode({.from = stored, .to = type});
    EXPECT_EQ(twice.rows.weights, once.rows.weights) << weight_type_name(type);
    EXPECT_EQ(twice.rows.scales, once.rows.scales) << weight_type_name(type);
    EXPECT_EQ(twice.rows.zeros, once.rows.zeros) << weight_type_name(type);
    EXPECT_EQ(twice.error.square, 0) << weight_type_name(type);
    if (type == DType::kI32) continue;
    const Encoding middle{.from = stored.slice_rows(128, 256), .to = type};
    EXPECT_EQ(encode(middle).values,
              std::vector<float>(once.values.begin() + 128 * 256, once.values.end()))
        << weight_type_name(type);
  }
}

}  // namespace
}  // namespace dsv4
