// Input: four bytes of settings, then the bytes of a weight matrix, whatever they mean: scales that
// are infinite, NaN or denormal among them. Every part of a row decodes as whole blocks do, every
// build of the fast kernels gives the same bits, and one-hot activations give back the weights.
#include "base/check.h"
#include "base/rng.h"
#include "kernels/cpu/cpu_ops.h"
#include "kernels/int8_buffer.h"
#include "quant/block_codec.h"
#include "quant/quant_matrix.h"
#include "tensor/tensor.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <span>
#include <vector>

namespace dsv4 {
namespace {

constexpr DType kBlockTypes[] = {DType::kQ4_0, DType::kQ4_1, DType::kQ5_0,    DType::kQ5_1,
                                 DType::kQ8_0, DType::kQ2_K, DType::kQ3_K,    DType::kQ4_K,
                                 DType::kQ5_K, DType::kQ6_K, DType::kIQ2_XXS, DType::kMXFP4};

// One of each build that this machine can run; the first is the scalar one.
const std::vector<std::unique_ptr<Ops>>& builds() {
  static ThreadPool pool(1);
  static const std::vector<std::unique_ptr<Ops>> all = [] {
    std::vector<std::unique_ptr<Ops>> list;
    for (const Isa isa : kAllIsas) {
      if (isa_supported(isa)) list.push_back(make_cpu_ops(pool, isa));
    }
    return list;
  }();
  return all;
}

bool is_same(float a, float b) {
  return std::bit_cast<uint32_t>(a) == std::bit_cast<uint32_t>(b) ||
         (std::isnan(a) && std::isnan(b));
}

// The matrix that the settings ask for with as many rows as there are bytes, at most five. `data`
// has memory of its own, so that the address sanitizer sees reads past the end.
struct Input {
  std::vector<uint8_t> data;
  std::vector<uint8_t> scales;
  QuantMatrix w;
};

// FP8 or FP4 with E8M0 scales, which stand first.
void make_scaled(bool fp4, int64_t cols, std::span<const uint8_t> bytes, Input& input) {
  const int64_t row_bytes = fp4 ? cols / 2 : cols;
  const int64_t n_scales = fp4 ? cols / 32 : (cols + 127) / 128;
  const auto n = static_cast<int64_t>(bytes.size());
  const int64_t rows = fp4 ? n / (row_bytes + n_scales) : (n - n_scales) / row_bytes;
  input.w = {.rows = std::min<int64_t>(5, rows),
             .cols = cols,
             .block_rows = fp4 ? 1 : 128,
             .block_cols = fp4 ? 32 : 128,
             .scale_cols = n_scales,
             .format = fp4 ? WeightFormat::kFP4 : WeightFormat::kFP8,
             .scale_format = ScaleFormat::kE8M0};
  if (input.w.rows < 1) return;
  const auto all_scales = static_cast<size_t>(n_scales * (fp4 ? input.w.rows : 1));
  const auto all_codes = static_cast<size_t>(input.w.rows * row_bytes);
  input.scales.assign(bytes.begin(), bytes.begin() + static_cast<long>(all_scales));
  const auto codes = bytes.subspan(all_scales, all_codes);
  input.data.assign(codes.begin(), codes.end());
  input.w.data = reinterpret_cast<const std::byte*>(input.data.data());
  input.w.scales = reinterpret_cast<const std::byte*>(input.scales.data());
}

Input make_input(uint8_t type, int64_t n_blocks, std::span<const uint8_t> bytes) {
  Input input;
  if (type >= std::size(kBlockTypes)) {
    make_scaled(type % 2 == 0, 32 * n_blocks, bytes, input);
    return input;
  }
  const DType dtype = kBlockTypes[type];
  input.w = {.cols = dtype_block(dtype) * n_blocks, .format = weight_format(dtype).value()};
  const auto row_bytes = static_cast<size_t>(n_blocks) * dtype_bytes(dtype);
  const size_t rows = std::min<size_t>(5, bytes.size() / row_bytes);
  input.w.rows = static_cast<int64_t>(rows);
  input.data.assign(bytes.begin(), bytes.begin() + static_cast<long>(rows * row_bytes));
  input.w.data = reinterpret_cast<const std::byte*>(input.data.data());
  return input;
}

// All weights, row by row; whole blocks by their decoder.
std::vector<float> decode_all(const QuantMatrix& w) {
  std::vector<float> values(static_cast<size_t>(w.rows * w.cols));
  const auto type = block_type(w.format);
  for (int64_t row = 0; row < w.rows; ++row) {
    float* out = values.data() + row * w.cols;
    if (!type) {
      w.decode(row, 0, w.cols, out);
      continue;
    }
    const auto* bytes = reinterpret_cast<const uint8_t*>(w.data) + row * w.row_bytes();
    for (int64_t i = 0; i < w.cols; i += dtype_block(*type)) {
      block_decoder (*type)(bytes, out + i);
      bytes += dtype_bytes(*type);
    }
  }
  return values;
}

void check_parts(const QuantMatrix& w, std::span<const float> values, uint64_t seed) {
  for (uint64_t i = 0; i < 4; ++i) {
    const auto draw = [&](uint64_t k, int64_t n) {
      return static_cast<int64_t>(random_bits(seed, i, k) % static_cast<uint64_t>(n));
    };
    const int64_t row = draw(0, w.rows);
    const int64_t begin = draw(1, w.cols);
    const int64_t count = 1 + draw(2, w.cols - begin);
    std::vector<float> part(static_cast<size_t>(count));
    w.slice_rows(row, 1).decode(0, begin, count, part.data());
    for (int64_t k = 0; k < count; ++k) {
      const float expected = values[static_cast<size_t>(row * w.cols + begin + k)];
      CHECK(is_same(part[static_cast<size_t>(k)], expected), row, begin + k, expected);
    }
  }
}

// Activations of the order of one; with `hostile` a few that are not numbers to count with.
Tensor<float, 2> activations(int64_t n, int64_t cols, bool hostile, uint64_t seed) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  constexpr float kHostile[] = {0, -0.0f, 1e-40f, 3e38f, -kInfinity, kInfinity, NAN, 1e30f};
  Tensor<float, 2> x({n, cols});
  for (int64_t t = 0; t < n; ++t) {
    for (int64_t i = 0; i < cols; ++i) {
      const uint64_t bits = random_bits(seed, static_cast<uint64_t>(t), static_cast<uint64_t>(i));
      x.view()(t, i) = static_cast<float>(static_cast<int64_t>(bits % 2001) - 1000) / 400;
      if (hostile && bits >> 58 == 0) x.view()(t, i) = kHostile[bits >> 40 & 7];
    }
  }
  return x;
}

Tensor<float, 2> product(Ops& ops, Matrix<const float> x, const QuantMatrix& w, bool int8) {
  const int64_t n = x.size(0);
  Tensor<float, 2> y({n, w.rows});
  if (!int8) {
    ops.linear(x, w, y.view());
    return y;
  }
  Int8Buffer buffer(n, w.cols);
  const Int8Rows rows = buffer.rows(n, w.cols, *int8_order(w));
  ops.quantize_int8(x, rows);
  ops.linear_int8(rows, w, y.view());
  return y;
}

void check_products(const QuantMatrix& w, Matrix<const float> x) {
  for (const bool int8 : {false, true}) {
    if (int8 && !int8_order(w)) continue;
    const Tensor<float, 2> expected = product(*builds()[0], x, w, int8);
    for (size_t i = 1; i < builds().size(); ++i) {
      const Tensor<float, 2> y = product(*builds()[i], x, w, int8);
      for (int64_t t = 0; t < x.size(0); ++t) {
        for (int64_t row = 0; row < w.rows; ++row) {
          CHECK(is_same(y.view()(t, row), expected.view()(t, row)), i, int8, t, row);
        }
      }
    }
  }
}

// Rows without an infinity or NaN: what is not chosen adds zero.
void check_one_hot(const QuantMatrix& w, std::span<const float> values, int64_t column) {
  Tensor<float, 2> x({1, w.cols});
  for (int64_t i = 0; i < w.cols; ++i) x.view()(0, i) = i == column ? 1 : 0;
  const Tensor<float, 2> y = product(*builds().back(), x.view(), w, false);
  for (int64_t row = 0; row < w.rows; ++row) {
    const auto of_row =
        values.subspan(static_cast<size_t>(row * w.cols), static_cast<size_t>(w.cols));
    if (!std::ranges::all_of(of_row, [](float v) { return std::isfinite(v); })) continue;
    const float expected = of_row[static_cast<size_t>(column)];
    CHECK(y.view()(0, row) == expected, row, column, y.view()(0, row), expected);
  }
}

void fuzz(std::span<const uint8_t> bytes) {
  const uint8_t type = bytes[0] % (std::size(kBlockTypes) + 2);
  const Input input = make_input(type, 1 + bytes[1] % 9, bytes.subspan(4));
  const QuantMatrix& w = input.w;
  if (w.rows < 1) return;
  const uint64_t seed = bytes[3];
  const std::vector<float> values = decode_all(w);
  check_parts(w, values, seed);
  const int64_t n = 1 + bytes[2] % 5;
  const Tensor<float, 2> x = activations(n, w.cols, (bytes[2] & 0x80) != 0, seed);
  check_products(w, x.view());
  check_one_hot(w, values, static_cast<int64_t>(seed) % w.cols);
}

}  // namespace
}  // namespace dsv4

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size > 4) dsv4::fuzz(std::span(data, size));
  return 0;
}
