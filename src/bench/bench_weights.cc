#include "bench/bench_weights.h"

#include "base/check.h"
#include "base/rng.h"
#include "quant/float_formats.h"
#include "synth/block_values.h"
#include "synth/normal_values.h"

#include <algorithm>
#include <chrono>
#include <cstring>

namespace dsv4 {
namespace {

constexpr double kStdDev = 1 / 64.0;
constexpr RandomStream kStream{1, 1};
constexpr int64_t kLine = 64;

// Bytes of the parts of one matrix, which lie one after the other.
struct Parts {
  int64_t data = 0;
  int64_t scales = 0;
  int64_t zeros = 0;

  int64_t total() const { return (data + scales + zeros + kLine - 1) / kLine * kLine; }
};

// A matrix of the shape without memory.
QuantMatrix matrix_of(WeightFormat format, const BenchShape& shape) {
  QuantMatrix m{.rows = shape.rows, .cols = shape.cols, .format = format};
  if (format == WeightFormat::kFP8) {
    m.block_rows = 128;
    m.block_cols = 128;
    m.scale_cols = m.cols / m.block_cols;
    m.scale_format = ScaleFormat::kE8M0;
  } else if (format == WeightFormat::kFP4) {
    m.block_cols = 32;
    m.scale_cols = m.cols / m.block_cols;
    m.scale_format = ScaleFormat::kE8M0;
  } else if (format == WeightFormat::kAwqInt4) {
    m.block_cols = 128;
    m.scale_cols = m.rows;
    m.scale_format = ScaleFormat::kF16;
  }
  return m;
}

Parts parts_of(const QuantMatrix& m) {
  Parts parts{.data = m.rows * m.row_bytes()};
  if (m.format == WeightFormat::kAwqInt4) {
    const int64_t n_groups = m.cols / m.block_cols;
    parts.scales = n_groups * m.scale_cols * scale_bytes(m.scale_format);
    parts.zeros = n_groups * m.scale_cols / 2;
  } else if (m.scale_format != ScaleFormat::kNone) {
    parts.scales = m.rows / m.block_rows * m.scale_cols * scale_bytes(m.scale_format);
  }
  return parts;
}

void fill_int4(std::span<std::byte> data, std::span<std::byte> scales, std::span<std::byte> zeros) {
  // Like any other codes: all of the sixteen are as likely.
  const BlockTemplate any{{0xFF}, {0}};
  fill_blocks(kStream, any, 0, data);
  fill_blocks({kStream.seed, kStream.stream + 1}, any, 0, zeros);
  const uint16_t scale = float_to_f16(static_cast<float>(kStdDev / 4));
  for (size_t i = 0; i < scales.size(); i += sizeof(scale)) {
    std::memcpy(&scales[i], &scale, sizeof(scale));
  }
}

void fill(WeightFormat format, std::span<std::byte> data, std::span<std::byte> scales,
          std::span<std::byte> zeros) {
  if (const auto type = block_type(format)) {
    return fill_blocks(kStream, block_template(*type, kStdDev), 0, data);
  }
  switch (format) {
    case WeightFormat::kF32:
      return fill_f32(kStream, 0, kStdDev, 0, data);
    case WeightFormat::kF16:
      return fill_f16(kStream, 0, kStdDev, 0, data);
    case WeightFormat::kBF16:
      return fill_bf16(kStream, 0, kStdDev, 0, data);
    case WeightFormat::kAwqInt4:
      return fill_int4(data, scales, zeros);
    case WeightFormat::kFP8: {
      const CodeTable table = e4m3_table(kStdDev);
      fill_codes(kStream, table, 0, data);
      std::ranges::fill(scales, std::byte{table.scale});
      return;
    }
    case WeightFormat::kFP4: {
      const CodeTable table = e2m1_table(kStdDev);
      fill_code_pairs(kStream, table, 0, data);
      std::ranges::fill(scales, std::byte{table.scale});
      return;
    }
    default:
      CHECK(false, static_cast<int>(format));
  }
}

}  // namespace

int64_t BenchWeights::bytes_of(WeightFormat format, const BenchShape& shape) {
  return parts_of(matrix_of(format, shape)).total();
}

BenchWeights::BenchWeights(WeightFormat format, const BenchShape& shape,
                           std::span<std::byte> memory) {
  QuantMatrix m = matrix_of(format, shape);
  const Parts parts = parts_of(m);
  n_bytes_ = parts.data + parts.scales + parts.zeros;
  const int64_t n = std::ssize(memory) / parts.total();
  CHECK(n > 0, std::ssize(memory), parts.total());
  const auto part = [&](int64_t begin, int64_t size) {
    return memory.subspan(static_cast<size_t>(begin), static_cast<size_t>(size));
  };
  fill(format, part(0, parts.data), part(parts.data, parts.scales),
       part(parts.data + parts.scales, parts.zeros));
  for (int64_t i = 0; i < n; ++i) {
    std::byte* begin = memory.data() + i * parts.total();
    if (i > 0) std::copy_n(memory.data(), parts.total(), begin);
    m.data = begin;
    if (parts.scales > 0) m.scales = begin + parts.data;
    if (parts.zeros > 0) m.zeros = begin + parts.data + parts.scales;
    matrices_.push_back(m);
  }
}

BenchProduct::BenchProduct(Ops& ops, const BenchWeights& weights, int64_t n_tokens,
                           int64_t n_at_once)
    : ops_(ops),
      weights_(weights),
      order_(int8_order(weights.matrix(0))),
      x_({n_tokens, weights.matrix(0).cols}),
      int8_(n_tokens, x_.view().size(1)),
      y_({n_tokens, n_at_once * weights.matrix(0).rows}),
      n_at_once_(n_at_once) {
  CHECK(n_at_once > 0 && n_at_once <= weights.n_matrices(), n_at_once, weights.n_matrices());
  for (int64_t i = 0; i < x_.view().count(); ++i) {
    x_.view().data()[i] = static_cast<float>(random_uniform(2, 2, static_cast<uint64_t>(i)) - 0.5);
  }
  const Int8Rows rows =
      int8_.rows(n_tokens, x_.view().size(1), order_.value_or(ColumnOrder::kNatural));
  ops_.quantize_int8(x_.view(), rows);
  const int64_t n_rows = weights.matrix(0).rows;
  for (int64_t i = 0; i < n_at_once; ++i) {
    products_.push_back({rows, {}, y_.view().columns(i * n_rows, n_rows)});
  }
}

double BenchProduct::run() {
  using Clock = std::chrono::steady_clock;
  for (Int8Product& product : products_) {
    product.w = weights_.matrix(next_);
    next_ = (next_ + 1) % weights_.n_matrices();
  }
  const Clock::time_point start = Clock::now();
  if (order_) {
    ops_.linear_int8(products_);
  } else {
    for (const Int8Product& product : products_) ops_.linear(x_.view(), product.w, product.y);
  }
  return std::chrono::duration<double>(Clock::now() - start).count();
}

}  // namespace dsv4
