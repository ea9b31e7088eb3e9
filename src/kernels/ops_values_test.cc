// Operations on inputs whose results are known by hand, for the reference and every instruction
// set. Section numbers are those of the specification of the architecture.
#include "kernels/int8_buffer.h"
#include "kernels/ops_testing.h"
#include "quant/float_formats.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace dsv4::testing {
namespace {

// Writes rows of numbers into a matrix that lives as long as the test.
class OpsValues : public ::testing::Test {
 protected:
  using Rows = std::initializer_list<std::initializer_list<float>>;

  Matrix<float> matrix(Rows rows) {
    const auto n = static_cast<int64_t>(rows.size());
    const auto d = static_cast<int64_t>(rows.begin()->size());
    const Matrix<float> m = kept_.emplace_back(Tensor<float, 2>({n, d})).view();
    int64_t t = 0;
    for (const auto& row : rows) std::copy(row.begin(), row.end(), &m(t++, 0));
    return m;
  }
  Matrix<float> constant(int64_t rows, int64_t cols, float value) {
    const Matrix<float> m = kept_.emplace_back(Tensor<float, 2>({rows, cols})).view();
    std::fill_n(m.data(), m.count(), value);
    return m;
  }

  template <typename Test>
  void for_each_build(const Test& test) {
    for (const NamedOps& build : AllOps::instance().each()) {
      SCOPED_TRACE(build.name);
      test(build.ops);
    }
  }

 private:
  std::deque<Tensor<float, 2>> kept_;
};

void expect_row(Matrix<const float> m, int64_t row, std::vector<double> expected, double error) {
  ASSERT_EQ(m.size(1), static_cast<int64_t>(expected.size()));
  for (int64_t i = 0; i < m.size(1); ++i) {
    EXPECT_NEAR(m(row, i), expected[static_cast<size_t>(i)], error) << "row " << row << " at " << i;
  }
}

TEST_F(OpsValues, linear_multiplies_rows_of_the_weight) {
  const Matrix<float> weight = matrix({{1, 2}, {3, 4}, {5, 6}});
  const QuantMatrix w{
      .data = reinterpret_cast<const std::byte*>(weight.data()), .rows = 3, .cols = 2};
  for_each_build([&](Ops& ops) {
    const Matrix<float> y = constant(2, 3, -1);
    ops.linear(matrix({{1, -1}, {10, 1}}), w, y);
    expect_row(y, 0, {-1, -1, -1}, 0);
    expect_row(y, 1, {12, 34, 56}, 0);
  });
}

TEST_F(OpsValues, linear_of_no_columns_is_zero) {
  const QuantMatrix w{.rows = 3, .cols = 0};
  for_each_build([&](Ops& ops) {
    const Matrix<float> y = constant(5, 3, -1);
    ops.linear(constant(5, 0, 0), w, y);
    for (int64_t t = 0; t < 5; ++t) expect_row(y, t, {0, 0, 0}, 0);
  });
}

// 40 rows of 256 ones times an E8M0 scale: FP8, FP4 or MXFP4.
struct Ones {
  static constexpr int64_t kRows = 40;
  static constexpr int64_t kCols = 256;
  std::vector<std::byte> data;
  std::vector<std::byte> scales;
  QuantMatrix w;

  Ones(WeightFormat format, std::byte scale)
      : scales(kRows * kCols / 32, scale), w{.rows = kRows, .cols = kCols, .format = format} {
    const bool fp8 = format == WeightFormat::kFP8;
    data.assign(static_cast<size_t>(kRows * w.row_bytes()),
                fp8 ? std::byte{0x38} : std::byte{0x22});
    if (format == WeightFormat::kMXFP4) {
      for (size_t i = 0; i < data.size(); i += 17) data[i] = scale;
    } else {
      w.scales = scales.data();
      w.scale_format = ScaleFormat::kE8M0;
      w.block_cols = 32;
      w.scale_cols = kCols / 32;
    }
    w.data = data.data();
  }
};

TEST_F(OpsValues, powers_of_two_scale_weights_up_to_their_limit) {
  for (const WeightFormat format : {WeightFormat::kFP4, WeightFormat::kFP8, WeightFormat::kMXFP4}) {
    for (const int code : {0, 1, 64, 127, 226, 227, 228, 254, 255}) {
      SCOPED_TRACE(code);
      const Ones ones(format, static_cast<std::byte>(code));
      for (const int64_t n : {1, 2, 5, 12, 20}) {
        const Matrix<float> x = constant(n, Ones::kCols, 127);
        const Matrix<float> y = constant(n, Ones::kRows, -1);
        for_each_build([&](Ops& ops) {
          Int8Buffer buffer(n, Ones::kCols);
          const Int8Rows rows = buffer.rows(n, Ones::kCols, int8_order(ones.w).value());
          ops.quantize_int8(x, rows);
          ops.linear_int8(rows, ones.w, y);
          for (int64_t i = 0; i < y.count(); ++i) {
            const float sum = y.data()[i];
            if (code > 227) {
              ASSERT_TRUE(std::isnan(sum)) << sum;
            } else {
              ASSERT_EQ(sum, std::ldexp(127.0f * 256, code - 127));
            }
          }
        });
      }
    }
  }
}

TEST_F(OpsValues, norms_divide_by_the_root_mean_square) {
  const std::vector<float> weight = {2, 10};
  for_each_build([&](Ops& ops) {
    const Matrix<float> y = constant(1, 2, 0);
    ops.rms_norm(matrix({{1, 7}}), weight, 0, y);
    expect_row(y, 0, {2 * 0.2, 10 * 1.4}, 1e-6);
    ops.rms_norm(matrix({{1, 1}}), {}, 3, y);  // mean 1 plus eps 3
    expect_row(y, 0, {0.5, 0.5}, 1e-7);
    const Matrix<float> scaled = matrix({{3, -8, 0}});
    ops.scale_by_rms(matrix({{2, 2}}), 0, scaled);
    expect_row(scaled, 0, {1.5, -4, 0}, 1e-6);
    const Matrix<float> head = matrix({{1, 7}});
    ops.head_norm(head, 0, Rounding::kNone);
    expect_row(head, 0, {0.2, 1.4}, 1e-6);
  });
}

// Each step rounds to 8 bits: squares 1.0078125^2 -> 1.015625 and 4, mean 2.5078125 -> 2.5,
// 1 / sqrt(2.5) = 0.63246 -> 0.6328125.
TEST_F(OpsValues, head_norm_rounds_every_step) {
  for_each_build([&](Ops& ops) {
    const Matrix<float> x = matrix({{1.0078125f, 2}});
    ops.head_norm(x, 0, Rounding::kBf16);
    expect_row(x, 0, {0.63671875, 1.265625}, 0);  // 0.637756 -> 0.63671875
  });
}

// Section 13: m = 0 and base = 0 give C = 1/4, pre = 1/2 + eps, post = 1.
TEST_F(OpsValues, hyper_connection_maps_of_zero_are_uniform) {
  const std::vector<float> base(24, 0.0f);
  const std::vector<float> scale = {3, 5, 7};
  for_each_build([&](Ops& ops) {
    const Matrix<float> pre = constant(2, 4, -1);
    const Matrix<float> post = constant(2, 4, -1);
    const Tensor<float, 3> mix({2, 4, 4});
    ops.hyper_connection_maps(constant(2, 24, 0), {base, scale, 1e-6f, 20}, pre, post, mix.view());
    for (int64_t t = 0; t < 2; ++t) {
      expect_row(pre, t, {0.500001, 0.500001, 0.500001, 0.500001}, 1e-7);
      expect_row(post, t, {1, 1, 1, 1}, 0);
    }
    for (int64_t i = 0; i < 32; ++i) EXPECT_NEAR(mix.view().data()[i], 0.25, 2e-6);
  });
}

// One iteration: softmax of rows {1/4, 3/4}, {1/2, 1/2}; then columns divided by 3/4 and 5/4. The
// maps take their parts of m in the order pre, post, mix, each with its scale.
TEST_F(OpsValues, hyper_connection_maps_start_with_rows_and_end_with_columns) {
  const std::vector<float> base = {0, 0, 0, 0, 0, 0, 0, 0};
  const std::vector<float> scale = {2, 3, 4};
  const float log3 = std::log(3.0f);
  for_each_build([&](Ops& ops) {
    const Matrix<float> pre = constant(1, 2, -1);
    const Matrix<float> post = constant(1, 2, -1);
    const Tensor<float, 3> mix({1, 2, 2});
    const Matrix<float> m = matrix({{log3 / 2, 0, log3 / 3, 0, 0, log3 / 4, 0, 0}});
    ops.hyper_connection_maps(m, {base, scale, 0, 1}, pre, post, mix.view());
    expect_row(pre, 0, {0.75, 0.5}, 1e-6);
    expect_row(post, 0, {1.5, 1}, 1e-6);
    expect_row(mix.view().reshape<2>({1, 4}), 0, {1.0 / 3, 0.6, 2.0 / 3, 0.4}, 1e-6);

    // Many iterations: rows and columns sum to one, and the cross ratio 1/3 is kept.
    ops.hyper_connection_maps(m, {base, scale, 0, 60}, pre, post, mix.view());
    const float* c = mix.view().data();
    EXPECT_NEAR(c[0] + c[1], 1, 1e-6);
    EXPECT_NEAR(c[0] + c[2], 1, 1e-6);
    EXPECT_NEAR(c[0] * c[3] / (c[1] * c[2]), 1.0 / 3, 1e-6);
  });
}

TEST_F(OpsValues, hyper_connection_maps_survive_extreme_logits) {
  std::vector<float> base(24, 0.0f);
  base[0] = -1000;
  base[4] = 1000;
  for (size_t i = 0; i < 16; ++i) base[8 + i] = i % 5 == 0 ? 1000 : -1000;  // the diagonal
  const std::vector<float> scale = {1, 1, 1};
  for_each_build([&](Ops& ops) {
    const Matrix<float> pre = constant(1, 4, -1);
    const Matrix<float> post = constant(1, 4, -1);
    const Tensor<float, 3> mix({1, 4, 4});
    ops.hyper_connection_maps(constant(1, 24, 0), {base, scale, 1e-6f, 20}, pre, post, mix.view());
    EXPECT_FLOAT_EQ(pre(0, 0), 1e-6f);
    EXPECT_EQ(post(0, 0), 2);
    for (int64_t i = 0; i < 16; ++i) {
      EXPECT_NEAR(mix.view().data()[i], i % 5 == 0 ? 1 : 0, 1e-5) << i;
    }
  });
}

TEST_F(OpsValues, collapse_and_expand_go_from_and_to_the_right_streams) {
  // mix[i, j] sends source stream i to stream j: here 0 -> 1, 1 -> 0, doubled.
  const View<const float, 3> mix = Inputs::as_heads(matrix({{0, 2, 2, 0}}), 2, 2);
  for_each_build([&](Ops& ops) {
    const Matrix<float> values = matrix({{1, 2, 3, 10, 20, 30}});
    const View<float, 3> streams = Inputs::as_heads(values, 2, 3);
    const Matrix<float> x = constant(1, 3, -1);
    ops.collapse(streams, matrix({{5, 0.5f}}), x);
    expect_row(x, 0, {10, 20, 30}, 0);
    ops.expand(matrix({{100, 200, 300}}), matrix({{1, -1}}), mix, streams);
    expect_row(values, 0, {120, 240, 360, -98, -196, -294}, 0);
  });
}

TEST_F(OpsValues, rope_turns_neighbours_at_the_end_of_each_head) {
  const RopeAngles angles{matrix({{0.6f, 0}}), matrix({{0.8f, 1}})};
  for_each_build([&](Ops& ops) {
    const Matrix<float> values = matrix({{7, 1, 0, 3, 5, 9, 0, 1, 3, 5}});
    const View<float, 3> x = Inputs::as_heads(values, 2, 5);
    ops.rope(x, angles, Rotation::kForward);
    expect_row(values, 0, {7, 0.6, 0.8, -5, 3, 9, -0.8, 0.6, -5, 3}, 1e-6);
    ops.rope(x, angles, Rotation::kInverse);
    expect_row(values, 0, {7, 1, 0, 3, 5, 9, 0, 1, 3, 5}, 1e-6);
  });
}

TEST_F(OpsValues, pool_slots_takes_a_softmax_for_each_channel) {
  const Matrix<float> values = matrix({{1, 10, 100}, {3, 30, 300}});
  const Matrix<float> scores = matrix({{5, -200, std::log(3.0f)}, {5, 200, 0}});
  const std::vector<const float*> u = {&values(0, 0), &values(1, 0)};
  const std::vector<const float*> g = {&scores(0, 0), &scores(1, 0)};
  const std::vector<int64_t> begin = {0, 1};
  const std::vector<int64_t> end = {2, 2};
  for_each_build([&](Ops& ops) {
    const Matrix<float> out = constant(2, 3, -1);
    ops.pool_slots({u, begin, end}, {g, begin, end}, out);
    expect_row(out, 0, {2, 30, 150}, 1e-4);
    expect_row(out, 1, {3, 30, 300}, 0);  // a single slot is its value
  });
}

// Section 13: the transform of e_0 is 2^-3.5 everywhere; that of e_5 has signs (-1)^popcount(i &
// 5).
TEST_F(OpsValues, hadamard_transforms_unit_vectors) {
  for_each_build([&](Ops& ops) {
    const Matrix<float> x = constant(2, 128, 0);
    x(0, 0) = 1;
    x(1, 5) = 1;
    ops.hadamard(x);
    const double value = std::exp2(-3.5);
    for (uint32_t i = 0; i < 128; ++i) {
      EXPECT_NEAR(x(0, i), value, 1e-8);
      EXPECT_NEAR(x(1, i), std::popcount(i & 5) % 2 == 0 ? value : -value, 1e-8) << i;
    }
    ops.hadamard(x);
    EXPECT_NEAR(x(1, 5), 1, 1e-6);
    EXPECT_NEAR(x(1, 4), 0, 1e-6);
  });
}

TEST_F(OpsValues, indexer_cuts_negative_products_before_weighting) {
  const View<const float, 3> q = Inputs::as_heads(matrix({{1, 0, 0, 2}}), 2, 2);
  const Matrix<float> keys = matrix({{3, 5}, {-3, 5}, {3, -5}, {NAN, 0}});
  std::vector<const std::byte*> rows;
  for (int64_t j = 0; j < 4; ++j) rows.push_back(reinterpret_cast<const std::byte*>(&keys(j, 0)));
  const std::vector<int64_t> begin = {0};
  const std::vector<int64_t> end = {4};
  for_each_build([&](Ops& ops) {
    const Matrix<float> score = constant(1, 5, -7);
    ops.indexer_scores(q, matrix({{1, -0.5f}}), {{EntryType::kF32, 2, 0}, {rows, begin, end}},
                       Rounding::kNone, score);
    expect_row(score.columns(0, 3), 0, {3 - 5, -5, 3}, 0);
    EXPECT_TRUE(std::isnan(score(0, 3)));
    EXPECT_EQ(score(0, 4), -7);  // beyond the list
  });
}

TEST_F(OpsValues, top_k_prefers_lower_indices_and_pads) {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  const Matrix<float> scores =
      matrix({{1, 5, 5, 5, 2}, {NAN, -kInf, 3, NAN, -1e30f}, {4, 4, 4, 4, 4}, {9, 8, 7, 6, 5}});
  const std::vector<int64_t> counts = {5, 5, 2, 0};
  for_each_build([&](Ops& ops) {
    const Tensor<int32_t, 2> ids({4, 3});
    const auto row = [&](int64_t t) {
      return std::vector<int32_t>(&ids.view()(t, 0), &ids.view()(t, 0) + 3);
    };
    ops.top_k(scores, counts, TopKOrder::kByIndex, ids.view());
    EXPECT_EQ(row(0), (std::vector{1, 2, 3}));
    EXPECT_EQ(row(1), (std::vector{0, 2, 4}));  // NaN ranks as -inf: the lowest index of those
    EXPECT_EQ(row(2), (std::vector{0, 1, -1}));
    EXPECT_EQ(row(3), (std::vector{-1, -1, -1}));
    ops.top_k(matrix({{1, 5, 7}}), std::vector<int64_t>{3}, TopKOrder::kByScore,
              ids.view().slice(0, 1));
    EXPECT_EQ(row(0), (std::vector{2, 1, 0}));
    ops.top_k(constant(4, 0, 0), std::vector<int64_t>(4, 0), TopKOrder::kByScore, ids.view());
    EXPECT_EQ(row(2), (std::vector{-1, -1, -1}));
  });
}

// Section 13: experts with equal scores get equal weights, sigma / k of the selection's sum.
TEST_F(OpsValues, equal_router_logits_select_the_first_experts_with_equal_scores) {
  for_each_build([&](Ops& ops) {
    const Matrix<float> scores = constant(1, 256, 0.3f);
    ops.sqrt_softplus(scores);
    const Tensor<int32_t, 2> ids({1, 6});
    ops.top_k(scores, std::vector<int64_t>{256}, TopKOrder::kByScore, ids.view());
    float sum = 0;
    for (int64_t i = 0; i < 6; ++i) {
      EXPECT_EQ(ids.view()(0, i), i);
      sum += scores(0, ids.view()(0, i));
    }
    EXPECT_NEAR(1.5 * scores(0, 0) / sum, 0.25, 1e-6);
    EXPECT_NEAR(2.5 * scores(0, 5) / sum, 0.41667, 1e-5);
  });
}

TEST_F(OpsValues, sqrt_softplus_at_its_landmarks) {
  for_each_build([&](Ops& ops) {
    const Matrix<float> x = matrix({{0, 30, -40, std::log(std::exp(4.0f) - 1)}});
    ops.sqrt_softplus(x);
    expect_row(x, 0, {std::sqrt(std::log(2.0)), std::sqrt(30.0), std::exp(-20.0), 2}, 1e-6);
    EXPECT_NEAR(x(0, 2) / std::exp(-20.0), 1, 1e-5);
  });
}

TEST_F(OpsValues, swiglu_limits_the_gate_from_above_only) {
  const double silu10 = 10 / (1 + std::exp(-10.0));
  const double silu_minus20 = -20 / (1 + std::exp(20.0));
  const std::vector<float> row_weight = {0.5f};
  for_each_build([&](Ops& ops) {
    const Matrix<float> out = constant(1, 4, -1);
    const Matrix<float> gate = matrix({{0, 20, -20, 10}});
    const Matrix<float> up = matrix({{5, 20, -20, 3}});
    ops.swiglu(gate, up, 10, row_weight, out);
    expect_row(out, 0, {0, 0.5 * silu10 * 10, 0.5 * silu_minus20 * -10, 0.5 * silu10 * 3}, 1e-5);
    ops.swiglu(gate, up, 0, {}, out);
    expect_row(out, 0, {0, 20 * 20.0, silu_minus20 * -20, silu10 * 3}, 1e-4);
  });
}

TEST_F(OpsValues, rows_are_gathered_scattered_and_added) {
  const std::vector<int32_t> rows = {2, 0};
  for_each_build([&](Ops& ops) {
    const Matrix<float> out = constant(2, 2, -1);
    ops.gather_rows(matrix({{1, 2}, {3, 4}, {5, 6}}), rows, out);
    expect_row(out, 0, {5, 6}, 0);
    expect_row(out, 1, {1, 2}, 0);
    const Matrix<float> sums = matrix({{10, 20}, {30, 40}, {50, 60}});
    ops.scatter_add_rows(out, rows, sums);
    expect_row(sums, 0, {11, 22}, 0);
    expect_row(sums, 1, {30, 40}, 0);
    expect_row(sums, 2, {55, 66}, 0);
    ops.add(matrix({{1, -1}, {2, -2}}), out);
    expect_row(out, 1, {3, 0}, 0);
  });
}

// Section 13, the scales of fp8sim and fp4sim; blocks do not cross rows.
TEST_F(OpsValues, round_trips_work_on_rows) {
  for_each_build([&](Ops& ops) {
    const Matrix<float> fp8 = matrix({{448, 0x1p-9f}, {449, 0x1p-9f}, {0, 0x1p-31f}});
    ops.fp8_round_trip(fp8, 64);
    expect_row(fp8, 0, {448, 0x1p-9}, 0);
    expect_row(fp8, 1, {448, 0}, 0);
    expect_row(fp8, 2, {0, 0x1p-31}, 0);
    const Matrix<float> fp4 = matrix({{6, 0.5f}, {6.01f, 0.5f}, {0, 0}});
    ops.fp4_round_trip(fp4);
    expect_row(fp4, 0, {6, 0.5}, 0);
    expect_row(fp4, 1, {6, 0}, 0);
    expect_row(fp4, 2, {0, 0}, 0);
    const Matrix<float> bf16 = matrix({{1 + 0x1p-8f, 1 + 3 * 0x1p-8f}});
    ops.round_bf16(bf16);
    expect_row(bf16, 0, {1, 1 + 0x1p-6}, 0);
  });
}

TEST_F(OpsValues, wrong_shapes_stop_the_program) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  Ops& ops = AllOps::instance().ref();
  const Matrix<float> m = constant(2, 4, 0);
  const View<float, 3> apart(m.data(), {1, 2, 2}, {8, 4, 1});  // gaps between the heads of a token
  const std::vector<float> sink(2, 0.0f);
  const std::vector<int64_t> zero = {0};
  const EntryLists none{{EntryType::kF32, 2, 0}, {{}, zero, zero}};
  EXPECT_DEATH(ops.add(m, m.columns(0, 3)), "CHECK");
  EXPECT_DEATH(ops.hadamard(m.columns(0, 3)), "CHECK");
  EXPECT_DEATH(ops.gather_rows(m, std::vector<int32_t>{2}, m.slice(0, 1)), "CHECK");
  EXPECT_DEATH(ops.attend(apart, none, sink, 1, Rounding::kNone, apart), "CHECK");
}

}  // namespace
}  // namespace dsv4::testing
