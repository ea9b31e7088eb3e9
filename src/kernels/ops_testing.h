// What the tests of the operations share: seeded random inputs (of awkward shapes, in strided
// views), every build of the operations that this machine can run, and comparisons.
#pragma once

#include "base/rng.h"
#include "base/thread_pool.h"
#include "kernels/cpu/cpu_ops.h"
#include "kernels/ops.h"
#include "kernels/ref/ref_ops.h"
#include "quant/float_formats.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <deque>
#include <initializer_list>
#include <limits>
#include <memory>
#include <string>
#include <vector>

namespace dsv4::testing {

enum class Values {
  kPlain,    // normal numbers around 1
  kHostile,  // now and then zeros, denormals, huge numbers, infinities and NaN
};

// Draws the inputs of one case, owns them, and describes their shapes.
class Inputs {
 public:
  explicit Inputs(uint64_t seed, Values values = Values::kPlain)
      : seed_(seed), values_(values), description_(fmt::format("seed {}:", seed)) {
    constexpr double kRates[] = {1.0 / 8, 1.0 / 100, 1.0 / 1000};
    hostile_rate_ = values == Values::kHostile ? kRates[integer(0, 2)] : 0;
  }

  const std::string& description() const { return description_; }

  int64_t integer(int64_t low, int64_t high) {
    return low + static_cast<int64_t>(bits() % static_cast<uint64_t>(high - low + 1));
  }
  template <typename T>
  T one_of(std::initializer_list<T> choices) {
    return choices.begin()[integer(0, static_cast<int64_t>(choices.size()) - 1)];
  }
  bool coin() { return integer(0, 1) == 1; }

  // Sizes are drawn by name, so that a failure can print them.
  int64_t size(const char* name, int64_t value) {
    description_ += fmt::format(" {}={}", name, value);
    return value;
  }
  int64_t n_tokens() {
    return size("n", integer(0, 3) > 0 ? integer(1, 9) : one_of<int64_t>({16, 17, 33, 70}));
  }
  int64_t width() {
    return size("width", integer(0, 3) > 0
                             ? one_of<int64_t>({1, 16, 17, 24, 80, 96, 128, 1000, 1025, 2049})
                             : integer(1, 300));
  }

  float plain() {  // nearly normal: the sum of three uniform numbers
    const double sum = uniform() + uniform() + uniform() - 1.5;
    return static_cast<float>(2 * sum);
  }
  float value() {
    constexpr float kInf = std::numeric_limits<float>::infinity();
    if (hostile_rate_ > 0 && uniform() < hostile_rate_) {
      return one_of<float>({0.0f, -0.0f, 1e-40f, -1e-45f, 1e30f, -1e30f, 3.4e38f, -3.4e38f, kInf,
                            -kInf, std::numeric_limits<float>::quiet_NaN()});
    }
    return plain();
  }

  // A matrix of random values, half of the time as columns of a wider one.
  Matrix<float> matrix(int64_t rows, int64_t cols) {
    const int64_t before = coin() ? integer(0, 5) : 0;
    const int64_t after = coin() ? integer(0, 5) : 0;
    Matrix<float> all =
        floats_.emplace_back(Tensor<float, 2>({rows, before + cols + after})).view();
    for (int64_t i = 0; i < all.count(); ++i) all.data()[i] = value();
    return all.columns(before, cols);
  }
  // [n, m, d] with rows of the first dimension possibly apart, the rest contiguous.
  View<float, 3> heads(int64_t n, int64_t m, int64_t d) { return as_heads(matrix(n, m * d), m, d); }

  std::span<float> vector(int64_t n) {
    std::vector<float>& v = vectors_.emplace_back(static_cast<size_t>(n));
    for (float& x : v) x = value();
    return v;
  }

  // `count` indices below `limit`, distinct or not.
  std::span<const int32_t> indices(int64_t count, int64_t limit) {
    std::vector<int32_t>& v = ids_.emplace_back();
    for (int64_t i = 0; i < count; ++i) v.push_back(static_cast<int32_t>(integer(0, limit - 1)));
    return v;
  }
  std::span<const int32_t> distinct_indices(int64_t count, int64_t limit) {
    std::vector<int32_t>& v = ids_.emplace_back();
    for (int64_t i = 0; i < limit; ++i) {  // reservoir: any `count` of them, in any order
      if (i < count) v.insert(v.begin() + integer(0, i), static_cast<int32_t>(i));
      const int64_t place = integer(0, i);
      if (i >= count && place < count) v[static_cast<size_t>(place)] = static_cast<int32_t>(i);
    }
    return v;
  }

  // One list of up to max_rows rows of `width` values for each token; lists share rows.
  RowLists lists(int64_t n_tokens, int64_t min_rows, int64_t max_rows, int64_t width,
                 bool with_nulls);
  // Lists of entries of random values in a random format, in rows of bytes apart from each other.
  EntryLists entry_lists(int64_t n_tokens, int64_t max_rows, int64_t width, EntryType type,
                         bool with_nulls);
  EntryFormat entry_format(int64_t width, EntryType type);
  // Lists of the same lengths and sharing as `other`, with other rows.
  RowLists lists_like(const RowLists& other, int64_t width);

  // A weight in the given format with random scale blocks; a slice of a taller one.
  QuantMatrix weight(int64_t rows, int64_t cols, WeightFormat format);

  // A weight that has int8 products; it may end in the middle of four scales.
  QuantMatrix int8_weight(int64_t rows, int64_t cols, WeightFormat format);

  static View<float, 3> as_heads(Matrix<float> m, int64_t n_heads, int64_t d) {
    return {m.data(), {m.size(0), n_heads, d}, {m.stride(0), d, 1}};
  }

 private:
  uint64_t bits() { return random_bits(seed_, 0, counter_++); }
  double uniform() { return random_uniform(seed_, 1, counter_++); }
  void fill_weights(WeightFormat format, std::vector<std::byte>& data);
  void fill_scales(QuantMatrix& w, int64_t n_blocks);
  void fill_int8_scales(QuantMatrix& w, int64_t n_blocks);
  QuantMatrix weight_of_blocks(int64_t rows, int64_t cols, DType type);
  QuantMatrix int4_weight(int64_t rows, int64_t cols, WeightFormat format);

  uint64_t seed_;
  uint64_t counter_ = 0;
  Values values_;
  double hostile_rate_ = 0;
  std::string description_;
  std::deque<Tensor<float, 2>> floats_;
  std::deque<std::vector<float>> vectors_;
  std::deque<std::vector<int32_t>> ids_;
  std::deque<std::vector<int64_t>> offsets_;
  std::deque<std::vector<const float*>> rows_;
  std::deque<std::vector<std::byte>> bytes_;
  std::deque<std::vector<const std::byte*>> entries_;
};

inline RowLists Inputs::lists(int64_t n_tokens, int64_t min_rows, int64_t max_rows, int64_t width,
                              bool with_nulls) {
  std::vector<const float*>& rows = rows_.emplace_back();
  std::vector<int64_t>& begin = offsets_.emplace_back();
  std::vector<int64_t>& end = offsets_.emplace_back();
  const int64_t n_rows = size("rows", integer(min_rows, max_rows));
  const Matrix<float> values = matrix(n_rows, width);
  for (int64_t r = 0; r < n_rows; ++r) {
    rows.push_back(with_nulls && integer(0, 4) == 0 ? nullptr
                                                    : values.data() + r * values.stride(0));
  }
  for (int64_t t = 0; t < n_tokens; ++t) {
    end.push_back(integer(min_rows, n_rows));
    begin.push_back(integer(0, end.back() - min_rows));
  }
  return {rows, begin, end};
}

inline EntryFormat Inputs::entry_format(int64_t width, EntryType type) {
  const bool fp8 = type == EntryType::kFP8;
  const int64_t rotary = size("rotary", one_of<int64_t>({0, 16, 64, 3}));
  return {type, width, fp8 ? std::max<int64_t>(0, width - rotary) : 0};
}

inline EntryLists Inputs::entry_lists(int64_t n_tokens, int64_t max_rows, int64_t width,
                                      EntryType type, bool with_nulls) {
  const EntryFormat format = entry_format(width, type);
  const RowLists values = lists(n_tokens, 0, max_rows, width, with_nulls);
  const auto step = static_cast<size_t>(format.bytes() + integer(0, 3));
  std::vector<std::byte>& data = bytes_.emplace_back(values.rows.size() * step);
  std::vector<const std::byte*>& rows = entries_.emplace_back();
  for (size_t r = 0; r < values.rows.size(); ++r) {
    rows.push_back(values.rows[r] == nullptr ? nullptr : &data[r * step]);
    if (rows.back() != nullptr) encode_entry(format, values.rows[r], &data[r * step]);
  }
  return {format, {rows, values.begin, values.end}};
}

inline RowLists Inputs::lists_like(const RowLists& other, int64_t width) {
  std::vector<const float*>& rows = rows_.emplace_back();
  const Matrix<float> values = matrix(static_cast<int64_t>(other.rows.size()), width);
  for (int64_t r = 0; r < values.size(0); ++r) rows.push_back(values.data() + r * values.stride(0));
  return {rows, other.begin, other.end};
}

inline QuantMatrix Inputs::weight(int64_t rows, int64_t cols, WeightFormat format) {
  QuantMatrix w{.cols = cols, .format = format};
  const int64_t first = coin() ? integer(0, 150) : 0;
  w.rows = first + rows;
  std::vector<std::byte>& data = bytes_.emplace_back(static_cast<size_t>(w.rows * w.row_bytes()));
  fill_weights(format, data);
  w.data = data.data();
  if (w.is_quantized()) {
    struct Block {
      int64_t rows, cols;
    };
    const Block block = format == WeightFormat::kFP8
                            ? one_of<Block>({{128, 128}, {32, 32}, {3, 5}, {16, 16}, {7, 48}})
                            : one_of<Block>({{1, 32}, {1, 32}, {1, 16}, {2, 6}});
    w.block_rows = size("block_rows", block.rows);
    w.block_cols = size("block_cols", block.cols);
    w.scale_cols = (cols + block.cols - 1) / block.cols;
    fill_scales(w, (w.rows + block.rows - 1) / block.rows * w.scale_cols);
  }
  size("format", static_cast<int64_t>(format));
  return w.slice_rows(size("first_row", first), size("out", rows));
}

inline QuantMatrix Inputs::int8_weight(int64_t rows, int64_t cols, WeightFormat format) {
  if (const auto type = block_type(format)) return weight_of_blocks(rows, cols, *type);
  if (format == WeightFormat::kAwqInt4 || format == WeightFormat::kPackedInt4) {
    return int4_weight(rows, cols, format);
  }
  cols -= 32 * integer(0, 3);
  QuantMatrix w{.rows = rows, .cols = cols, .block_cols = 32, .format = format};
  if (format == WeightFormat::kFP8) {
    w.block_rows = one_of<int64_t>({1, 3, 32, 128});
    w.block_cols = one_of<int64_t>({32, 64, 128});
  }
  std::vector<std::byte>& data = bytes_.emplace_back(static_cast<size_t>(rows * w.row_bytes()));
  fill_weights(format, data);
  // Rows of small codes, where the range of FP8 ends.
  for (int64_t r = 0; format == WeightFormat::kFP8 && r < rows; r += integer(1, 8)) {
    const auto bits_kept = static_cast<std::byte>(one_of<int>({0x80, 0x83, 0x9F, 0xBF}));
    for (int64_t i = 0; i < cols; ++i) data[static_cast<size_t>(r * cols + i)] &= bits_kept;
  }
  w.data = data.data();
  w.scale_cols = (cols + w.block_cols - 1) / w.block_cols;
  fill_int8_scales(w, (rows + w.block_rows - 1) / w.block_rows * w.scale_cols);
  const int64_t first = size("first_row", coin() ? integer(0, rows - 1) : 0);
  return w.slice_rows(first, rows - first);
}

// Blocks of any bytes, but with scales around 1; hostile ones may be NaN.
inline QuantMatrix Inputs::weight_of_blocks(int64_t rows, int64_t cols, DType type) {
  if (dtype_block(type) == 32) cols -= 32 * integer(0, 3);
  QuantMatrix w{.rows = rows, .cols = cols, .format = weight_format(type).value()};
  std::vector<std::byte>& data = bytes_.emplace_back(static_cast<size_t>(rows * w.row_bytes()));
  for (std::byte& byte : data) byte = static_cast<std::byte>(bits() & 0xFF);
  for (size_t block = 0; block < data.size(); block += dtype_bytes(type)) {
    const bool hostile = values_ == Values::kHostile && integer(0, 50) == 0;
    if (type == DType::kMXFP4) {
      data[block] = static_cast<std::byte>(hostile ? one_of<int64_t>({0, 227, 228, 254, 255})
                                                   : integer(122, 130));
      continue;
    }
    const size_t d = type == DType::kQ2_K   ? 80
                     : type == DType::kQ3_K ? 108
                     : type == DType::kQ6_K ? 208
                                            : 0;
    const bool has_minimum = type == DType::kQ4_1 || type == DType::kQ5_1 || type == DType::kQ2_K ||
                             type == DType::kQ4_K || type == DType::kQ5_K;
    for (size_t half = d; half <= d + (has_minimum ? 2 : 0); half += 2) {
      const auto high = static_cast<std::byte>(integer(9, 16) << 2 | integer(0, 1) << 7);
      data[block + half + 1] =
          hostile ? std::byte{0x7E} : (data[block + half + 1] & std::byte{3}) | high;
    }
  }
  w.data = data.data();
  const int64_t first = size("first_row", coin() ? integer(0, rows - 1) : 0);
  return w.slice_rows(first, rows - first);
}

inline QuantMatrix Inputs::int4_weight(int64_t rows, int64_t cols, WeightFormat format) {
  const bool awq = format == WeightFormat::kAwqInt4;
  if (awq) rows = (rows + 15) / 16 * 16;
  const int64_t group = one_of<int64_t>({32, 64, 128, 256});
  QuantMatrix w{.rows = rows, .cols = cols, .block_cols = group, .format = format};
  const int64_t n_groups = cols / group;
  w.scale_cols = awq ? rows : n_groups;
  const auto words = [&](int64_t n) {
    std::vector<std::byte>& data = bytes_.emplace_back(static_cast<size_t>(n * 4));
    for (std::byte& byte : data) byte = static_cast<std::byte>(bits() & 0xFF);
    return data.data();
  };
  w.data = words(rows * cols / 8);
  w.scale_format =
      awq ? ScaleFormat::kF16
          : one_of<ScaleFormat>({ScaleFormat::kF16, ScaleFormat::kBF16, ScaleFormat::kF32});
  if (awq || coin()) w.zeros = words((rows + 7) / 8 * n_groups);
  std::vector<std::byte>& scales =
      bytes_.emplace_back(static_cast<size_t>(rows * n_groups * scale_bytes(w.scale_format)));
  for (int64_t i = 0; i < rows * n_groups; ++i) {
    const auto value = static_cast<float>(0.5 + uniform());
    const auto half = static_cast<uint16_t>(0x3800 + integer(0, 2047));
    const uint32_t wide = std::bit_cast<uint32_t>(value);
    const int64_t size = scale_bytes(w.scale_format);
    const uint32_t code = w.scale_format == ScaleFormat::kF16 ? half
                          : size == 2                         ? wide >> 16
                                                              : wide;
    std::memcpy(&scales[static_cast<size_t>(i * size)], &code, static_cast<size_t>(size));
  }
  w.scales = scales.data();
  const int64_t first = awq ? 16 * integer(0, rows / 16 - 1) : coin() ? integer(0, rows - 1) : 0;
  return w.slice_rows(size("first_row", first), rows - first);
}

inline void Inputs::fill_int8_scales(QuantMatrix& w, int64_t n_blocks) {
  const bool wide = w.format == WeightFormat::kFP8 && coin();
  w.scale_format = wide ? ScaleFormat::kF32 : ScaleFormat::kE8M0;
  std::vector<std::byte>& scales =
      bytes_.emplace_back(static_cast<size_t>(n_blocks * scale_bytes(w.scale_format)));
  for (int64_t i = 0; i < n_blocks; ++i) {
    // Hostile ones stop short of scales with which single weights overflow: sums of integers do
    // not.
    const bool hostile = values_ == Values::kHostile && integer(0, 20) == 0;
    const auto any = static_cast<uint8_t>(bits() & 0xFF);
    const uint8_t e8m0 = !hostile ? 122 + any % 9 : any > 240 ? 255 : any;
    const float f32 = e8m0_to_float(e8m0) * (wide ? 1.37f : 1.0f);
    if (wide) {
      std::memcpy(&scales[static_cast<size_t>(i * 4)], &f32, sizeof(f32));
    } else {
      scales[static_cast<size_t>(i)] = static_cast<std::byte>(e8m0);
    }
  }
  w.scales = scales.data();
}

inline void Inputs::fill_weights(WeightFormat format, std::vector<std::byte>& data) {
  const size_t step = format == WeightFormat::kF32 ? 4 : format > WeightFormat::kBF16 ? 1 : 2;
  for (size_t i = 0; i < data.size(); i += step) {
    const uint64_t random = bits();
    uint32_t code = static_cast<uint32_t>(random & 0xFF);
    if (format == WeightFormat::kF32) code = std::bit_cast<uint32_t>(value());
    if (format == WeightFormat::kBF16) code = std::bit_cast<uint32_t>(value()) >> 16;
    if (format == WeightFormat::kF16) {  // exponents 9 to 16 of 31: around 1
      code = static_cast<uint32_t>(random & 0x83FF) | static_cast<uint32_t>(integer(9, 16)) << 10;
      if (values_ == Values::kHostile && integer(0, 20) == 0) code = random >> 32 & 0xFFFF;
    }
    const bool nan = format == WeightFormat::kFP8 && (code & 0x7F) == 0x7F;
    if (nan && (values_ == Values::kPlain || integer(0, 9) > 0)) code = 0x30;
    std::memcpy(&data[i], &code, step);
  }
}

inline void Inputs::fill_scales(QuantMatrix& w, int64_t n_blocks) {
  w.scale_format = one_of<ScaleFormat>({ScaleFormat::kE8M0, ScaleFormat::kF32});
  size("scale_format", static_cast<int64_t>(w.scale_format));
  const size_t step = w.scale_format == ScaleFormat::kF32 ? 4 : 1;
  std::vector<std::byte>& scales = bytes_.emplace_back(static_cast<size_t>(n_blocks) * step);
  for (size_t i = 0; i < scales.size(); i += step) {
    uint32_t code = static_cast<uint32_t>(integer(122, 130));
    if (values_ == Values::kHostile && integer(0, 20) == 0) code = bits() & 0xFF;
    if (step == 4) code = std::bit_cast<uint32_t>(std::fabs(value()) + 0.1f);
    std::memcpy(&scales[i], &code, step);
  }
  w.scales = scales.data();
}

// A build of the operations; the name appears in failures.
struct NamedOps {
  std::string name;
  Isa isa;
  int n_threads;
  Ops& ops;
};

// RefOps, and CpuOps of every instruction set of this machine with 1, 2 and 3 threads.
class AllOps {
 public:
  AllOps() : ref_(make_ref_ops()) {
    for (const Isa isa : kAllIsas) {
      if (!isa_supported(isa)) continue;
      for (ThreadPool& pool : pools_) {
        Ops& ops = *owned_.emplace_back(make_cpu_ops(pool, isa));
        const std::string name = fmt::format("{} with {} threads", isa_name(isa), pool.n_threads());
        cpu_.push_back({name, isa, pool.n_threads(), ops});
      }
    }
  }

  Ops& ref() { return *ref_; }
  const std::vector<NamedOps>& cpu() { return cpu_; }
  // The reference and one build for each instruction set.
  std::vector<NamedOps> each() {
    std::vector<NamedOps> all = {{"reference", Isa::kScalar, 1, *ref_}};
    for (const NamedOps& build : cpu_) {
      if (build.n_threads == 1) all.push_back(build);
    }
    return all;
  }

  static AllOps& instance() {
    static AllOps all;
    return all;
  }

 private:
  std::unique_ptr<Ops> ref_;
  std::array<ThreadPool, 3> pools_{ThreadPool(1), ThreadPool(2), ThreadPool(3)};
  std::vector<std::unique_ptr<Ops>> owned_;
  std::vector<NamedOps> cpu_;
};

}  // namespace dsv4::testing
