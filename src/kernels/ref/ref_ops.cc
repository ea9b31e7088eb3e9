// Matrix products, norms, rotations, gathers and roundings. The report's own operations are in
// ref_model_ops.cc.
#include "kernels/ref/ref_ops_impl.h"

#include "quant/float_formats.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <vector>

namespace dsv4::ref {
namespace {

double mean_square(const float* x, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += double{x[i]} * x[i];
  return sum / static_cast<double>(n);
}

// Where column i lies among the values.
int64_t int8_place(int64_t i, ColumnOrder order) {
  return order == ColumnOrder::kNatural ? i : i / 32 * 32 + i % 2 * 16 + i % 32 / 2;
}

// FP8 weights as the multiples of 2^-6 of the power of two in the largest of 32, to the nearest.
// Powers below that of the smallest normal code count as that.
void round_to_int8_weights(const QuantMatrix& w, int64_t r, std::vector<float>& row) {
  for (int64_t begin = 0; begin < w.cols; begin += 32) {
    const float scale = w.scale(r, begin);
    float largest = 0x1p-6f;
    bool finite = true;
    for (int64_t i = begin; i < begin + 32; ++i) {
      const float code = e4m3_to_float(static_cast<uint8_t>(w.data[r * w.row_bytes() + i]));
      row[static_cast<size_t>(i)] = code;
      largest = std::max(largest, std::fabs(code));
      finite = finite && std::isfinite(code);
    }
    const float unit = finite ? std::ldexp(1.0f, std::ilogb(largest) - 6) : NAN;
    for (int64_t i = begin; i < begin + 32; ++i) {
      float& value = row[static_cast<size_t>(i)];
      value = std::nearbyint(value / unit) * unit * scale;
    }
  }
}

// E8M0 scales above 2^100 count as not a number.
void drop_excessive_scales(const QuantMatrix& w, int64_t r, std::vector<float>& row) {
  const bool in_blocks = w.format == WeightFormat::kMXFP4;
  if (!in_blocks && w.scale_format != ScaleFormat::kE8M0) return;
  for (int64_t begin = 0; begin < w.cols; begin += 32) {
    const std::byte* block = w.data + r * w.row_bytes() + begin / 32 * 17;
    const float scale = in_blocks ? e8m0_to_float(static_cast<uint8_t>(*block)) : w.scale(r, begin);
    if (scale > 0x1p100f) std::fill_n(row.begin() + begin, 32, NAN);
  }
}

void multiply_int8(const Int8Rows& x, const QuantMatrix& w, Matrix<float> y) {
  std::vector<float> row(static_cast<size_t>(w.cols));
  for (int64_t r = 0; r < w.rows; ++r) {
    w.decode(r, 0, w.cols, row.data());
    if (w.format == WeightFormat::kFP8) round_to_int8_weights(w, r, row);
    drop_excessive_scales(w, r, row);
    for (int64_t t = 0; t < y.size(0); ++t) {
      double sum = 0;
      for (int64_t i = 0; i < w.cols; ++i) {
        const double value = x.values(t, int8_place(i, x.order));
        sum += double{row[static_cast<size_t>(i)]} * value * x.scales(t, i / 32);
      }
      y(t, r) = static_cast<float>(sum);
    }
  }
}

}  // namespace

void RefOps::do_linear(Matrix<const float> x, const QuantMatrix& w, Matrix<float> y) {
  std::vector<float> row(static_cast<size_t>(w.cols));
  for (int64_t r = 0; r < w.rows; ++r) {
    w.decode(r, 0, w.cols, row.data());
    for (int64_t t = 0; t < x.size(0); ++t) {
      double sum = 0;
      for (int64_t i = 0; i < w.cols; ++i) sum += double{row[static_cast<size_t>(i)]} * x(t, i);
      y(t, r) = static_cast<float>(sum);
    }
  }
}

void RefOps::do_quantize_int8(Matrix<const float> x, const Int8Rows& out) {
  constexpr int64_t kBlock = 32;
  for (int64_t t = 0; t < x.size(0); ++t) {
    std::fill_n(&out.sums(t, 0), out.sums.size(1), 0);
    for (int64_t begin = 0; begin < x.size(1); begin += kBlock) {
      float largest = 0;
      bool finite = true;
      for (int64_t i = begin; i < begin + kBlock; ++i) {
        largest = std::max(largest, std::fabs(x(t, i)));
        finite = finite && std::isfinite(x(t, i));
      }
      const bool empty = !finite || largest < 0x1p-100f;
      out.scales(t, begin / kBlock) = !finite ? NAN : empty ? 0 : largest / 127;
      for (int64_t i = begin; i < begin + kBlock; ++i) {
        const float code = empty ? 0 : std::nearbyint(x(t, i) * (127 / largest));
        out.values(t, int8_place(i, out.order)) = static_cast<int8_t>(code);
        out.sums(t, i / 16) += static_cast<int32_t>(code);
      }
    }
  }
}

void RefOps::do_linear_int8(std::span<const Int8Product> products) {
  for (const auto& [x, w, y] : products) multiply_int8(x, w, y);
}

void RefOps::do_rms_norm(Matrix<const float> x, std::span<const float> weight, float eps,
                         Matrix<float> y) {
  for (int64_t t = 0; t < x.size(0); ++t) {
    const double factor = 1 / std::sqrt(mean_square(&x(t, 0), x.size(1)) + eps);
    for (int64_t i = 0; i < x.size(1); ++i) {
      const double gain = weight.empty() ? 1.0 : double{weight[static_cast<size_t>(i)]};
      y(t, i) = static_cast<float>(gain * (x(t, i) * factor));
    }
  }
}

void RefOps::do_head_norm(Matrix<float> x, float eps, Rounding rounding) {
  if (rounding == Rounding::kNone) return do_rms_norm(x, {}, eps, x);
  for (int64_t t = 0; t < x.size(0); ++t) {
    double sum = 0;
    for (int64_t i = 0; i < x.size(1); ++i) sum += round_to_bf16(x(t, i) * x(t, i));
    const float mean = round_to_bf16(static_cast<float>(sum / static_cast<double>(x.size(1))));
    const float factor = round_to_bf16(1 / std::sqrt(round_to_bf16(mean + eps)));
    for (int64_t i = 0; i < x.size(1); ++i) x(t, i) = round_to_bf16(x(t, i) * factor);
  }
}

void RefOps::do_scale_by_rms(Matrix<const float> x, float eps, Matrix<float> y) {
  for (int64_t t = 0; t < x.size(0); ++t) {
    const double factor = 1 / std::sqrt(mean_square(&x(t, 0), x.size(1)) + eps);
    for (int64_t i = 0; i < y.size(1); ++i) y(t, i) = static_cast<float>(y(t, i) * factor);
  }
}

void RefOps::do_rope(View<float, 3> x, const RopeAngles& angles, Rotation rotation) {
  const int64_t n_pairs = angles.cos.size(1);
  const int64_t first = x.size(2) - 2 * n_pairs;
  for (int64_t t = 0; t < x.size(0); ++t) {
    for (int64_t h = 0; h < x.size(1); ++h) {
      for (int64_t i = 0; i < n_pairs; ++i) {
        float& a = x(t, h, first + 2 * i);
        float& b = x(t, h, first + 2 * i + 1);
        const double cos = angles.cos(t, i);
        const double sin = rotation == Rotation::kForward ? angles.sin(t, i) : -angles.sin(t, i);
        const double rotated_a = a * cos - b * sin;
        b = static_cast<float>(a * sin + b * cos);
        a = static_cast<float>(rotated_a);
      }
    }
  }
}

void RefOps::do_hadamard(Matrix<float> x) {
  const int64_t d = x.size(1);
  std::vector<double> y(static_cast<size_t>(d));
  for (int64_t t = 0; t < x.size(0); ++t) {
    for (int64_t i = 0; i < d; ++i) {
      double sum = 0;
      for (int64_t j = 0; j < d; ++j) {
        sum += std::popcount(static_cast<uint64_t>(i & j)) % 2 == 0 ? x(t, j) : -x(t, j);
      }
      y[static_cast<size_t>(i)] = sum / std::sqrt(static_cast<double>(d));
    }
    for (int64_t i = 0; i < d; ++i) x(t, i) = static_cast<float>(y[static_cast<size_t>(i)]);
  }
}

void RefOps::do_gather_rows(Matrix<const float> x, std::span<const int32_t> rows,
                            Matrix<float> out) {
  for (int64_t t = 0; t < out.size(0); ++t) {
    for (int64_t i = 0; i < out.size(1); ++i) out(t, i) = x(rows[static_cast<size_t>(t)], i);
  }
}

void RefOps::do_scatter_add_rows(Matrix<const float> x, std::span<const int32_t> rows,
                                 Matrix<float> out) {
  for (int64_t t = 0; t < x.size(0); ++t) {
    for (int64_t i = 0; i < x.size(1); ++i) out(rows[static_cast<size_t>(t)], i) += x(t, i);
  }
}

void RefOps::do_add(Matrix<const float> y, Matrix<float> x) {
  for (int64_t t = 0; t < x.size(0); ++t) {
    for (int64_t i = 0; i < x.size(1); ++i) x(t, i) += y(t, i);
  }
}

void RefOps::do_round_bf16(Matrix<float> x) {
  for (int64_t t = 0; t < x.size(0); ++t) {
    for (int64_t i = 0; i < x.size(1); ++i) x(t, i) = round_to_bf16(x(t, i));
  }
}

void RefOps::do_fp8_round_trip(Matrix<float> x, int64_t block) {
  for (int64_t t = 0; t < x.size(0); ++t) dsv4::fp8_round_trip(&x(t, 0), x.size(1), block);
}

void RefOps::do_fp4_round_trip(Matrix<float> x) {
  for (int64_t t = 0; t < x.size(0); ++t) dsv4::fp4_round_trip(&x(t, 0), x.size(1));
}

}  // namespace dsv4::ref

namespace dsv4 {

std::unique_ptr<Ops> make_ref_ops() { return std::make_unique<ref::RefOps>(); }

}  // namespace dsv4
