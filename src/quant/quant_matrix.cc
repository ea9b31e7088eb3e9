#include "quant/quant_matrix.h"

#include "base/check.h"
#include "quant/block_codec.h"
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

// Nibble `i` of the 32-bit words at `words`.
int nibble(const std::byte* words, int64_t i) {
  return static_cast<int>(load<uint32_t>(words, i / 8) >> (4 * (i % 8)) & 15);
}

// The place in its word of AWQ's logical column 8 w + j.
constexpr int64_t kAwqPlace[8] = {0, 4, 1, 5, 2, 6, 3, 7};

int64_t awq_index(int64_t row) { return row / 8 * 8 + kAwqPlace[row % 8]; }

}  // namespace

std::string_view weight_format_name(WeightFormat format) {
  switch (format) {
    case WeightFormat::kF32:
      return "F32";
    case WeightFormat::kF16:
      return "F16";
    case WeightFormat::kBF16:
      return "BF16";
    case WeightFormat::kFP8:
      return "FP8";
    case WeightFormat::kFP4:
      return "FP4";
    case WeightFormat::kAwqInt4:
      return "INT4";
    case WeightFormat::kPackedInt4:
      return "PACKED_INT4";
    default:
      return dtype_name(block_type(format).value());
  }
}

std::optional<DType> block_type(WeightFormat format) {
  if (format < WeightFormat::kQ4_0 || format > WeightFormat::kMXFP4) return std::nullopt;
  const int place = static_cast<int>(format) - static_cast<int>(WeightFormat::kQ4_0);
  return static_cast<DType>(static_cast<int>(DType::kQ4_0) + place);
}

std::optional<WeightFormat> weight_format(DType block_type) {
  if (block_type < DType::kQ4_0) return std::nullopt;
  const int place = static_cast<int>(block_type) - static_cast<int>(DType::kQ4_0);
  return static_cast<WeightFormat>(static_cast<int>(WeightFormat::kQ4_0) + place);
}

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
    case WeightFormat::kAwqInt4:
      return cols / 2;
    case WeightFormat::kPackedInt4:
      return (cols + 7) / 8 * 4;
    default:
      const DType type = block_type(format).value();
      return cols / dtype_block(type) * static_cast<int64_t>(dtype_bytes(type));
  }
}

int64_t QuantMatrix::scales_bytes() const { return n_scales() * scale_bytes(scale_format); }

int64_t QuantMatrix::zeros_bytes() const { return zeros == nullptr ? 0 : n_scales() / 2; }

int64_t QuantMatrix::n_scales() const {
  const auto blocks = [](int64_t n, int64_t block) { return (n + block - 1) / block; };
  return scale_cols *
         (format == WeightFormat::kAwqInt4 ? blocks(cols, block_cols) : blocks(rows, block_rows));
}

QuantMatrix QuantMatrix::slice_rows(int64_t begin, int64_t count) const {
  CHECK(begin >= 0 && count >= 0 && begin + count <= rows, begin, count, rows);
  QuantMatrix slice = *this;
  if (format != WeightFormat::kAwqInt4) slice.data += begin * row_bytes();
  slice.first_row += begin;
  slice.rows = count;
  return slice;
}

float QuantMatrix::scale(int64_t row, int64_t col) const {
  const int64_t index = format == WeightFormat::kAwqInt4
                            ? col / block_cols * scale_cols + first_row + row
                            : (first_row + row) / block_rows * scale_cols + col / block_cols;
  switch (scale_format) {
    case ScaleFormat::kNone:
      return 1;
    case ScaleFormat::kE8M0:
      return e8m0_to_float(load<uint8_t>(scales, index));
    case ScaleFormat::kF32:
      return load<float>(scales, index);
    case ScaleFormat::kF16:
      return f16_to_float(load<uint16_t>(scales, index));
    case ScaleFormat::kBF16:
      return bf16_to_float(load<uint16_t>(scales, index));
  }
  return 1;
}

// Whole blocks, and of the first and last one what is asked for.
void QuantMatrix::decode_blocks(int64_t row, int64_t begin, int64_t count, float* out) const {
  constexpr int64_t kMaxBlock = 256;
  const DType type = block_type(format).value();
  const int64_t block = dtype_block(type);
  const DecodeBlock decode_block = block_decoder(type);
  const auto* stored = reinterpret_cast<const uint8_t*>(data) + row * row_bytes();
  for (int64_t i = begin; i < begin + count;) {
    float values[kMaxBlock];
    const int64_t first = i % block;
    const int64_t n = std::min(block - first, begin + count - i);
    decode_block(stored + i / block * static_cast<int64_t>(dtype_bytes(type)), values);
    std::copy_n(values + first, n, out + i - begin);
    i += n;
  }
}

int QuantMatrix::zero_point(int64_t row, int64_t col) const {
  const int64_t r = first_row + row;
  const int64_t group = col / block_cols;
  if (zeros == nullptr) return 8;
  if (format == WeightFormat::kAwqInt4) return nibble(zeros, group * scale_cols + awq_index(r));
  return nibble(zeros + (r / 8 * scale_cols + group) * 4, r % 8);
}

int QuantMatrix::code_of_int4(int64_t row, int64_t col) const {
  if (format == WeightFormat::kAwqInt4) {
    return nibble(data, col * scale_cols + awq_index(first_row + row));
  }
  return nibble(data + row * row_bytes(), col);
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
    case WeightFormat::kAwqInt4:
    case WeightFormat::kPackedInt4:
      for (int64_t i = begin; i < begin + count; ++i) {
        const int integer = code_of_int4(row, i) - zero_point(row, i);
        out[i - begin] = static_cast<float>(integer) * scale(row, i);
      }
      return;
    default:
      decode_blocks(row, begin, count, out);
  }
}

}  // namespace dsv4
