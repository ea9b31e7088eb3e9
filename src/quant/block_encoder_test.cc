#include "quant/block_encoder.h"

#include "base/rng.h"
#include "quant/block_codec.h"
#include "quant/encode/encoder_table.h"
#include "quant/float_formats.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>
#include <numeric>
#include <vector>

namespace dsv4 {
namespace {

// What plain rounding does: runs of `size` values, codes from `low` to `high` times a scale that is
// not rounded itself and reaches the largest value; or codes from `low` on above the smallest
// value.
struct Plain {
  DType type;
  int size;
  int low;
  int high;
  bool has_offset;
  double margin;  // the encoder's squared error is at most this share of plain rounding's
};

std::ostream& operator<<(std::ostream& out, const Plain& plain) {
  return out << dtype_name(plain.type);
}

constexpr Plain kPlain[] = {
    {DType::kQ4_0, 32, -7, 7, false, 0.85},     {DType::kQ4_1, 32, 0, 15, true, 0.87},
    {DType::kQ5_0, 32, -15, 15, false, 0.90},   {DType::kQ5_1, 32, 0, 31, true, 0.95},
    {DType::kQ8_0, 32, -127, 127, false, 1.01}, {DType::kQ2_K, 16, 0, 3, true, 0.80},
    {DType::kQ3_K, 16, -3, 3, false, 0.80},     {DType::kQ4_K, 32, 0, 15, true, 0.90},
    {DType::kQ5_K, 32, 0, 31, true, 0.97},      {DType::kQ6_K, 16, -31, 31, false, 1.0},
};

// Normal values; every 97th is four times as large.
std::vector<float> random_values(size_t n, uint64_t seed, double scale = 0.02) {
  std::vector<float> values(n);
  for (size_t i = 0; i < n; ++i) {
    const double radius = std::sqrt(-2 * std::log((1 - random_uniform(seed, 0, i))));
    const double angle = 2 * std::numbers::pi * random_uniform(seed, 1, i);
    values[i] = static_cast<float>(scale * radius * std::cos(angle) * (i % 97 == 5 ? 4 : 1));
  }
  return values;
}

std::vector<float> coded(DType type, const std::vector<float>& values,
                         const std::vector<float>& importance) {
  const auto block = static_cast<size_t>(dtype_block(type));
  std::vector<uint8_t> bytes(dtype_bytes(type));
  std::vector<float> result(values.size());
  for (size_t i = 0; i < values.size(); i += block) {
    block_encoder(type)(&values[i], &importance[i], bytes.data());
    block_decoder(type)(bytes.data(), &result[i]);
  }
  return result;
}

double squared_error(const std::vector<float>& a, const std::vector<float>& b,
                     const std::vector<float>& importance) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    sum += importance[i] * (static_cast<double>(a[i]) - b[i]) * (static_cast<double>(a[i]) - b[i]);
  }
  return sum;
}

std::vector<float> plainly_rounded(const Plain& plain, const std::vector<float>& x) {
  std::vector<float> result(x.size());
  const auto size = static_cast<size_t>(plain.size);
  for (size_t begin = 0; begin < x.size(); begin += size) {
    const auto [least, most] = std::minmax_element(&x[begin], &x[begin] + size);
    const double low = plain.has_offset ? std::min(*least, 0.0f) : 0;
    const double reach = plain.has_offset ? *most - low : std::max(*most, -*least);
    const double scale = reach / plain.high;
    for (size_t i = begin; i < begin + size; ++i) {
      const double code =
          std::clamp<double>(std::round((x[i] - low) / scale), plain.low, plain.high);
      result[i] = static_cast<float>(low + scale * code);
    }
  }
  return result;
}

class BlockEncoder : public ::testing::TestWithParam<Plain> {};
std::string type_of(const ::testing::TestParamInfo<Plain>& info) {
  return std::string(dtype_name(info.param.type));
}
INSTANTIATE_TEST_SUITE_P(Every, BlockEncoder, ::testing::ValuesIn(kPlain), type_of);

TEST_P(BlockEncoder, is_closer_than_plain_rounding) {
  const std::vector<float> values = random_values(256 * 64, 1);
  const std::vector<float> even(values.size(), 1.0f);
  const double plain = squared_error(values, plainly_rounded(GetParam(), values), even);
  const double ours = squared_error(values, coded(GetParam().type, values, even), even);
  EXPECT_LT(ours, plain * GetParam().margin) << ours / plain;
}

TEST_P(BlockEncoder, spends_its_error_where_it_matters_least) {
  const std::vector<float> values = random_values(256 * 16, 2);
  const std::vector<float> even(values.size(), 1.0f);
  std::vector<float> importance(values.size());
  for (size_t i = 0; i < values.size(); ++i) importance[i] = i % 8 == 3 ? 100.0f : 1.0f;
  const DType type = GetParam().type;
  const double with = squared_error(values, coded(type, values, importance), importance);
  const double without = squared_error(values, coded(type, values, even), importance);
  EXPECT_LT(with, without * (type == DType::kQ8_0 ? 1.0 : 0.95)) << with / without;
}

TEST_P(BlockEncoder, keeps_its_relative_error_at_any_magnitude) {
  const DType type = GetParam().type;
  const std::vector<float> even(256, 1.0f);
  const std::vector<float> ordinary = random_values(256, 3, 1.0);
  const double share = squared_error(ordinary, coded(type, ordinary, even), even);
  for (const float scale : {1e-3f, 1e3f}) {
    std::vector<float> values = ordinary;
    for (float& value : values) value *= scale;
    const double error = squared_error(values, coded(type, values, even), even) / scale / scale;
    EXPECT_LT(error, share * 1.3) << scale;  // scales are F16: some bits are lost when small
  }
}

constexpr DType kEvery[] = {DType::kQ4_0, DType::kQ4_1, DType::kQ5_0,    DType::kQ5_1,
                            DType::kQ8_0, DType::kQ2_K, DType::kQ3_K,    DType::kQ4_K,
                            DType::kQ5_K, DType::kQ6_K, DType::kIQ2_XXS, DType::kMXFP4};

TEST(BlockEncoderValues, special_blocks_are_defined) {
  const std::vector<float> even(256, 1.0f);
  for (const DType type : kEvery) {
    const std::vector<float> zeros(256, 0.0f);
    EXPECT_EQ(coded(type, zeros, even), zeros) << dtype_name(type);
    for (const float level : {1.0f, -1.0f, 6e4f, 1e-30f, -1e-38f, 3e38f}) {
      for (const float value : coded(type, std::vector<float>(256, level), even)) {
        ASSERT_FALSE(std::isnan(value)) << dtype_name(type) << " " << level;
      }
    }
    if (type == DType::kIQ2_XXS) continue;  // it has no zero: a lone value shares its error out
    std::vector<float> lone(256, 0.0f);
    lone[77] = -3.0f;
    EXPECT_NEAR(coded(type, lone, even)[77], -3.0f, 0.3f) << dtype_name(type);
  }
}

TEST(BlockEncoderValues, every_instruction_set_gives_the_same_bytes) {
  const std::vector<float> values = random_values(256 * 8, 6);
  std::vector<float> importance(values.size());
  for (size_t i = 0; i < values.size(); ++i) {
    importance[i] = static_cast<float>(random_uniform(6, 2, i) + 0.01);
  }
  const EncoderTable& plain = *encoder_table_baseline();
  for (const EncoderTable* table : encoder_tables()) {
    for (size_t k = 0; k < std::size(kEvery); ++k) {
      const auto block = static_cast<size_t>(dtype_block(kEvery[k]));
      std::vector<uint8_t> expected(dtype_bytes(kEvery[k]));
      std::vector<uint8_t> got = expected;
      for (size_t i = 0; i < values.size(); i += block) {
        plain.blocks[k](&values[i], &importance[i], expected.data());
        table->blocks[k](&values[i], &importance[i], got.data());
        ASSERT_EQ(got, expected) << dtype_name(kEvery[k]) << " block " << i / block;
      }
    }
    for (const int size : {32, 64, 128}) {
      std::vector<uint8_t> expected(static_cast<size_t>(size));
      std::vector<uint8_t> got = expected;
      const Int4Group a = plain.int4(values.data(), importance.data(), size, expected.data());
      const Int4Group b = table->int4(values.data(), importance.data(), size, got.data());
      EXPECT_EQ(got, expected);
      EXPECT_EQ(a.scale, b.scale);
      EXPECT_EQ(a.zero, b.zero);
    }
  }
}

TEST(BlockEncoderValues, decoded_blocks_are_encoded_without_error_where_codes_are_floats) {
  std::vector<uint8_t> block(17);
  for (uint64_t i = 0; i < 500; ++i) {
    for (size_t k = 1; k < 17; ++k) block[k] = static_cast<uint8_t>(random_bits(i, 0, k));
    block[0] = static_cast<uint8_t>(3 + random_bits(i, 1, 0) % 248);
    std::vector<float> values(32);
    decode_mxfp4(block.data(), values.data());
    EXPECT_EQ(coded(DType::kMXFP4, values, std::vector<float>(32, 1.0f)), values) << i;
  }
}

TEST(BlockEncoderValues, mxfp4_clips_where_that_costs_less) {
  // One value of 6.4 among twos and threes: reaching it would double the steps of all others.
  std::vector<float> values(32);
  for (size_t i = 0; i < 32; ++i) values[i] = i % 2 == 0 ? 1.5f : 0.5f;
  values[7] = 6.4f;
  const std::vector<float> got = coded(DType::kMXFP4, values, std::vector<float>(32, 1.0f));
  EXPECT_EQ(got[0], 1.5f);
  EXPECT_EQ(got[1], 0.5f);
  EXPECT_EQ(got[7], 6.0f);
}

TEST(BlockEncoderValues, fp4_has_neighbours_in_a_byte) {
  std::vector<float> values(32, 0.0f);
  values[0] = -1.0f;
  values[1] = 1.0f;
  values[31] = 6.0f;
  const std::vector<float> even(32, 1.0f);
  std::vector<uint8_t> codes(16);
  uint8_t scale = 0;
  encode_fp4(values.data(), even.data(), codes.data(), &scale);
  EXPECT_EQ(scale, 127);  // 2^0
  EXPECT_EQ(codes[0], 0x2A);
  EXPECT_EQ(codes[15], 0x70);
}

TEST(BlockEncoderValues, iq2_xxs_keeps_most_of_the_signal) {
  const std::vector<float> values = random_values(256 * 16, 4);
  const std::vector<float> even(values.size(), 1.0f);
  const std::vector<float> zeros(values.size(), 0.0f);
  const double share = squared_error(values, coded(DType::kIQ2_XXS, values, even), even) /
                       squared_error(values, zeros, even);
  EXPECT_LT(share, 0.16);  // a quantiser of 2.06 bits; sign and mean magnitude alone give 0.36
}

TEST(BlockEncoderValues, int4_groups_keep_zero_and_find_their_zero_point) {
  for (const size_t size : {32u, 64u, 128u}) {
    std::vector<float> values = random_values(size, 5);
    for (float& value : values) value = std::abs(value) - 0.004f;  // mostly positive
    values[3] = 0;
    std::vector<uint8_t> codes(size);
    const std::vector<float> even(size, 1.0f);
    const Int4Group group = encode_int4(values, even, codes);
    EXPECT_EQ(codes[3], group.zero);
    double error = 0;
    double square = 0;
    for (size_t i = 0; i < size; ++i) {
      const double got = f16_to_float(group.scale) * (codes[i] - group.zero);
      error += (values[i] - got) * (values[i] - got);
      square += values[i] * static_cast<double>(values[i]);
    }
    EXPECT_LT(error, square * 0.02) << size;
    for (float& value : values) value = -0.01f;  // all of one sign
    const Int4Group negative = encode_int4(values, even, codes);
    EXPECT_NEAR(f16_to_float(negative.scale) * (codes[0] - negative.zero), -0.01f, 1e-5f);
  }
}

}  // namespace
}  // namespace dsv4
