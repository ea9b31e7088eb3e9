// The report's own operations besides attention: hyper-connections, compression, experts.
#include "kernels/cpu/cpu_ops_impl.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace dsv4 {
namespace {

constexpr int64_t kMaxStreams = 16;

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
  const int64_t d = x.size(1);
  for_each_row(x.size(0), pre.size(1) * d, [&](int64_t t) {
    float* out = &x(t, 0);
    for (int64_t k = 0; k < d; ++k) out[k] = 0;
    for (int64_t i = 0; i < pre.size(1); ++i) {
      const float* stream = &streams(t, i, 0);
      const float weight = pre(t, i);
      for (int64_t k = 0; k < d; ++k) out[k] += weight * stream[k];
    }
  });
}

void CpuOps::do_expand(Matrix<const float> y, Matrix<const float> post, View<const float, 3> mix,
                       View<float, 3> streams) {
  const int64_t h = post.size(1);
  const int64_t d = y.size(1);
  CHECK(h <= kMaxStreams, h);
  for_each_row(y.size(0), h * h * d, [&](int64_t t) {
    constexpr int64_t kTile = 64;  // columns, so that a tile of all streams stays in registers
    float next[kMaxStreams][kTile];
    for (int64_t begin = 0; begin < d; begin += kTile) {
      const int64_t n = std::min(kTile, d - begin);
      for (int64_t j = 0; j < h; ++j) {
        const float* out = &y(t, begin);
        for (int64_t k = 0; k < n; ++k) next[j][k] = 0;
        for (int64_t i = 0; i < h; ++i) {
          const float* stream = &streams(t, i, begin);
          const float weight = mix(t, i, j);
          for (int64_t k = 0; k < n; ++k) next[j][k] += weight * stream[k];
        }
        const float weight = post(t, j);
        for (int64_t k = 0; k < n; ++k) next[j][k] = weight * out[k] + next[j][k];
      }
      for (int64_t j = 0; j < h; ++j) std::copy_n(next[j], n, &streams(t, j, begin));
    }
  });
}

void CpuOps::do_pool_slots(const RowLists& values, const RowLists& scores, Matrix<float> out) {
  const int64_t width = out.size(1);
  for_each_row(out.size(0), 64 * width, [&](int64_t entry) {
    const auto u = values.of(entry);
    const auto g = scores.of(entry);
    for (int64_t i = 0; i < width; ++i) {
      float largest = -std::numeric_limits<float>::infinity();
      for (const float* slot : g) largest = std::max(largest, slot[i]);
      float total = 0;
      float sum = 0;
      for (size_t s = 0; s < g.size(); ++s) {
        const float p = std::exp(g[s][i] - largest);
        total += p;
        sum += p * u[s][i];
      }
      out(entry, i) = sum / total;
    }
  });
}

void CpuOps::do_sqrt_softplus(Matrix<float> scores) {
  for_each_row(scores.size(0), 32 * scores.size(1), [&](int64_t t) {
    for (int64_t i = 0; i < scores.size(1); ++i) {
      const float x = scores(t, i);
      scores(t, i) = std::sqrt(x > 20 ? x : std::log1p(std::exp(x)));
    }
  });
}

void swiglu_row(const float* gate, const float* up, int64_t n, float limit, float weight,
                float* out) {
  const float bound = limit > 0 ? limit : std::numeric_limits<float>::infinity();
  for (int64_t i = 0; i < n; ++i) {
    const float g = std::min(gate[i], bound);
    const float u = std::clamp(up[i], -bound, bound);
    out[i] = weight * (g * sigmoid(g) * u);
  }
}

void CpuOps::do_swiglu(Matrix<const float> gate, Matrix<const float> up, float limit,
                       std::span<const float> row_weight, Matrix<float> out) {
  for_each_row(gate.size(0), 32 * gate.size(1), [&](int64_t t) {
    const float weight = row_weight.empty() ? 1.0f : row_weight[static_cast<size_t>(t)];
    swiglu_row(&gate(t, 0), &up(t, 0), gate.size(1), limit, weight, &out(t, 0));
  });
}

}  // namespace dsv4
