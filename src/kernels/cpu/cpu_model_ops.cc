// The report's own operations besides attention: hyper-connections, compression, experts.
#include "kernels/cpu/cpu_ops_impl.h"

#include <algorithm>
#include <cmath>
#include <iterator>

namespace dsv4 {
namespace {

float sigmoid(float x) { return 1 / (1 + std::exp(-x)); }

// A square matrix of at most kMaxStreams rows, in place (architecture.md 5.2).
class Sinkhorn {
 public:
  Sinkhorn(float* matrix, int64_t n, float eps) : matrix_(matrix), n_(n), eps_(eps) {}

  void project(int64_t iters) {
    for (int64_t i = 0; i < n_; ++i) softmax_row(i);
    divide_columns();
    for (int64_t k = 1; k < iters; ++k) {
      for (int64_t i = 0; i < n_; ++i) divide_row(i);
      divide_columns();
    }
  }

 private:
  float& at(int64_t i, int64_t j) { return matrix_[i * n_ + j]; }

  void softmax_row(int64_t i) {
    float largest = at(i, 0);
    for (int64_t j = 1; j < n_; ++j) largest = std::max(largest, at(i, j));
    float sum = 0;
    for (int64_t j = 0; j < n_; ++j) sum += at(i, j) = std::exp(at(i, j) - largest);
    for (int64_t j = 0; j < n_; ++j) at(i, j) = at(i, j) / sum + eps_;
  }

  void divide_row(int64_t i) {
    float sum = 0;
    for (int64_t j = 0; j < n_; ++j) sum += at(i, j);
    for (int64_t j = 0; j < n_; ++j) at(i, j) /= sum + eps_;
  }

  void divide_columns() {
    for (int64_t j = 0; j < n_; ++j) {
      float sum = 0;
      for (int64_t i = 0; i < n_; ++i) sum += at(i, j);
      for (int64_t i = 0; i < n_; ++i) at(i, j) /= sum + eps_;
    }
  }

  float* matrix_;
  int64_t n_;
  float eps_;
};

}  // namespace

void CpuOps::do_hyper_connection_maps(Matrix<const float> m, const HyperConnectionParams& params,
                                      Matrix<float> pre, Matrix<float> post, View<float, 3> mix) {
  const int64_t h = pre.size(1);
  CHECK(h <= kMaxStreams, h);
  for_each_row(m.size(0), 16 * h * h * params.sinkhorn_iters, [&](int64_t t) {
    const auto map = [&](int64_t i, size_t part) {
      return m(t, i) * params.scale[part] + params.base[static_cast<size_t>(i)];
    };
    float* matrix = &mix(t, 0, 0);
    for (int64_t i = 0; i < h; ++i) {
      pre(t, i) = sigmoid(map(i, 0)) + params.eps;
      post(t, i) = 2 * sigmoid(map(h + i, 1));
    }
    for (int64_t i = 0; i < h * h; ++i) matrix[i] = map(2 * h + i, 2);
    Sinkhorn(matrix, h, params.eps).project(params.sinkhorn_iters);
  });
}

void CpuOps::do_collapse(View<const float, 3> streams, Matrix<const float> pre, Matrix<float> x) {
  for_each_row(x.size(0), pre.size(1) * x.size(1), [&](int64_t t) {
    kernels_.rows.collapse(&streams(t, 0, 0), streams.stride(1), &pre(t, 0), pre.size(1), x.size(1),
                           &x(t, 0));
  });
}

void CpuOps::do_expand(Matrix<const float> y, Matrix<const float> post, View<const float, 3> mix,
                       View<float, 3> streams) {
  const int64_t h = post.size(1);
  CHECK(h <= kMaxStreams, h);
  for_each_row(y.size(0), h * h * y.size(1), [&](int64_t t) {
    kernels_.rows.expand(&y(t, 0), &post(t, 0), &mix(t, 0, 0), h, y.size(1), &streams(t, 0, 0),
                         streams.stride(1));
  });
}

void CpuOps::do_pool_slots(const RowLists& values, const RowLists& scores, Matrix<float> out) {
  const int64_t width = out.size(1);
  for_each_row(out.size(0), 64 * width, [&](int64_t entry) {
    const auto u = values.of(entry);
    kernels_.rows.pool_slots(u.data(), scores.of(entry).data(), std::ssize(u), width,
                             &out(entry, 0));
  });
}

void CpuOps::do_sqrt_softplus(Matrix<float> scores) {
  for_each_row(scores.size(0), 8 * scores.size(1),
               [&](int64_t t) { kernels_.rows.sqrt_softplus(&scores(t, 0), scores.size(1)); });
}

void CpuOps::do_swiglu(Matrix<const float> gate, Matrix<const float> up, float limit,
                       std::span<const float> row_weight, Matrix<float> out) {
  for_each_row(gate.size(0), 8 * gate.size(1), [&](int64_t t) {
    const float weight = row_weight.empty() ? 1.0f : row_weight[static_cast<size_t>(t)];
    kernels_.rows.swiglu(&gate(t, 0), &up(t, 0), gate.size(1), limit, weight, &out(t, 0));
  });
}

}  // namespace dsv4
