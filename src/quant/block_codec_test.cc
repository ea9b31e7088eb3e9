#include "quant/block_codec.h"

#include "quant/quant_matrix.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

namespace dsv4 {
namespace {

constexpr DType kBlockTypes[] = {DType::kQ4_0, DType::kQ4_1, DType::kQ5_0,    DType::kQ5_1,
                                 DType::kQ8_0, DType::kQ2_K, DType::kQ3_K,    DType::kQ4_K,
                                 DType::kQ5_K, DType::kQ6_K, DType::kIQ2_XXS, DType::kMXFP4};

class BlockCodec : public ::testing::TestWithParam<DType> {};

std::string type_of(const ::testing::TestParamInfo<DType>& info) {
  return std::string(dtype_name(info.param));
}
INSTANTIATE_TEST_SUITE_P(Every, BlockCodec, ::testing::ValuesIn(kBlockTypes), type_of);

// Blocks and their values by an independent decoder (tests/golden/blocks/make.py).
struct GoldenBlocks {
  std::vector<uint8_t> blocks;
  std::vector<float> values;
};

GoldenBlocks read_golden(DType type) {
  const std::string path = DSV4_SOURCE_DIR "/tests/golden/blocks/" + std::string(dtype_name(type));
  std::ifstream file(path + ".bin", std::ios::binary);
  std::vector<char> bytes(std::istreambuf_iterator<char>(file), {});
  const auto one = dtype_bytes(type) + static_cast<size_t>(dtype_block(type)) * sizeof(float);
  const size_t n_blocks = bytes.size() / one;
  GoldenBlocks golden;
  golden.blocks.assign(bytes.begin(),
                       bytes.begin() + static_cast<long>(n_blocks * dtype_bytes(type)));
  golden.values.resize(n_blocks * static_cast<size_t>(dtype_block(type)));
  std::memcpy(golden.values.data(), bytes.data() + golden.blocks.size(),
              golden.values.size() * sizeof(float));
  return golden;
}

TEST_P(BlockCodec, decodes_as_an_independent_reader_does) {
  const GoldenBlocks golden = read_golden(GetParam());
  const auto block = static_cast<size_t>(dtype_block(GetParam()));
  ASSERT_EQ(golden.values.size(), 12 * block);
  for (size_t b = 0; b < 12; ++b) {
    std::vector<float> values(block);
    block_decoder(GetParam())(&golden.blocks[b * dtype_bytes(GetParam())], values.data());
    for (size_t i = 0; i < block; ++i) {
      ASSERT_EQ(values[i], golden.values[b * block + i]) << "block " << b << " value " << i;
    }
  }
}

TEST_P(BlockCodec, decodes_any_part_of_a_row) {
  const GoldenBlocks golden = read_golden(GetParam());
  const int64_t cols = dtype_block(GetParam()) * 6;
  const QuantMatrix w{.data = reinterpret_cast<const std::byte*>(golden.blocks.data()),
                      .rows = 2,
                      .cols = cols,
                      .format = weight_format(GetParam()).value()};
  EXPECT_EQ(block_type(w.format), GetParam());
  for (int64_t begin = 0; begin < cols; begin += 37) {
    for (const int64_t count : {int64_t{0}, int64_t{1}, int64_t{30}, cols}) {
      const int64_t n = std::min(count, cols - begin);
      std::vector<float> part(static_cast<size_t>(n));
      w.slice_rows(1, 1).decode(0, begin, n, part.data());
      for (int64_t i = 0; i < n; ++i) {
        ASSERT_EQ(part[static_cast<size_t>(i)],
                  golden.values[static_cast<size_t>(cols + begin + i)]);
      }
    }
  }
}

TEST(BlockCodecValues, q8_0_has_minus_128_and_scales_that_are_not_finite) {
  std::vector<uint8_t> block(34, 0x80);
  float values[32];
  block[0] = 0x00, block[1] = 0x3C;  // 1.0
  decode_q8_0(block.data(), values);
  EXPECT_EQ(values[31], -128);
  block[1] = 0x7C;  // infinity
  decode_q8_0(block.data(), values);
  EXPECT_EQ(values[0], -INFINITY);
  block[1] = 0x7E;  // NaN
  decode_q8_0(block.data(), values);
  EXPECT_TRUE(std::isnan(values[0]));
}

// W = (q - z) * s by hand: two inputs in groups of one, eight outputs in AWQ's order of nibbles.
TEST(Int4, awq_orders_nibbles_and_subtracts_zero_points) {
  const uint32_t data[] = {0x76543210, 0xFEDCBA98};
  const uint32_t zeros[] = {0x11111111, 0x00000008};
  std::vector<uint16_t> scales(16, 0x3C00);
  scales[8 + 3] = 0x4000;  // 2.0 for input 1, output 3
  const QuantMatrix w{.data = reinterpret_cast<const std::byte*>(data),
                      .scales = reinterpret_cast<const std::byte*>(scales.data()),
                      .zeros = reinterpret_cast<const std::byte*>(zeros),
                      .rows = 8,
                      .cols = 2,
                      .block_cols = 1,
                      .scale_cols = 8,
                      .format = WeightFormat::kAwqInt4,
                      .scale_format = ScaleFormat::kF16};
  // Output j is in nibble 0, 4, 1, 5, 2, 6, 3, 7.
  const float first[] = {-1, 3, 0, 4, 1, 5, 2, 6};
  const float second[] = {0, 12, 9, 26, 10, 14, 11, 15};
  for (int64_t row = 0; row < 8; ++row) {
    float values[2];
    w.decode(row, 0, 2, values);
    EXPECT_EQ(values[0], first[row]) << row;
    EXPECT_EQ(values[1], second[row]) << row;
    w.slice_rows(row, 1).decode(0, 1, 1, values);
    EXPECT_EQ(values[0], second[row]) << row;
  }
}

TEST(Int4, compressed_tensors_packs_along_the_columns) {
  const uint32_t data[] = {0x76543210, 0x0000000F, 0x88888888, 0x00000009};
  const uint32_t zeros[] = {0x00000071};  // of rows 0 and 1
  const float scales[] = {1, 10};
  QuantMatrix w{.data = reinterpret_cast<const std::byte*>(data),
                .scales = reinterpret_cast<const std::byte*>(scales),
                .rows = 2,
                .cols = 9,
                .block_cols = 9,
                .scale_cols = 1,
                .format = WeightFormat::kPackedInt4,
                .scale_format = ScaleFormat::kF32};
  float values[9];
  w.decode(0, 0, 9, values);
  EXPECT_EQ(values[0], -8);
  EXPECT_EQ(values[7], -1);
  EXPECT_EQ(values[8], 7);
  w.decode(1, 8, 1, values);
  EXPECT_EQ(values[0], 10);
  w.zeros = reinterpret_cast<const std::byte*>(zeros);
  w.slice_rows(1, 1).decode(0, 0, 9, values);
  EXPECT_EQ(values[0], 10);
  EXPECT_EQ(values[8], 20);
}

}  // namespace
}  // namespace dsv4
