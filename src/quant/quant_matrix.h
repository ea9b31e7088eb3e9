// A weight matrix [rows, cols] in its stored format, looked at where it lies (a mapped file).
// decode() is the one scalar definition of every format; kernels are compared with it.
#pragma once

#include "tensor/dtype.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace dsv4 {

enum class WeightFormat : uint8_t {
  kF32,
  kF16,
  kBF16,
  kFP8,  // E4M3 codes, one scale per block of rows x columns
  kFP4,  // two E2M1 codes per byte (low nibble = even column), one scale per block
  // Blocks of GGUF with their scales inside (block_codec.h), in the order of DType.
  kQ4_0,
  kQ4_1,
  kQ5_0,
  kQ5_1,
  kQ8_0,
  kQ2_K,
  kQ3_K,
  kQ4_K,
  kQ5_K,
  kQ6_K,
  kIQ2_XXS,
  kMXFP4,
  // Groups of 4-bit integers with scales and zero points in tensors of their own.
  kAwqInt4,     // AWQ, "gemm" layout: data and zeros run along the rows
  kPackedInt4,  // compressed-tensors: data along the columns, zeros along the rows
};

// "F32", "FP8", "Q4_K", ...; "INT4" is AWQ's layout, "PACKED_INT4" the other.
std::string_view weight_format_name(WeightFormat format);

// The block type of a format, and the format of weights stored in it; nothing for others.
std::optional<DType> block_type(WeightFormat format);
std::optional<WeightFormat> weight_format(DType block_type);

enum class ScaleFormat : uint8_t { kNone, kE8M0, kF32, kF16, kBF16 };

// Bytes of one scale.
constexpr int64_t scale_bytes(ScaleFormat format) {
  constexpr int64_t kBytes[] = {0, 1, 4, 2, 2};
  return kBytes[static_cast<size_t>(format)];
}

struct QuantMatrix {
  const std::byte* data = nullptr;
  const std::byte* scales = nullptr;  // [ceil(all rows / block_rows), scale_cols]
  const std::byte* zeros = nullptr;   // zero points of 4-bit integers, eight to a word; or none
  int64_t rows = 0;
  int64_t cols = 0;
  int64_t first_row = 0;  // of this view in the stored tensor; block scales count from its start
  int64_t block_rows = 1;
  int64_t block_cols = 1;
  int64_t scale_cols = 0;
  WeightFormat format = WeightFormat::kF32;
  ScaleFormat scale_format = ScaleFormat::kNone;

  // Block-scaled weights; the official numerics quantise the inputs of their products too.
  bool is_quantized() const { return format == WeightFormat::kFP8 || format == WeightFormat::kFP4; }

  int64_t row_bytes() const;
  // Of the scales and zero points that lie apart from the weights. Of a whole tensor, not a view.
  int64_t scales_bytes() const;
  int64_t zeros_bytes() const;

  // Whether a row's scales lie among its bytes.
  bool has_blocks() const { return block_type(format).has_value(); }

  // Rows [begin, begin + count).
  QuantMatrix slice_rows(int64_t begin, int64_t count) const;

  // Weights [row, begin .. begin + count) as float32.
  void decode(int64_t row, int64_t begin, int64_t count, float* out) const;

  // Scale of the block that holds (row, col); 1 without scales.
  float scale(int64_t row, int64_t col) const;

  // What a 4-bit integer at (row, col) has too much.
  int zero_point(int64_t row, int64_t col) const;

 private:
  int64_t n_scales() const;
  void decode_blocks(int64_t row, int64_t begin, int64_t count, float* out) const;
  int code_of_int4(int64_t row, int64_t col) const;
};

}  // namespace dsv4
