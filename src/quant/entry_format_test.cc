// The codec of stored entries against the round trips that define its rounding, and against bytes
// worked out by hand.
#include "quant/entry_format.h"

#include "base/rng.h"
#include "quant/float_formats.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

namespace dsv4 {
namespace {

constexpr EntryType kTypes[] = {EntryType::kF32, EntryType::kBf16, EntryType::kFP8,
                                EntryType::kFP4};

std::vector<std::byte> encoded(const EntryFormat& format, const std::vector<float>& values) {
  constexpr std::byte kUntouched{0xA5};
  std::vector<std::byte> row(static_cast<size_t>(format.bytes()) + 1, kUntouched);
  encode_entry(format, values.data(), row.data());
  EXPECT_EQ(row.back(), kUntouched);
  row.pop_back();
  return row;
}

std::vector<float> decoded(const EntryFormat& format, const std::vector<std::byte>& row) {
  std::vector<float> values(static_cast<size_t>(format.width) + 1, -77.0f);
  decode_entry(format, row.data(), values.data());
  EXPECT_EQ(values.back(), -77.0f);
  values.pop_back();
  return values;
}

std::vector<float> random_values(uint64_t seed, int64_t n) {
  std::vector<float> values;
  for (int64_t i = 0; i < n; ++i) {
    const double x = random_uniform(seed, 1, static_cast<uint64_t>(i)) * 2 - 1;
    values.push_back(static_cast<float>(x * std::pow(10.0, static_cast<double>(seed % 7) - 3)));
  }
  return values;
}

// What an entry becomes by the simulated storage of official numerics, where it was BF16 before.
std::vector<float> round_trip(const EntryFormat& format, std::vector<float> values) {
  if (format.type != EntryType::kF32) {
    for (float& value : values) value = round_to_bf16(value);
  }
  if (format.type == EntryType::kFP8) fp8_round_trip(values.data(), format.n_fp8, 64);
  if (format.type == EntryType::kFP4) fp4_round_trip(values.data(), format.width);
  return values;
}

TEST(EntryFormat, has_the_published_sizes_for_flash) {
  EXPECT_EQ(entry_format(KvStorage::kNative, 512, 64).bytes(), 448 + 7 + 128);
  EXPECT_EQ(entry_format(KvStorage::kBf16, 512, 64).bytes(), 1024);
  EXPECT_EQ(entry_format(KvStorage::kF32, 512, 64).bytes(), 2048);
  EXPECT_EQ(index_key_format(KvStorage::kNative, 128).bytes(), 64 + 4);
  EXPECT_EQ(index_key_format(KvStorage::kBf16, 128).bytes(), 256);
  EXPECT_EQ(index_key_format(KvStorage::kF32, 128).bytes(), 512);
}

TEST(EntryFormat, rounds_as_the_round_trips_do) {
  for (const EntryType type : kTypes) {
    for (const int64_t width : {1, 2, 31, 32, 33, 63, 64, 65, 96, 128, 129, 512}) {
      for (const int64_t n_fp8 : {int64_t{0}, width / 3, width}) {
        const EntryFormat format{type, width, type == EntryType::kFP8 ? n_fp8 : 0};
        for (uint64_t seed = 1; seed <= 14; ++seed) {
          std::vector<float> values = random_values(seed, width);
          if (seed == 14) values.assign(values.size(), 0.0f);
          const std::vector<float> back = decoded(format, encoded(format, values));
          EXPECT_EQ(back, round_trip(format, values)) << "width " << width << " seed " << seed;
          EXPECT_EQ(decoded(format, encoded(format, back)), back) << "not stable";
        }
      }
    }
  }
}

// Values that are not finite stay so; the other blocks do not notice. FP4 has no NaN: one becomes
// the largest code, and an infinity makes its block NaN.
TEST(EntryFormat, keeps_what_is_not_finite_in_its_block) {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  const EntryFormat fp8{EntryType::kFP8, 200, 130};
  std::vector<float> values(200, 1.0f);
  values[3] = NAN;
  values[70] = -kInf;
  values[140] = kInf;
  values[150] = NAN;
  std::vector<float> back = decoded(fp8, encoded(fp8, values));
  EXPECT_TRUE(std::isnan(back[3]));
  EXPECT_EQ(back[4], 1);
  for (size_t i = 64; i < 128; ++i) EXPECT_TRUE(std::isnan(back[i])) << i;
  EXPECT_EQ(back[129], 1);
  EXPECT_EQ(back[140], kInf);
  EXPECT_TRUE(std::isnan(back[150]));
  const EntryFormat fp4{EntryType::kFP4, 70, 0};
  back = decoded(fp4, encoded(fp4, std::vector<float>(values.begin(), values.begin() + 70)));
  EXPECT_EQ(back[3], 1.5f);  // the block's scale is 1/4
  EXPECT_EQ(back[4], 1);
  values[40] = kInf;
  back = decoded(fp4, encoded(fp4, std::vector<float>(values.begin(), values.begin() + 70)));
  for (size_t i = 32; i < 64; ++i) EXPECT_TRUE(std::isnan(back[i])) << i;
  EXPECT_EQ(back[64], 1);
}

TEST(EntryFormat, has_the_documented_bytes) {
  // 1.5 of 448 fits into a scale of 2^-8: codes of 384 and -24, then BF16 of 2 and -1.
  const EntryFormat fp8{EntryType::kFP8, 4, 2};
  const std::vector<std::byte> row = encoded(fp8, {1.5f, -0.09375f, 2, -1});
  const auto bytes = [](std::initializer_list<int> list) {
    std::vector<std::byte> result;
    for (const int value : list) result.push_back(static_cast<std::byte>(value));
    return result;
  };
  EXPECT_EQ(row, bytes({0x7C, 0xDC, 127 - 8, 0x00, 0x40, 0x80, 0xBF}));
  // 12 of 6 is a scale of 2: codes of 6, -1 and 0.5.
  EXPECT_EQ(encoded({EntryType::kFP4, 3, 0}, {12, -2, 1}), bytes({0xA7, 0x01, 128}));
  EXPECT_EQ(encoded({EntryType::kBf16, 2, 0}, {1, -2}), bytes({0x80, 0x3F, 0x00, 0xC0}));
  EXPECT_EQ(encoded({EntryType::kF32, 1, 0}, {1}), bytes({0, 0, 0x80, 0x3F}));
}

// Decoding knows every byte, as code and as scale.
TEST(EntryFormat, decodes_every_code_with_every_scale) {
  const auto same = [](float a, float b) { return a == b || (std::isnan(a) && std::isnan(b)); };
  for (int scale = 0; scale < 256; ++scale) {
    const float factor = e8m0_to_float(static_cast<uint8_t>(scale));
    for (int code = 0; code < 256; ++code) {
      const auto byte = static_cast<std::byte>(code);
      const auto last = static_cast<std::byte>(scale);
      const std::vector<float> fp8 = decoded({EntryType::kFP8, 1, 1}, {byte, last});
      ASSERT_TRUE(same(fp8[0], e4m3_to_float(static_cast<uint8_t>(code)) * factor)) << code;
      const std::vector<float> fp4 = decoded({EntryType::kFP4, 2, 0}, {byte, last});
      ASSERT_TRUE(same(fp4[0], kE2m1Values[code & 15] * factor)) << code;
      ASSERT_TRUE(same(fp4[1], kE2m1Values[code >> 4] * factor)) << code;
    }
  }
}

TEST(EntryFormat, storages_have_names) {
  EXPECT_EQ(kv_storage_name(KvStorage::kNative), "native");
  EXPECT_EQ(kv_storage_name(KvStorage::kBf16), "bf16");
  EXPECT_EQ(kv_storage_name(KvStorage::kF32), "f32");
}

}  // namespace
}  // namespace dsv4
