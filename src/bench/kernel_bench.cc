#include "bench/kernel_bench.h"

#include "base/rng.h"
#include "quant/quant_matrix.h"
#include "synth/block_values.h"
#include "synth/normal_values.h"
#include "tensor/tensor.h"

#include <algorithm>
#include <chrono>

namespace dsv4 {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int64_t kCols = 4096;
constexpr int64_t kRows = 65536;  // of formats with up to a byte for each weight
constexpr int64_t kPrefillRows = 2048;
constexpr double kStdDev = 1 / 64.0;
constexpr RandomStream kStream{1, 1};

// Random weights and what they lie in.
struct BenchWeight {
  std::string name;
  QuantMatrix matrix;
  std::vector<std::byte> data;
  std::vector<std::byte> scales;
};

BenchWeight make(std::string name, WeightFormat format) {
  BenchWeight w{std::move(name), {.rows = kRows, .cols = kCols, .format = format}, {}, {}};
  QuantMatrix& m = w.matrix;
  if (m.row_bytes() > kCols * 2) m.rows /= 4;
  if (m.row_bytes() > kCols * 3 / 2) m.rows /= 2;
  w.data.resize(static_cast<size_t>(m.rows * m.row_bytes()));
  m.data = w.data.data();
  return w;
}

void add_scales(BenchWeight& w, int64_t block_rows, int64_t block_cols, uint8_t scale) {
  QuantMatrix& m = w.matrix;
  m.block_rows = block_rows;
  m.block_cols = block_cols;
  m.scale_cols = kCols / block_cols;
  m.scale_format = ScaleFormat::kE8M0;
  w.scales.assign(static_cast<size_t>(m.rows / block_rows * m.scale_cols), std::byte{scale});
  m.scales = w.scales.data();
}

BenchWeight make_native(WeightFormat format) {
  BenchWeight w = make(format == WeightFormat::kFP8 ? "FP8" : "FP4", format);
  if (format == WeightFormat::kFP8) {
    const CodeTable table = e4m3_table(kStdDev);
    fill_codes(kStream, table, 0, w.data);
    add_scales(w, 128, 128, table.scale);
  } else {
    const CodeTable table = e2m1_table(kStdDev);
    fill_code_pairs(kStream, table, 0, w.data);
    add_scales(w, 1, 32, table.scale);
  }
  return w;
}

BenchWeight make_blocks(DType type) {
  BenchWeight w = make(std::string(dtype_name(type)), weight_format(type).value());
  fill_blocks(kStream, block_template(type, kStdDev), 0, w.data);
  return w;
}

BenchWeight make_floats(const char* name, WeightFormat format) {
  BenchWeight w = make(name, format);
  const auto fill = format == WeightFormat::kF32   ? fill_f32
                    : format == WeightFormat::kF16 ? fill_f16
                                                   : fill_bf16;
  fill(kStream, 0, kStdDev, 0, w.data);
  return w;
}

BenchWeight make_weight(WeightFormat format) {
  if (const auto type = block_type(format)) return make_blocks(*type);
  switch (format) {
    case WeightFormat::kF32:
      return make_floats("F32", format);
    case WeightFormat::kF16:
      return make_floats("F16", format);
    case WeightFormat::kBF16:
      return make_floats("BF16", format);
    default:
      return make_native(format);
  }
}

KernelRow measure(Ops& ops, RoofMeter& meter, const BenchWeight& weight, int64_t n) {
  const QuantMatrix w =
      n > 8 ? weight.matrix.slice_rows(0, std::min(kPrefillRows, weight.matrix.rows))
            : weight.matrix;
  const Tensor<float, 2> x({n, kCols});
  for (int64_t i = 0; i < n * kCols; ++i) {
    x.view().data()[i] = static_cast<float>(random_uniform(2, 2, static_cast<uint64_t>(i)) - 0.5);
  }
  const Tensor<float, 2> y({n, w.rows});
  const auto order = int8_order(w);
  const Tensor<int8_t, 2> values({n, kCols});
  const Tensor<float, 2> scales({n, kCols / 32});
  const Tensor<int32_t, 2> sums({n, kCols / 16});
  const Int8Rows rows{values.view(), scales.view(), sums.view(),
                      order.value_or(ColumnOrder::kNatural)};
  ops.quantize_int8(x.view(), rows);
  KernelRow row{.format = weight.name, .int8 = order.has_value(), .n_tokens = n};
  const auto product = [&] {
    const Clock::time_point start = Clock::now();
    if (order) {
      ops.linear_int8(rows, w, y.view());
    } else {
      ops.linear(x.view(), w, y.view());
    }
    return std::chrono::duration<double>(Clock::now() - start).count();
  };
  product();  // first touch of the results
  row.timing = measure_slices(
      {.n_slices = 5, .min_seconds = 0.06}, [&] { return meter.measure(); }, product);
  row.bytes = static_cast<double>(w.rows * w.row_bytes());
  if (w.scales != nullptr) row.bytes += static_cast<double>(w.rows / w.block_rows * w.scale_cols);
  row.ops = 2.0 * static_cast<double>(n * w.rows * w.cols);
  return row;
}

}  // namespace

std::vector<KernelCase> kernel_cases() {
  std::vector<KernelCase> cases;
  for (const WeightFormat format :
       {WeightFormat::kFP4, WeightFormat::kFP8, WeightFormat::kMXFP4, WeightFormat::kIQ2_XXS,
        WeightFormat::kQ2_K, WeightFormat::kQ3_K, WeightFormat::kQ4_0, WeightFormat::kQ4_1,
        WeightFormat::kQ4_K, WeightFormat::kQ5_0, WeightFormat::kQ5_1, WeightFormat::kQ5_K,
        WeightFormat::kQ6_K, WeightFormat::kQ8_0, WeightFormat::kBF16, WeightFormat::kF16,
        WeightFormat::kF32}) {
    for (const int64_t n : {1, 8, 512}) cases.push_back({format, n});
  }
  return cases;
}

KernelRow bench_kernel(Ops& ops, RoofMeter& meter, const KernelCase& kernel) {
  return measure(ops, meter, make_weight(kernel.format), kernel.n_tokens);
}

}  // namespace dsv4
