#include "quant/quant_matrix.h"

#include "base/check.h"
#include "quant/float_formats.h"

#include <algorithm>
#include <cstring>

namespace dsv4 {
namespace {

// Files are mapped at any alignment, so elements are read through memcpy.
template <typename T>
T load(const std::byte* data, int64_t index) {
  T value;
  std::memcpy(&value, data + index * static_cast<int64_t>(sizeof(T)), sizeof(T));
  return value;
}

}  // namespace

int64_t QuantMatrix::row_bytes() const {
  switch (format) {
    case WeightFormat::kF32:
      return cols * 4;
    case WeightFormat::kF16:
    case WeightFormat::kBF16:
      return cols * 2;
    case WeightFormat::kFP8:
      return cols;
    case WeightFormat::kFP4:
      return cols / 2;
  }
  return 0;
}

QuantMatrix QuantMatrix::slice_rows(int64_t begin, int64_t count) const {
  CHECK(begin >= 0 && count >= 0 && begin + count <= rows, begin, count, rows);
  QuantMatrix slice = *this;
  slice.data += begin * row_bytes();
  slice.first_row += begin;
  slice.rows = count;
  return slice;
}

float QuantMatrix::scale(int64_t row, int64_t col) const {
  const int64_t index = (first_row + row) / block_rows * scale_cols + col / block_cols;
  switch (scale_format) {
    case ScaleFormat::kNone:
      return 1;
    case ScaleFormat::kE8M0:
      return e8m0_to_float(load<uint8_t>(scales, index));
    case ScaleFormat::kF32:
      return load<float>(scales, index);
  }
  return 1;
}

void QuantMatrix::decode(int64_t row, int64_t begin, int64_t count, float* out) const {
  if (count == 0) return;
  const std::byte* stored = data + row * row_bytes();
  switch (format) {
    case WeightFormat::kF32:
      std::memcpy(out, stored + begin * 4, static_cast<size_t>(count) * 4);
      return;
    case WeightFormat::kF16:
      for (int64_t i = 0; i < count; ++i) out[i] = f16_to_float(load<uint16_t>(stored, begin + i));
      return;
    case WeightFormat::kBF16:
      for (int64_t i = 0; i < count; ++i) out[i] = bf16_to_float(load<uint16_t>(stored, begin + i));
      return;
    case WeightFormat::kFP8:
      for (int64_t i = begin; i < begin + count; ++i) {
        out[i - begin] = e4m3_to_float(load<uint8_t>(stored, i)) * scale(row, i);
      }
      return;
    case WeightFormat::kFP4:
      for (int64_t i = begin; i < begin + count; ++i) {
        const uint8_t pair = load<uint8_t>(stored, i / 2);
        out[i - begin] = kE2m1Values[i % 2 == 0 ? pair & 15 : pair >> 4] * scale(row, i);
      }
      return;
  }
}

}  // namespace dsv4
