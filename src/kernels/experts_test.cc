// experts_int8 against the operations that it stands for, bit by bit.
#include "base/rng.h"
#include "base/thread_pool.h"
#include "kernels/cpu/cpu_ops.h"
#include "kernels/int8_buffer.h"
#include "kernels/ops_testing.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

namespace dsv4 {
namespace {

// Int8Rows with memory of their own.
struct OwnedRows {
  int64_t cols;
  ColumnOrder order;
  Int8Buffer buffer;

  OwnedRows(int64_t n, int64_t n_cols, ColumnOrder column_order)
      : cols(n_cols), order(column_order), buffer(n, n_cols) {}
  Int8Rows first(int64_t n) { return buffer.rows(n, cols, order); }
};

// Draws until the shape is the one that is asked for.
QuantMatrix weight(testing::Inputs& in, int64_t rows, int64_t cols, WeightFormat format) {
  QuantMatrix w = in.int8_weight(rows, cols, format);
  while (w.rows != rows || w.cols != cols) w = in.int8_weight(rows, cols, format);
  return w;
}

// Random experts, tokens and choices.
struct Experts {
  testing::Inputs in;
  int64_t n;
  int64_t d;
  int64_t fe;
  std::vector<QuantMatrix> w1;
  std::vector<QuantMatrix> w2;
  std::vector<QuantMatrix> w3;
  std::vector<std::vector<int32_t>> rows;
  std::vector<std::vector<float>> weights;
  Matrix<const float> x;
  Matrix<const float> start;

  Experts(uint64_t seed, WeightFormat outer, WeightFormat inner)
      : in(seed),
        n(in.integer(1, 20)),
        d(256 * in.integer(1, 3)),
        fe(256 * in.integer(1, 2)),
        x(in.matrix(n, d)),
        start(in.matrix(n, d)) {
    for (int64_t e = 0; e < 5; ++e) {
      w1.push_back(weight(in, fe, d, outer));
      w3.push_back(weight(in, fe, d, outer));
      w2.push_back(weight(in, d, fe, inner));
      rows.emplace_back();
      weights.emplace_back();
      for (int32_t t = 0; t < n; ++t) {
        if (e != 2 && random_bits(seed, static_cast<uint64_t>(e), static_cast<uint64_t>(t)) % 3) {
          continue;  // the third expert works for every token
        }
        rows.back().push_back(t);
        weights.back().push_back(0.25f + 0.125f * static_cast<float>(t % 5));
      }
    }
  }

  std::vector<ExpertGroup> groups() const {
    std::vector<ExpertGroup> groups;
    for (size_t e = 0; e < rows.size(); ++e) {
      if (!rows[e].empty()) groups.push_back({&w1[e], &w2[e], &w3[e], rows[e], weights[e]});
    }
    return groups;
  }
};

constexpr float kLimit = 2.0f;

void copy_rows(Matrix<const float> from, Matrix<float> to) {
  for (int64_t t = 0; t < to.size(0); ++t) std::copy_n(&from(t, 0), to.size(1), &to(t, 0));
}

Tensor<float, 2> fused(Ops& ops, const Experts& e) {
  const ColumnOrder outer = int8_order(e.w1[0]).value();
  const ColumnOrder inner = int8_order(e.w2[0]).value();
  OwnedRows x(e.n, e.d, outer);
  OwnedRows inputs[2] = {{e.n, e.d, outer}, {e.n, e.d, outer}};
  OwnedRows hidden[2] = {{e.n, e.fe, inner}, {e.n, e.fe, inner}};
  Tensor<float, 2> gate({e.n, e.fe});
  Tensor<float, 2> up({e.n, e.fe});
  Tensor<float, 2> part({e.n, e.d});
  Tensor<float, 2> y({e.n, e.d});
  copy_rows(e.start, y.view());
  ops.quantize_int8(e.x, x.first(e.n));
  const ExpertScratch scratch{gate.view(),
                              up.view(),
                              part.view(),
                              {inputs[0].first(e.n), inputs[1].first(e.n)},
                              {hidden[0].first(e.n), hidden[1].first(e.n)}};
  ops.experts_int8(x.first(e.n), e.groups(), kLimit, scratch, y.view());
  return y;
}

Tensor<float, 2> one_by_one(Ops& ops, const Experts& e) {
  Tensor<float, 2> y({e.n, e.d});
  copy_rows(e.start, y.view());
  for (const ExpertGroup& group : e.groups()) {
    const auto n = static_cast<int64_t>(group.rows.size());
    Tensor<float, 2> x({n, e.d});
    Tensor<float, 2> gate({n, e.fe});
    Tensor<float, 2> up({n, e.fe});
    Tensor<float, 2> part({n, e.d});
    OwnedRows inputs(n, e.d, int8_order(*group.w1).value());
    OwnedRows hidden(n, e.fe, int8_order(*group.w2).value());
    ops.gather_rows(e.x, group.rows, x.view());
    ops.quantize_int8(x.view(), inputs.first(n));
    ops.linear_int8(inputs.first(n), *group.w1, gate.view());
    ops.linear_int8(inputs.first(n), *group.w3, up.view());
    ops.swiglu(gate.view(), up.view(), kLimit, group.weights, gate.view());
    ops.quantize_int8(gate.view(), hidden.first(n));
    ops.linear_int8(hidden.first(n), *group.w2, part.view());
    ops.scatter_add_rows(part.view(), group.rows, y.view());
  }
  return y;
}

bool same_bits(const Tensor<float, 2>& a, const Tensor<float, 2>& b) {
  return std::memcmp(a.view().data(), b.view().data(),
                     static_cast<size_t>(a.view().count()) * sizeof(float)) == 0;
}

class ExpertsTest : public ::testing::TestWithParam<Isa> {};
std::string name_of(const ::testing::TestParamInfo<Isa>& info) {
  return std::string(isa_name(info.param));
}
INSTANTIATE_TEST_SUITE_P(Every, ExpertsTest, ::testing::ValuesIn(kAllIsas), name_of);

TEST_P(ExpertsTest, gives_the_bits_of_the_operations_between_with_any_number_of_threads) {
  if (!isa_supported(GetParam())) GTEST_SKIP() << "not on this machine";
  constexpr WeightFormat kPairs[][2] = {{WeightFormat::kFP4, WeightFormat::kFP4},
                                        {WeightFormat::kQ4_K, WeightFormat::kQ6_K},
                                        {WeightFormat::kMXFP4, WeightFormat::kQ8_0},
                                        {WeightFormat::kPackedInt4, WeightFormat::kQ2_K}};
  ThreadPool alone(1);
  const auto reference = make_cpu_ops(alone, GetParam());
  for (uint64_t seed = 0; seed < 8; ++seed) {
    const auto& [outer, inner] = kPairs[seed % std::size(kPairs)];
    const Experts experts(seed, outer, inner);
    const Tensor<float, 2> expected = one_by_one(*reference, experts);
    for (const int threads : {1, 2, 3, 7}) {
      ThreadPool pool(threads);
      const auto ops = make_cpu_ops(pool, GetParam());
      ASSERT_TRUE(same_bits(fused(*ops, experts), expected)) << seed << ", " << threads;
    }
  }
}

TEST(ExpertsReferenceTest, is_near_the_fast_operation) {
  ThreadPool pool(2);
  const auto fast = make_cpu_ops(pool);
  const auto reference = make_ref_ops();
  const Experts experts(3, WeightFormat::kQ8_0, WeightFormat::kQ8_0);
  const Tensor<float, 2> a = fused(*fast, experts);
  const Tensor<float, 2> b = fused(*reference, experts);
  double error = 0;
  double square = 0;
  for (int64_t i = 0; i < a.view().count(); ++i) {
    const double change = b.view().data()[i] - experts.start.data()[i];
    const double difference = static_cast<double>(a.view().data()[i]) - b.view().data()[i];
    error += difference * difference;
    square += change * change;
  }
  // A value between two integers may be rounded differently where the hidden activations differ in
  // the last bit: that is a 254th of the largest of 32.
  EXPECT_LT(error, square * 1e-5);
  EXPECT_GT(square, 0);
}

}  // namespace
}  // namespace dsv4
