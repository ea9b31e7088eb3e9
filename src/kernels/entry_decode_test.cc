// The kernels decode every stored code with every scale exactly as decode_entry() does.
#include "kernels/ops_testing.h"

namespace dsv4::testing {
namespace {

constexpr int64_t kWidth = 16;  // equal values: a whole register of the fast path

// Each key is one value repeated. Two heads of the indexer, one for each sign, give 16 times the
// value, which is exact.
void expect_sums_of_equal_values(const EntryFormat& format, const std::vector<std::byte>& rows) {
  const auto n = static_cast<int64_t>(rows.size()) / format.bytes();
  std::vector<const std::byte*> keys;
  for (int64_t j = 0; j < n; ++j) keys.push_back(rows.data() + j * format.bytes());
  const std::vector<int64_t> begin = {0};
  const std::vector<int64_t> end = {n};
  const Tensor<float, 3> q({1, 2, kWidth});
  std::fill_n(q.view().data(), kWidth, 1.0f);
  std::fill_n(q.view().data() + kWidth, kWidth, -1.0f);
  const Tensor<float, 2> w({1, 2});
  w.view()(0, 0) = 1;
  w.view()(0, 1) = -1;
  const Tensor<float, 2> score({1, n});
  for (const NamedOps& build : AllOps::instance().each()) {
    build.ops.indexer_scores(q.view(), w.view(), {format, {keys, begin, end}}, Rounding::kNone,
                             score.view());
    for (int64_t j = 0; j < n; ++j) {
      float values[kWidth];
      decode_entry(format, keys[static_cast<size_t>(j)], values);
      const float expected = kWidth * values[0];
      if (std::isnan(expected) && std::isnan(score.view()(0, j))) continue;
      ASSERT_EQ(score.view()(0, j), expected) << build.name << " row " << j;
    }
  }
}

TEST(EntryDecode, every_code_of_bf16) {
  std::vector<std::byte> rows;
  for (int code = 0; code < 65536; ++code) {
    for (int64_t i = 0; i < kWidth; ++i) {
      rows.push_back(static_cast<std::byte>(code & 0xFF));
      rows.push_back(static_cast<std::byte>(code >> 8));
    }
  }
  expect_sums_of_equal_values({EntryType::kBf16, kWidth, 0}, rows);
  expect_sums_of_equal_values({EntryType::kFP8, kWidth, 0}, rows);  // rotary values only
}

TEST(EntryDecode, every_code_of_fp8_with_every_scale) {
  std::vector<std::byte> rows;
  for (int i = 0; i < 65536; ++i) {
    rows.insert(rows.end(), kWidth, static_cast<std::byte>(i & 0xFF));
    rows.push_back(static_cast<std::byte>(i >> 8));
  }
  expect_sums_of_equal_values({EntryType::kFP8, kWidth, kWidth}, rows);
}

TEST(EntryDecode, every_code_of_fp4_with_every_scale) {
  std::vector<std::byte> rows;
  for (int i = 0; i < 16 * 256; ++i) {
    rows.insert(rows.end(), kWidth / 2, static_cast<std::byte>((i & 15) * 0x11));
    rows.push_back(static_cast<std::byte>(i >> 4));
  }
  expect_sums_of_equal_values({EntryType::kFP4, kWidth, 0}, rows);
}

}  // namespace
}  // namespace dsv4::testing
