// Operations on rows: norms, rotations, roundings, gathers, top-k. Cheap beside the products.
#include "kernels/cpu/cpu_ops_impl.h"

#include "quant/float_formats.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

namespace dsv4 {
namespace {

// One head by the reference's BF16 steps: square, mean, plus eps, rsqrt, product.
void head_norm_bf16(float* x, int64_t n, float eps) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += round_to_bf16(x[i] * x[i]);
  const float mean = round_to_bf16(static_cast<float>(sum / static_cast<double>(n)));
  const float factor = round_to_bf16(1 / std::sqrt(round_to_bf16(mean + eps)));
  for (int64_t i = 0; i < n; ++i) x[i] = round_to_bf16(x[i] * factor);
}

// Orders indices by falling score, equal scores by index; a NaN ranks below every number.
class HigherScore {
 public:
  explicit HigherScore(const float* scores) : scores_(scores) {}
  bool operator()(int32_t a, int32_t b) const {
    const float score_a = rank(a);
    const float score_b = rank(b);
    return score_a != score_b ? score_a > score_b : a < b;
  }

 private:
  float rank(int32_t i) const {
    return std::isnan(scores_[i]) ? -std::numeric_limits<float>::infinity() : scores_[i];
  }
  const float* scores_;
};

void top_k_row(const float* scores, int64_t count, TopKOrder order, std::span<int32_t> ids) {
  const int64_t k = std::min(count, static_cast<int64_t>(ids.size()));
  std::vector<int32_t> all(static_cast<size_t>(count));
  std::iota(all.begin(), all.end(), 0);
  const auto end = all.begin() + k;
  if (k < count) std::nth_element(all.begin(), end, all.end(), HigherScore(scores));
  if (order == TopKOrder::kByScore) {
    std::sort(all.begin(), end, HigherScore(scores));
  } else {
    std::sort(all.begin(), end);
  }
  std::copy(all.begin(), end, ids.begin());
  std::fill(ids.begin() + k, ids.end(), -1);
}

}  // namespace

void CpuOps::do_rms_norm(Matrix<const float> x, std::span<const float> weight, float eps,
                         Matrix<float> y) {
  const float* factors = weight.empty() ? nullptr : weight.data();
  for_each_row(x.size(0), 2 * x.size(1), [&](int64_t t) {
    kernels_.rows.rms_norm(&x(t, 0), factors, x.size(1), eps, &y(t, 0));
  });
}

void CpuOps::do_head_norm(Matrix<float> x, float eps, Rounding rounding) {
  if (rounding == Rounding::kNone) return do_rms_norm(x, {}, eps, x);
  for_each_row(x.size(0), 8 * x.size(1),
               [&](int64_t t) { head_norm_bf16(&x(t, 0), x.size(1), eps); });
}

void CpuOps::do_scale_by_rms(Matrix<const float> x, float eps, Matrix<float> y) {
  for_each_row(x.size(0), x.size(1), [&](int64_t t) {
    const float factor = kernels_.rows.rms_factor(&x(t, 0), x.size(1), eps);
    for (int64_t i = 0; i < y.size(1); ++i) y(t, i) *= factor;
  });
}

void CpuOps::do_rope(View<float, 3> x, const RopeAngles& angles, Rotation rotation) {
  const int64_t n_pairs = angles.cos.size(1);
  const float direction = rotation == Rotation::kForward ? 1.0f : -1.0f;
  for_each_row(x.size(0), x.size(1) * n_pairs * 2, [&](int64_t t) {
    kernels_.rows.rope(&x(t, 0, x.size(2) - 2 * n_pairs), x.size(1), x.stride(1), &angles.cos(t, 0),
                       &angles.sin(t, 0), n_pairs, direction);
  });
}

void CpuOps::do_hadamard(Matrix<float> x) {
  for_each_row(x.size(0), 2 * x.size(1),
               [&](int64_t t) { kernels_.rows.hadamard(&x(t, 0), x.size(1)); });
}

void CpuOps::do_top_k(Matrix<const float> scores, std::span<const int64_t> counts, TopKOrder order,
                      Matrix<int32_t> ids) {
  for_each_row(ids.size(0), 16 * scores.size(1), [&](int64_t t) {
    top_k_row(scores.data() + t * scores.stride(0), counts[static_cast<size_t>(t)], order,
              {&ids(t, 0), static_cast<size_t>(ids.size(1))});
  });
}

void CpuOps::do_gather_rows(Matrix<const float> x, std::span<const int32_t> rows,
                            Matrix<float> out) {
  for_each_row(out.size(0), out.size(1), [&](int64_t t) {
    std::copy_n(&x(rows[static_cast<size_t>(t)], 0), out.size(1), &out(t, 0));
  });
}

void CpuOps::do_scatter_add_rows(Matrix<const float> x, std::span<const int32_t> rows,
                                 Matrix<float> out) {
  for_each_row(x.size(0), x.size(1), [&](int64_t t) {
    float* sum = &out(rows[static_cast<size_t>(t)], 0);
    for (int64_t i = 0; i < x.size(1); ++i) sum[i] += x(t, i);
  });
}

void CpuOps::do_add(Matrix<const float> y, Matrix<float> x) {
  for_each_row(x.size(0), x.size(1), [&](int64_t t) {
    for (int64_t i = 0; i < x.size(1); ++i) x(t, i) += y(t, i);
  });
}

void CpuOps::do_round_bf16(Matrix<float> x) {
  for_each_row(x.size(0), x.size(1), [&](int64_t t) {
    for (int64_t i = 0; i < x.size(1); ++i) x(t, i) = round_to_bf16(x(t, i));
  });
}

void CpuOps::do_fp8_round_trip(Matrix<float> x, int64_t block) {
  for_each_row(x.size(0), 8 * x.size(1),
               [&](int64_t t) { dsv4::fp8_round_trip(&x(t, 0), x.size(1), block); });
}

void CpuOps::do_fp4_round_trip(Matrix<float> x) {
  for_each_row(x.size(0), 8 * x.size(1),
               [&](int64_t t) { dsv4::fp4_round_trip(&x(t, 0), x.size(1)); });
}

}  // namespace dsv4
