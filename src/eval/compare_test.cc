#include "eval/compare.h"

#include "base/error.h"
#include "quant/float_formats.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include <fmt/core.h>
#include <gtest/gtest.h>
#include <unistd.h>

namespace dsv4 {
namespace {

namespace fs = std::filesystem;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
const float kNan = std::numeric_limits<float>::quiet_NaN();

struct Values {
  std::string name;
  DType dtype;
  std::vector<int64_t> shape;
  std::vector<std::byte> bytes;
};

template <typename T>
Values values(const std::string& name, DType dtype, const std::vector<int64_t>& shape,
              const std::vector<T>& data) {
  const auto bytes = std::as_bytes(std::span(data));
  return {name, dtype, shape, {bytes.begin(), bytes.end()}};
}

Values floats(const std::string& name, const std::vector<int64_t>& shape,
              const std::vector<float>& data) {
  return values(name, DType::kF32, shape, data);
}

Values ints(const std::string& name, const std::vector<int64_t>& shape,
            const std::vector<int32_t>& data) {
  return values(name, DType::kI32, shape, data);
}

class CompareTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / fmt::format("dsv4-compare-{}", ::getpid());
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  Checkpoint file(const std::string& name, const std::vector<Values>& tensors) const {
    std::vector<SafetensorsWriter::Declaration> declarations;
    for (const Values& tensor : tensors) {
      declarations.push_back({tensor.name, tensor.dtype, tensor.shape});
    }
    SafetensorsWriter writer(folder_ / name, declarations);
    for (const Values& tensor : tensors) writer.append(tensor.bytes);
    writer.finish();
    return Checkpoint::open(folder_ / name);
  }

  Comparison compare_files(const std::vector<Values>& a, const std::vector<Values>& b,
                           const CompareOptions& options = {}) const {
    return compare(file("a.safetensors", a), file("b.safetensors", b), options);
  }

  TensorDifference compare_one(const Values& a, const Values& b) const {
    const Comparison result = compare_files({a}, {b});
    EXPECT_EQ(result.tensors.size(), 1u);
    return result.tensors.at(0);
  }

  fs::path folder_;
};

TEST_F(CompareTest, measures_floats) {
  const TensorDifference d =
      compare_one(floats("x", {2, 2}, {1, -4, 2, 0}), floats("x", {2, 2}, {1, -4, 2.5f, -1}));
  EXPECT_TRUE(d.is_float);
  EXPECT_EQ(d.n_elements, 4);
  EXPECT_EQ(d.n_different, 2);
  EXPECT_DOUBLE_EQ(d.max_abs, 1);
  EXPECT_DOUBLE_EQ(d.rms, std::sqrt(1.25 / 4));
  EXPECT_DOUBLE_EQ(d.relative, 0.25);
  EXPECT_FALSE(d.logits.has_value());
  EXPECT_FALSE(d.exceeds(1));
  EXPECT_TRUE(d.exceeds(0.999));
}

TEST_F(CompareTest, equal_files_agree_with_tolerance_zero) {
  const std::vector<Values> all = {floats("x", {2}, {1, kNan}), floats("m", {2}, {-kInfinity, 3}),
                                   floats("none", {0, 3}, {}), floats("scalar", {}, {5}),
                                   ints("i", {2}, {3, 4})};
  const Comparison result = compare_files(all, all);
  EXPECT_EQ(result.tensors.size(), 5u);
  EXPECT_EQ(result.first_different(), nullptr);
  EXPECT_TRUE(result.agrees(0));
}

TEST_F(CompareTest, converts_between_float_types) {
  const std::vector<uint16_t> bf16 = {float_to_bf16(1.5f), float_to_bf16(-3)};
  EXPECT_EQ(
      compare_one(floats("x", {2}, {1.5f, -3}), values("x", DType::kBF16, {2}, bf16)).n_different,
      0);
  const std::vector<uint8_t> fp8 = {float_to_e4m3(1.5f), float_to_e4m3(-3)};
  EXPECT_EQ(
      compare_one(floats("x", {2}, {1.5f, -3}), values("x", DType::kF8E4M3, {2}, fp8)).n_different,
      0);
  const std::vector<uint16_t> f16 = {0x3E00, 0xC200};
  EXPECT_EQ(
      compare_one(floats("x", {2}, {1.5f, -3}), values("x", DType::kF16, {2}, f16)).n_different, 0);
  EXPECT_EQ(compare_one(ints("x", {2}, {7, -3}),
                        values("x", DType::kI64, {2}, std::vector<int64_t>{7, -3}))
                .n_different,
            0);
  EXPECT_NE(compare_one(floats("x", {1}, {1}), ints("x", {1}, {1})).problem, "");
}

TEST_F(CompareTest, a_nan_or_infinity_on_one_side_exceeds_every_tolerance) {
  for (const float odd : {kNan, kInfinity}) {
    for (const bool swap : {false, true}) {
      std::vector<float> a = {1, 2, 3};
      std::vector<float> b = {1, odd, 3};
      if (swap) std::swap(a, b);
      const TensorDifference d = compare_one(floats("x", {3}, a), floats("x", {3}, b));
      EXPECT_TRUE(d.exceeds(1e30));
      EXPECT_EQ(d.n_different, 1);
    }
  }
}

TEST_F(CompareTest, masked_entries_are_left_out) {
  const TensorDifference d =
      compare_one(floats("x", {4}, {1, 9, -kInfinity, 2}), floats("x", {4}, {1, -kInfinity, 7, 2}));
  EXPECT_EQ(d.n_elements, 2);
  EXPECT_FALSE(d.differs());
}

TEST_F(CompareTest, counts_different_integers) {
  const TensorDifference d =
      compare_one(ints("argmax", {2, 2}, {1, 2, 3, 4}), ints("argmax", {2, 2}, {1, 2, 4, 3}));
  EXPECT_FALSE(d.is_float);
  EXPECT_EQ(d.n_different, 2);
  EXPECT_TRUE(d.exceeds(100));
}

TEST_F(CompareTest, compares_sets_without_order_but_row_by_row) {
  EXPECT_EQ(compare_one(ints("layers.1.ffn.router.ids", {2, 2}, {1, 2, 3, 4}),
                        ints("layers.1.ffn.router.ids", {2, 2}, {2, 1, 4, 3}))
                .n_different,
            0);
  EXPECT_EQ(compare_one(ints("layers.1.indexer.topk", {2, 2}, {1, 2, 3, 4}),
                        ints("layers.1.indexer.topk", {2, 2}, {3, 4, 1, 2}))
                .n_different,
            4);
  EXPECT_EQ(compare_one(floats("layers.1.ffn.router.weights", {1, 3}, {0.5f, 0.2f, kNan}),
                        floats("layers.1.ffn.router.weights", {1, 3}, {0.2f, kNan, 0.5f}))
                .n_different,
            0);
}

TEST_F(CompareTest, measures_logits_as_distributions) {
  // Rows of two equally likely tokens against odds of 3 to 1, and a row that is only shifted.
  const float third = std::log(3.0f);
  const TensorDifference d = compare_one(floats("my_logits", {2, 2}, {0, 0, 1, 2}),
                                         floats("my_logits", {2, 2}, {0, third, 6, 7}));
  ASSERT_TRUE(d.logits.has_value());
  const double kl = 0.5 * std::log(0.5 / 0.25) + 0.5 * std::log(0.5 / 0.75);
  EXPECT_NEAR(d.logits->max_kl, kl, 1e-7);
  EXPECT_NEAR(d.logits->mean_kl, kl / 2, 1e-7);
  EXPECT_EQ(d.logits->n_rows, 2);
  EXPECT_EQ(d.logits->n_same_top1, 1);
}

TEST_F(CompareTest, the_last_rows_of_the_longer_are_compared_or_the_first_of_expert_stages) {
  const Values all = floats("x", {3, 2}, {0, 0, 1, 2, 3, 4});
  EXPECT_EQ(compare_one(floats("x", {2, 2}, {1, 2, 3, 4}), all).n_different, 0);
  EXPECT_EQ(compare_one(all, floats("x", {2}, {3, 4})).n_different, 0);
  EXPECT_EQ(compare_one(all, floats("x", {2}, {3, 5})).n_different, 1);
  EXPECT_EQ(compare_one(all, floats("x", {2}, {3, 5})).n_elements, 2);
  EXPECT_EQ(compare_one(floats("layers.0.ffn.routed", {3, 2}, {5, 6, 1, 2, 3, 4}),
                        floats("layers.0.ffn.routed", {2}, {5, 6}))
                .n_different,
            0);
  EXPECT_NE(compare_one(all, floats("x", {2, 3}, {0, 0, 1, 2, 3, 4})).problem, "");
  EXPECT_NE(compare_one(all, floats("x", {}, {4})).problem, "");
  EXPECT_NE(compare_one(all, floats("x", {1, 1, 2}, {3, 4})).problem, "");
}

TEST_F(CompareTest, lists_what_is_missing_and_maps_names) {
  const std::vector<Values> a = {floats("trace.p1.h0", {1}, {1}), floats("trace.p1.gone", {1}, {1}),
                                 floats("trace.p2.h0", {1}, {5}),
                                 floats("trace.p1.last", {1}, {2})};
  const std::vector<Values> b = {floats("h0", {1}, {1}), floats("logits", {1}, {2}),
                                 floats("more", {1}, {2})};
  CompareOptions options{.prefix_a = "trace.p1.", .prefix_b = "", .renamed = {{"last", "logits"}}};
  const Comparison result = compare_files(a, b, options);
  EXPECT_EQ(result.tensors.size(), 2u);
  EXPECT_EQ(result.first_different(), nullptr);
  EXPECT_EQ(result.only_in_a, std::vector<std::string>{"gone"});
  EXPECT_EQ(result.only_in_b, std::vector<std::string>{"more"});
  EXPECT_FALSE(result.agrees(1));
  options.renamed = {{"last", "absent"}};
  EXPECT_THROW(compare_files(a, b, options), Error);
  options.renamed = {{"absent", "logits"}};
  EXPECT_THROW(compare_files(a, b, options), Error);
}

TEST_F(CompareTest, names_the_first_stage_of_the_forward_pass_that_differs) {
  std::vector<Values> a;
  for (const char* name :
       {"logits", "layers.10.attn.in", "layers.2.ffn.in", "layers.2.attn.out", "h0", "mtp.0.h0"}) {
    a.push_back(floats(name, {1, 2}, {1, 2}));
  }
  std::vector<Values> b = a;
  const std::vector<float> slightly = {1, 2.0000002f};
  const std::vector<float> more = {1, 3};
  b[2] = floats("layers.2.ffn.in", {1, 2}, slightly);
  b[1] = floats("layers.10.attn.in", {1, 2}, more);
  b[5] = floats("mtp.0.h0", {1, 2}, more);
  const Comparison result = compare_files(a, b);
  EXPECT_EQ(result.first_different()->name, "layers.2.ffn.in");
  EXPECT_EQ(result.first_beyond(1e-4)->name, "layers.10.attn.in");
  EXPECT_EQ(result.first_beyond(10), nullptr);
}

TEST(ForwardOrder, follows_the_computation) {
  const std::vector<std::string> order = {"h0",
                                          "layers.0.hc_attn.pre",
                                          "layers.0.attn.in",
                                          "layers.0.attn.q",
                                          "layers.0.indexer.score",
                                          "layers.0.indexer.topk",
                                          "layers.0.attn.out",
                                          "layers.0.h_attn",
                                          "layers.0.hc_ffn.pre",
                                          "layers.0.ffn.out",
                                          "layers.0.h_ffn",
                                          "layers.2.hc_attn.pre",
                                          "layers.10.hc_attn.pre",
                                          "head.hc_out",
                                          "head.norm_out",
                                          "logits",
                                          "mtp.0.h0",
                                          "mtp.0.attn.q",
                                          "mtp.0.head.norm_out",
                                          "mtp_logits",
                                          "something"};
  std::vector<std::string> shuffled(order.rbegin(), order.rend());
  std::ranges::stable_sort(shuffled, {}, [](const auto& name) { return forward_order(name); });
  EXPECT_EQ(shuffled, order);
}

}  // namespace
}  // namespace dsv4
