// Operations on rows: norms, rotations, roundings, gathers, top-k. Cheap beside the products.
#include "kernels/cpu/cpu_ops_impl.h"

#include "quant/float_formats.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <functional>
#include <limits>

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

// A score as an integer of the same order, so that the largest can be found by counting. A NaN
// ranks below every number, the zeros are equal.
uint32_t rank(float score) {
  const float number = std::isnan(score) ? -std::numeric_limits<float>::infinity() : score + 0.0f;
  const auto bits = std::bit_cast<uint32_t>(number);
  return bits >> 31 != 0 ? ~bits : bits | 0x80000000;
}

// The rank of the k-th largest, k at least 1: digit by digit, each by counting those that agree
// with it so far. Takes no memory, whatever the number of scores.
uint32_t kth_largest_by_counting(std::span<const float> scores, size_t k) {
  constexpr int kBits = 11;  // of a digit: first sign, exponent and two bits
  uint32_t known = 0;
  uint32_t known_bits = 0;
  for (const int shift : {21, 10, 0}) {
    std::array<uint32_t, size_t{1} << kBits> counts = {};
    constexpr uint32_t kDigit = (uint32_t{1} << kBits) - 1;
    const uint32_t digit_bits = ~known_bits >> shift & kDigit;  // the last one has ten
    for (const float score : scores) {
      const uint32_t value = rank(score);
      if ((value & known_bits) == known) ++counts[value >> shift & digit_bits];
    }
    size_t digit = digit_bits;
    for (; k > counts[digit]; --digit) k -= counts[digit];
    known |= static_cast<uint32_t>(digit) << shift;
    known_bits |= digit_bits << shift;
  }
  return known;
}

// Of few scores, such as a router's.
constexpr size_t kFewScores = 512;

uint32_t kth_largest_of_few(std::span<const float> scores, size_t k) {
  std::array<uint32_t, kFewScores> ranks = {};
  const auto end = std::ranges::transform(scores, ranks.begin(), rank).out;
  const auto kth = ranks.begin() + static_cast<std::ptrdiff_t>(k) - 1;
  std::nth_element(ranks.begin(), kth, end, std::greater<>());
  return *kth;
}

// Of equal scores those of lower indices are taken, and come first.
void top_k_row(std::span<const float> scores, TopKOrder order, std::span<int32_t> ids) {
  const size_t k = std::min(scores.size(), ids.size());
  std::fill(ids.begin() + static_cast<std::ptrdiff_t>(k), ids.end(), -1);
  if (k == 0) return;
  const uint32_t smallest = scores.size() <= kFewScores ? kth_largest_of_few(scores, k)
                                                        : kth_largest_by_counting(scores, k);
  const auto n_above = static_cast<size_t>(
      std::ranges::count_if(scores, [&](float s) { return rank(s) > smallest; }));
  size_t n_equal = k - n_above;
  size_t n = 0;
  for (int32_t i = 0; n < k; ++i) {
    const uint32_t value = rank(scores[static_cast<size_t>(i)]);
    if (value < smallest || (value == smallest && n_equal == 0)) continue;
    if (value == smallest) --n_equal;
    ids[n++] = i;
  }
  if (order == TopKOrder::kByIndex) return;
  std::sort(ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(k), [&](int32_t a, int32_t b) {
    const uint32_t of_a = rank(scores[static_cast<size_t>(a)]);
    const uint32_t of_b = rank(scores[static_cast<size_t>(b)]);
    return of_a != of_b ? of_a > of_b : a < b;
  });
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
  for_each_row(ids.size(0), 8 * scores.size(1), [&](int64_t t) {
    const auto count = static_cast<size_t>(counts[static_cast<size_t>(t)]);
    top_k_row({scores.data() + t * scores.stride(0), count}, order,
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
