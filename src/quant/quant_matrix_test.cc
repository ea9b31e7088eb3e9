#include "quant/quant_matrix.h"

#include <gtest/gtest.h>

#include <array>
#include <vector>

namespace dsv4 {
namespace {

TEST(QuantMatrix, formats_have_names_of_their_own) {
  EXPECT_EQ(weight_format_name(WeightFormat::kBF16), "BF16");
  EXPECT_EQ(weight_format_name(WeightFormat::kQ4_K), "Q4_K");
  EXPECT_EQ(weight_format_name(WeightFormat::kMXFP4), "MXFP4");
  EXPECT_EQ(weight_format_name(WeightFormat::kAwqInt4), "INT4");
  EXPECT_EQ(weight_format_name(WeightFormat::kPackedInt4), "PACKED_INT4");
}

// formats.md section 9: byte 0x2A with scale byte 127 holds -1.0 (low nibble) and +1.0.
TEST(QuantMatrix, fp4_holds_the_even_column_in_the_low_nibble) {
  std::vector<std::byte> data(32, std::byte{0x2A});
  const std::array<std::byte, 2> scales = {std::byte{127}, std::byte{129}};
  QuantMatrix matrix{.data = data.data(),
                     .scales = scales.data(),
                     .rows = 1,
                     .cols = 64,
                     .block_cols = 32,
                     .scale_cols = 2,
                     .format = WeightFormat::kFP4,
                     .scale_format = ScaleFormat::kE8M0};
  std::array<float, 64> out{};
  matrix.decode(0, 0, 64, out.data());
  EXPECT_EQ(out[0], -1.0f);
  EXPECT_EQ(out[1], 1.0f);
  EXPECT_EQ(out[31], 1.0f);
  EXPECT_EQ(out[32], -4.0f);
  matrix.decode(0, 34, 2, out.data());
  EXPECT_EQ(out[1], 4.0f);
}

TEST(QuantMatrix, fp8_scales_follow_the_stored_rows_of_a_slice) {
  std::vector<std::byte> data(6 * 4, std::byte{0x38});     // 1.0
  const std::array<float, 6> scales = {1, 2, 3, 4, 5, 6};  // blocks of 2 rows x 3 columns
  const QuantMatrix matrix{.data = data.data(),
                           .scales = reinterpret_cast<const std::byte*>(scales.data()),
                           .rows = 6,
                           .cols = 4,
                           .block_rows = 2,
                           .block_cols = 3,
                           .scale_cols = 2,
                           .format = WeightFormat::kFP8,
                           .scale_format = ScaleFormat::kF32};
  std::array<float, 4> out{};
  matrix.slice_rows(3, 3).decode(0, 0, 4, out.data());
  EXPECT_EQ(out, (std::array<float, 4>{3, 3, 3, 4}));
  matrix.slice_rows(3, 3).slice_rows(1, 2).decode(1, 2, 2, out.data());
  EXPECT_EQ(out[0], 5.0f);
  EXPECT_EQ(out[1], 6.0f);
}

}  // namespace
}  // namespace dsv4
