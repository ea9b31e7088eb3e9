// A weight matrix [rows, cols] in its stored format, looked at where it lies (a mapped file).
// decode() is the one scalar definition of every format; kernels are compared with it.
#pragma once

#include <cstddef>
#include <cstdint>

namespace dsv4 {

enum class WeightFormat : uint8_t {
  kF32,
  kF16,
  kBF16,
  kFP8,  // E4M3 codes, one scale per block of rows x columns
  kFP4,  // two E2M1 codes per byte (low nibble = even column), one scale per block
};

enum class ScaleFormat : uint8_t { kNone, kE8M0, kF32 };

// Bytes of one scale.
constexpr int64_t scale_bytes(ScaleFormat format) {
  return format == ScaleFormat::kF32 ? 4 : format == ScaleFormat::kE8M0 ? 1 : 0;
}

struct QuantMatrix {
  const std::byte* data = nullptr;
  const std::byte* scales = nullptr;  // [ceil(all rows / block_rows), scale_cols]
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

  // Rows [begin, begin + count).
  QuantMatrix slice_rows(int64_t begin, int64_t count) const;

  // Weights [row, begin .. begin + count) as float32. `begin` is even for FP4.
  void decode(int64_t row, int64_t begin, int64_t count, float* out) const;

  // Scale of the block that holds (row, col); 1 without scales.
  float scale(int64_t row, int64_t col) const;
};

}  // namespace dsv4
