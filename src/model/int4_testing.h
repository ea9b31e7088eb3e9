// INT4 weights for tests, encoded by the definition of their formats (docs/formats.md) with nothing
// of the code that reads them.
#pragma once

#include "model/config.h"
#include "model/weights_testing.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

namespace dsv4 {

struct Int4Style {
  const char* name;
  Int4Config config;
  DType scale = DType::kF16;
  DType shape = DType::kI64;  // of weight_shape
};

inline const Int4Style kAwqStyle = {"AWQ", {Int4Method::kAwq, 32, false}};

// All but AWQ in groups of 32: what compressed-tensors can be, and whole rows.
inline const std::vector<Int4Style> kInt4Styles = {
    kAwqStyle,
    {"AWQ, whole rows", {Int4Method::kAwq, 0, false}},
    {"symmetric", {Int4Method::kCompressedTensors, 32, true}, DType::kBF16},
    {"asymmetric", {Int4Method::kCompressedTensors, 32, false}, DType::kF16, DType::kI32},
    {"asymmetric, whole rows", {Int4Method::kCompressedTensors, 0, false}, DType::kF32},
};

// A tensor that is filled one number at a time.
class StoredWriter {
 public:
  StoredWriter(DType dtype, std::vector<int64_t> shape) : stored_{dtype, std::move(shape), {}} {
    stored_.data.resize(static_cast<size_t>(count(stored_.shape)) * dtype_bytes(dtype));
  }
  // Adds (ors) bits to element `index`.
  void put(int64_t index, uint64_t bits) {
    const size_t size = dtype_bytes(stored_.dtype);
    std::byte* at = stored_.data.data() + static_cast<size_t>(index) * size;
    for (size_t i = 0; i < size; ++i) at[i] |= static_cast<std::byte>(bits >> (8 * i));
  }
  Stored get() const { return stored_; }

 private:
  Stored stored_;
};

// One weight as integers with scales: w = (q - z) * scale, z and q in 0..15 for AWQ, in -8..7
// for compressed-tensors.
class Int4Encoder {
 public:
  Int4Encoder(const Int4Style& style, int64_t rows, int64_t cols)
      : style_(style),
        rows_(rows),
        cols_(cols),
        group_(style.config.group_size == 0 ? cols : style.config.group_size),
        groups_(cols / group_) {}

  void quantize(const std::vector<float>& values) {
    const bool awq = style_.config.method == Int4Method::kAwq;
    const int low = awq ? 0 : -8;
    for (int64_t r = 0; r < rows_; ++r) {
      for (int64_t g = 0; g < groups_; ++g) {
        const float* from = values.data() + r * cols_ + g * group_;
        const auto [min, max] = std::minmax_element(from, from + group_);
        const float spread =
            style_.config.symmetric ? std::max(-*min, *max) / 7 : (*max - *min) / 15;
        const float scale = few_bits(std::max(spread, 0x1p-13f));
        const int zero =
            style_.config.symmetric
                ? 0
                : std::clamp(low - static_cast<int>(std::lround(*min / scale)), low, low + 15);
        scales_.push_back(scale);
        zeros_.push_back(zero);
        for (int64_t i = 0; i < group_; ++i) {
          const int q = static_cast<int>(std::lround(from[i] / scale)) + zero;
          codes_.push_back(std::clamp(q, low, low + 15));
        }
      }
    }
  }

  // What the tensors mean.
  std::vector<float> values() const {
    std::vector<float> values;
    for (int64_t r = 0; r < rows_; ++r) {
      for (int64_t c = 0; c < cols_; ++c) {
        const size_t g = static_cast<size_t>(r * groups_ + c / group_);
        const int q = codes_[static_cast<size_t>(r * cols_ + c)];
        values.push_back(static_cast<float>(q - zeros_[g]) * scales_[g]);
      }
    }
    return values;
  }

  // Puts the tensors of "X." beside each other.
  void store(const std::string& stem, Tensors& tensors) const {
    if (style_.config.method == Int4Method::kAwq) {
      store_awq(stem, tensors);
    } else {
      store_packed(stem, tensors);
    }
  }

 private:
  // Seven bits of mantissa, which every type of scale has.
  static float few_bits(float scale) {
    return std::bit_cast<float>(std::bit_cast<uint32_t>(scale) & 0xFFFF0000u);
  }

  uint64_t scale_bits(float scale) const {
    const auto bits = std::bit_cast<uint32_t>(scale);
    if (style_.scale == DType::kF32) return bits;
    if (style_.scale == DType::kBF16) return bits >> 16;
    return (bits >> 13) - (112u << 10);  // F16: another bias, fewer bits of mantissa
  }

  // Transposed; nibble i of word w of a row holds column 8 w + kOrder[i].
  void store_awq(const std::string& stem, Tensors& tensors) const {
    constexpr int64_t kOrder[8] = {0, 2, 4, 6, 1, 3, 5, 7};
    StoredWriter qweight(DType::kI32, {cols_, rows_ / 8});
    StoredWriter qzeros(DType::kI32, {groups_, rows_ / 8});
    StoredWriter scales(style_.scale, {groups_, rows_});
    for (int64_t w = 0; w < rows_ / 8; ++w) {
      for (int64_t i = 0; i < 8; ++i) {
        const int64_t r = 8 * w + kOrder[i];
        for (int64_t c = 0; c < cols_; ++c) {
          const auto q = static_cast<uint64_t>(codes_[static_cast<size_t>(r * cols_ + c)]);
          qweight.put(c * (rows_ / 8) + w, q << (4 * i));
        }
        for (int64_t g = 0; g < groups_; ++g) {
          const auto at = static_cast<size_t>(r * groups_ + g);
          qzeros.put(g * (rows_ / 8) + w, static_cast<uint64_t>(zeros_[at]) << (4 * i));
          scales.put(g * rows_ + r, scale_bits(scales_[at]));
        }
      }
    }
    tensors[stem + "qweight"] = qweight.get();
    tensors[stem + "qzeros"] = qzeros.get();
    tensors[stem + "scales"] = scales.get();
  }

  void store_packed(const std::string& stem, Tensors& tensors) const {
    const int64_t row_words = (cols_ + 7) / 8;
    StoredWriter packed(DType::kI32, {rows_, row_words});
    StoredWriter scales(style_.scale, {rows_, groups_});
    StoredWriter zeros(DType::kI32, {(rows_ + 7) / 8, groups_});
    StoredWriter shape(style_.shape, {2});
    shape.put(0, static_cast<uint64_t>(rows_));
    shape.put(1, static_cast<uint64_t>(cols_));
    for (int64_t r = 0; r < rows_; ++r) {
      for (int64_t c = 0; c < cols_; ++c) {
        const auto q = static_cast<uint64_t>(codes_[static_cast<size_t>(r * cols_ + c)] + 8);
        packed.put(r * row_words + c / 8, q << (4 * (c % 8)));
      }
      for (int64_t g = 0; g < groups_; ++g) {
        const auto at = static_cast<size_t>(r * groups_ + g);
        scales.put(r * groups_ + g, scale_bits(scales_[at]));
        zeros.put(r / 8 * groups_ + g, static_cast<uint64_t>(zeros_[at] + 8) << (4 * (r % 8)));
      }
    }
    tensors[stem + "weight_packed"] = packed.get();
    tensors[stem + "weight_scale"] = scales.get();
    tensors[stem + "weight_shape"] = shape.get();
    if (!style_.config.symmetric) tensors[stem + "weight_zero_point"] = zeros.get();
  }

  const Int4Style& style_;
  int64_t rows_;
  int64_t cols_;
  int64_t group_;
  int64_t groups_;
  std::vector<int> codes_;
  std::vector<float> scales_;
  std::vector<int> zeros_;
};

// Takes "X.weight" out of the tensors and puts the same, nearly, in INT4 there. Returns what it now
// means.
inline std::vector<float> to_int4(Tensors& tensors, const std::string& name,
                                  const Int4Style& style) {
  const Stored stored = tensors.at(name);
  std::vector<float> values;
  for (int64_t i = 0; i < count(stored.shape); ++i) {
    values.push_back(static_cast<float>(element(stored, i)));
  }
  Int4Encoder encoder(style, stored.shape[0], stored.shape[1]);
  encoder.quantize(values);
  tensors.erase(name);
  encoder.store(name.substr(0, name.size() - std::strlen("weight")), tensors);
  return encoder.values();
}

}  // namespace dsv4
