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

// The best of runs for a fifth of a second.
double best_seconds(const std::function<void()>& run) {
  double best = 1e9;
  double sum = 0;
  for (int i = 0; i < 3 || sum < 0.2; ++i) {
    const Clock::time_point start = Clock::now();
    run();
    const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
    best = std::min(best, seconds);
    sum += seconds;
  }
  return best;
}

KernelRow measure(Ops& ops, const BenchWeight& weight, int64_t n) {
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
  row.seconds = best_seconds([&] {
    if (order) {
      ops.linear_int8(rows, w, y.view());
    } else {
      ops.linear(x.view(), w, y.view());
    }
  });
  row.bytes = static_cast<double>(w.rows * w.row_bytes());
  if (w.scales != nullptr) row.bytes += static_cast<double>(w.rows / w.block_rows * w.scale_cols);
  row.ops = 2.0 * static_cast<double>(n * w.rows * w.cols);
  return row;
}

}  // namespace

void bench_kernels(Ops& ops, const std::function<void(const KernelRow&)>& done) {
  const auto run = [&](const BenchWeight& weight) {
    for (const int64_t n : {1, 8, 512}) done(measure(ops, weight, n));
  };
  run(make_native(WeightFormat::kFP4));
  run(make_native(WeightFormat::kFP8));
  for (const DType type :
       {DType::kMXFP4, DType::kIQ2_XXS, DType::kQ2_K, DType::kQ3_K, DType::kQ4_0, DType::kQ4_1,
        DType::kQ4_K, DType::kQ5_0, DType::kQ5_1, DType::kQ5_K, DType::kQ6_K, DType::kQ8_0}) {
    run(make_blocks(type));
  }
  run(make_floats("BF16", WeightFormat::kBF16));
  run(make_floats("F16", WeightFormat::kF16));
  run(make_floats("F32", WeightFormat::kF32));
}

}  // namespace dsv4
