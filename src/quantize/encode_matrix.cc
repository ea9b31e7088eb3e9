#include "quantize/encode_matrix.h"

#include "base/check.h"
#include "base/error.h"
#include "quant/block_encoder.h"
#include "quant/float_formats.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <limits>

#include <fmt/core.h>

namespace dsv4 {
namespace {

constexpr int64_t kFp8Block = 128;
constexpr int64_t kFp4Block = 32;

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// The encoded rows as a matrix that can be decoded, and where its parts are written.
struct Target {
  QuantMatrix matrix;
  uint8_t* weights = nullptr;
  uint8_t* scales = nullptr;
  uint32_t* zeros = nullptr;
};

Target make_target(const Encoding& e, int64_t n_rows, EncodedRows& out) {
  QuantMatrix m{.rows = n_rows, .cols = e.from.cols};
  out = {};
  if (e.to == DType::kF8E4M3) {
    m.format = WeightFormat::kFP8;
    m.scale_format = ScaleFormat::kE8M0;
    m.block_rows = m.block_cols = kFp8Block;
    m.scale_cols = ceil_div(m.cols, kFp8Block);
    out.scales.resize(static_cast<size_t>(ceil_div(n_rows, kFp8Block) * m.scale_cols));
  } else if (e.to == DType::kI8) {
    m.format = WeightFormat::kFP4;
    m.scale_format = ScaleFormat::kE8M0;
    m.block_cols = kFp4Block;
    m.scale_cols = m.cols / kFp4Block;
    out.scales.resize(static_cast<size_t>(n_rows * m.scale_cols));
  } else if (e.to == DType::kI32) {
    m.format = WeightFormat::kAwqInt4;
    m.scale_format = ScaleFormat::kF16;
    m.block_cols = e.int4_group;
    m.scale_cols = n_rows;
    out.scales.resize(static_cast<size_t>(m.cols / m.block_cols * n_rows * 2));
    out.zeros.resize(static_cast<size_t>(m.cols / m.block_cols * n_rows / 2));
  } else if (const auto blocks = weight_format(e.to)) {
    m.format = *blocks;
  } else {
    m.format = e.to == DType::kF32   ? WeightFormat::kF32
               : e.to == DType::kF16 ? WeightFormat::kF16
                                     : WeightFormat::kBF16;
  }
  out.weights.resize(static_cast<size_t>(n_rows * m.row_bytes()));
  m.data = out.weights.data();
  m.scales = out.scales.data();
  m.zeros = out.zeros.empty() ? nullptr : out.zeros.data();
  return {m, reinterpret_cast<uint8_t*>(out.weights.data()),
          reinterpret_cast<uint8_t*>(out.scales.data()),
          reinterpret_cast<uint32_t*>(out.zeros.data())};
}

// Rows of one thread: decoded, encoded, and compared with what they became.
class RowEncoder {
 public:
  RowEncoder(const Encoding& e, const Target& target, int64_t first)
      : e_(e),
        target_(target),
        first_(first),
        values_(static_cast<size_t>(e.from.cols)),
        decoded_(values_.size()),
        even_(values_.size(), 1.0f) {}

  // Row of the target. FP8 and INT4 are encoded several rows at a time: see below.
  void encode_row(int64_t row) {
    decode(row);
    const float* importance = importance_of(row);
    uint8_t* out = target_.weights + row * target_.matrix.row_bytes();
    if (e_.to == DType::kI8) {
      uint8_t* scales = target_.scales + row * target_.matrix.scale_cols;
      for (int64_t b = 0; b < target_.matrix.scale_cols; ++b) {
        encode_fp4(&values_[static_cast<size_t>(b * kFp4Block)], importance + b * kFp4Block,
                   out + b * kFp4Block / 2, scales + b);
      }
    } else if (const EncodeBlock encode = block_encoder(e_.to)) {
      const int64_t size = dtype_block(e_.to);
      for (int64_t b = 0; b < e_.from.cols / size; ++b) {
        encode(&values_[static_cast<size_t>(b * size)], importance + b * size,
               out + b * static_cast<int64_t>(dtype_bytes(e_.to)));
      }
    } else {
      encode_plain(out);
    }
  }

  // 128 rows, or the last ones.
  void encode_fp8(int64_t begin, int64_t end) {
    const int64_t n_blocks = target_.matrix.scale_cols;
    std::vector<float> largest(static_cast<size_t>(n_blocks), 0.0f);
    for (int64_t row = begin; row < end; ++row) {
      decode(row);
      for (int64_t i = 0; i < e_.from.cols; ++i) {
        float& block = largest[static_cast<size_t>(i / kFp8Block)];
        block = std::max(block, std::fabs(values_[static_cast<size_t>(i)]));
      }
    }
    uint8_t* scales = target_.scales + begin / kFp8Block * n_blocks;
    for (int64_t b = 0; b < n_blocks; ++b) {
      const float reach = std::max(largest[static_cast<size_t>(b)] / kMaxE4m3, 0x1p-126f);
      scales[b] = static_cast<uint8_t>(std::ilogb(next_power_of_two(reach)) + 127);
    }
    for (int64_t row = begin; row < end; ++row) {
      decode(row);
      uint8_t* out = target_.weights + row * e_.from.cols;
      for (int64_t i = 0; i < e_.from.cols; ++i) {
        const float scale = e8m0_to_float(scales[i / kFp8Block]);
        out[i] = float_to_e4m3(values_[static_cast<size_t>(i)] / scale);
      }
    }
  }

  // Eight rows share a word of each column; the words were zero.
  void encode_int4_rows(int64_t begin, int64_t end) {
    constexpr int kPlaces[8] = {0, 4, 1, 5, 2, 6, 3, 7};
    const int64_t group = target_.matrix.block_cols;
    const int64_t row_words = target_.matrix.rows / 8;
    auto* words = reinterpret_cast<uint32_t*>(target_.weights);
    std::vector<uint8_t> codes(static_cast<size_t>(group));
    for (int64_t row = begin; row < end; ++row) {
      decode(row);
      const int shift = kPlaces[row % 8] * 4;
      for (int64_t g = 0; g < e_.from.cols / group; ++g) {
        const auto first = static_cast<size_t>(g * group);
        const Int4Group encoded =
            encode_int4(std::span(values_).subspan(first, codes.size()),
                        std::span(importance_of(row) + first, codes.size()), codes);
        std::memcpy(target_.scales + (g * target_.matrix.rows + row) * 2, &encoded.scale, 2);
        target_.zeros[g * row_words + row / 8] |= uint32_t{encoded.zero} << shift;
        for (int64_t i = 0; i < group; ++i) {
          words[(g * group + i) * row_words + row / 8] |= uint32_t{codes[static_cast<size_t>(i)]}
                                                          << shift;
        }
      }
    }
  }

  EncodingError error_of(int64_t row) {
    EncodingError sum;
    decode(row);
    target_.matrix.decode(row, 0, e_.from.cols, decoded_.data());
    for (size_t i = 0; i < values_.size(); ++i) {
      const double error = static_cast<double>(values_[i]) - decoded_[i];
      sum.error += error * error;
      sum.square += static_cast<double>(values_[i]) * values_[i];
    }
    return sum;
  }

  // The first column that cannot be stored, or -1.
  int64_t find_bad_value(int64_t row) {
    decode(row);
    const float limit = e_.to == DType::kF16    ? 65504.0f
                        : e_.to == DType::kBF16 ? 0x1.FEp127f
                                                : std::numeric_limits<float>::max();
    const auto bad =
        std::ranges::find_if(values_, [limit](float x) { return !(std::fabs(x) <= limit); });
    return bad == values_.end() ? -1 : bad - values_.begin();
  }

 private:
  void decode(int64_t row) {
    if (row == decoded_row_) return;
    e_.from.decode(first_ + row, 0, e_.from.cols, values_.data());
    for (size_t i = 0; i < e_.column_factors.size(); ++i) values_[i] *= e_.column_factors[i];
    if (!e_.row_factors.empty()) {
      const float factor = e_.row_factors[static_cast<size_t>(first_ + row)];
      for (float& value : values_) value *= factor;
    }
    decoded_row_ = row;
  }

  const float* importance_of(int64_t row) const {
    if (e_.importance.empty()) return even_.data();
    const int64_t groups = std::ssize(e_.importance) / e_.from.cols;
    return e_.importance.data() + (first_ + row) * groups / e_.from.rows * e_.from.cols;
  }

  void encode_plain(uint8_t* out) {
    for (size_t i = 0; i < values_.size(); ++i) {
      if (e_.to == DType::kF32) {
        std::memcpy(out + 4 * i, &values_[i], 4);
        continue;
      }
      const uint16_t half =
          e_.to == DType::kF16 ? float_to_f16(values_[i]) : float_to_bf16(values_[i]);
      std::memcpy(out + 2 * i, &half, 2);
    }
  }

  const Encoding& e_;
  const Target& target_;
  int64_t first_;
  int64_t decoded_row_ = -1;
  std::vector<float> values_;
  std::vector<float> decoded_;
  std::vector<float> even_;
};

// FP4 with neighbours in a byte, scales apart, to MXFP4 with values 16 apart in a byte.
void repack_to_mxfp4(const QuantMatrix& from, int64_t row, uint8_t* out) {
  const auto* codes = reinterpret_cast<const uint8_t*>(from.data) + row * from.row_bytes();
  const auto* scales =
      reinterpret_cast<const uint8_t*>(from.scales) + (from.first_row + row) * from.scale_cols;
  const auto code = [codes](int64_t i) { return codes[i / 2] >> (i % 2 * 4) & 15; };
  for (int64_t b = 0; b < from.cols / kFp4Block; ++b) {
    uint8_t* block = out + b * 17;
    block[0] = scales[b];
    for (int64_t j = 0; j < 16; ++j) {
      const int64_t first = b * kFp4Block + j;
      block[1 + j] = static_cast<uint8_t>(code(first) | code(first + 16) << 4);
    }
  }
}

void repack_to_fp4(const QuantMatrix& from, int64_t row, uint8_t* out, uint8_t* scales) {
  const auto* blocks = reinterpret_cast<const uint8_t*>(from.data) + row * from.row_bytes();
  for (int64_t b = 0; b < from.cols / kFp4Block; ++b) {
    const uint8_t* block = blocks + b * 17;
    scales[b] = block[0];
    const auto code = [block](int64_t i) { return block[1 + i % 16] >> (i / 16 * 4) & 15; };
    for (int64_t j = 0; j < 16; ++j) {
      out[b * 16 + j] = static_cast<uint8_t>(code(2 * j) | code(2 * j + 1) << 4);
    }
  }
}

bool has_fp4_scales(const QuantMatrix& m) {
  return m.format == WeightFormat::kFP4 && m.scale_format == ScaleFormat::kE8M0 &&
         m.block_rows == 1 && m.block_cols == kFp4Block;
}

// All of a matrix, as it lies transposed.
bool copy_int4(const QuantMatrix& from, const Target& target) {
  const QuantMatrix& to = target.matrix;
  if (from.format != to.format || from.scale_format != to.scale_format || from.zeros == nullptr ||
      from.block_cols != to.block_cols || from.scale_cols != to.scale_cols) {
    return false;
  }
  const int64_t n_scales = to.cols / to.block_cols * to.rows;
  std::memcpy(target.weights, from.data, static_cast<size_t>(to.rows * to.row_bytes()));
  std::memcpy(target.scales, from.scales, static_cast<size_t>(n_scales * 2));
  std::memcpy(target.zeros, from.zeros, static_cast<size_t>(n_scales / 2));
  return true;
}

// Copies codes that mean the same in both types; false where there are none.
bool copy_rows(const Encoding& e, int64_t begin, const Target& target) {
  if (!e.column_factors.empty() || !e.row_factors.empty()) return false;
  const QuantMatrix& to = target.matrix;
  const QuantMatrix& from = e.from;
  const auto first = static_cast<size_t>(begin);
  if (has_fp4_scales(from) && e.to == DType::kMXFP4) {
    for (int64_t r = 0; r < to.rows; ++r) {
      repack_to_mxfp4(from, begin + r, target.weights + r * to.row_bytes());
    }
    return true;
  }
  if (from.format == WeightFormat::kMXFP4 && e.to == DType::kI8) {
    for (int64_t r = 0; r < to.rows; ++r) {
      repack_to_fp4(from, begin + r, target.weights + r * to.row_bytes(),
                    target.scales + r * to.scale_cols);
    }
    return true;
  }
  if (to.format == WeightFormat::kAwqInt4) return copy_int4(from, target);
  const bool scales_match = to.scale_format == from.scale_format &&
                            to.block_rows == from.block_rows && to.block_cols == from.block_cols &&
                            (from.first_row + begin) % to.block_rows == 0;
  if (to.format != from.format || !scales_match) return false;
  const auto row_bytes = static_cast<size_t>(from.row_bytes());
  std::memcpy(target.weights, from.data + first * row_bytes,
              static_cast<size_t>(to.rows) * row_bytes);
  if (to.scale_format == ScaleFormat::kNone) return true;
  const int64_t scale_rows = ceil_div(to.rows, to.block_rows);
  std::memcpy(target.scales,
              from.scales + (from.first_row + begin) / to.block_rows * from.scale_cols,
              static_cast<size_t>(scale_rows * to.scale_cols));
  return true;
}

}  // namespace

double EncodingError::relative_rms() const { return square > 0 ? std::sqrt(error / square) : 0; }

EncodingError& EncodingError::operator+=(const EncodingError& other) {
  error += other.error;
  square += other.square;
  return *this;
}

int64_t piece_granule(const Encoding& encoding) {
  if (encoding.to == DType::kI32) return encoding.from.rows;
  return encoding.to == DType::kF8E4M3 ? kFp8Block : 1;
}

EncodingError encode_rows(const Encoding& e, int64_t begin, int64_t end, ThreadPool& pool,
                          EncodedRows& out) {
  const int64_t n = end - begin;
  const Target target = make_target(e, n, out);
  const bool copied = copy_rows(e, begin, target);
  std::vector<EncodingError> errors(static_cast<size_t>(n));
  std::atomic<int64_t> bad_row = n;  // the first one, whichever thread finds it
  if (copied) return {};
  const bool alone = e.to != DType::kF8E4M3 && e.to != DType::kI32;  // each row
  const int64_t grain = e.to == DType::kF8E4M3 ? kFp8Block : alone ? 1 : 8;
  pool.parallel_for(n, grain, [&](int64_t from, int64_t to) {
    RowEncoder encoder(e, target, begin);
    for (int64_t row = from; row < to; ++row) {
      if (encoder.find_bad_value(row) >= 0) {
        int64_t known = bad_row;
        while (row < known && !bad_row.compare_exchange_weak(known, row)) {
        }
        return;
      }
      if (!alone) continue;
      encoder.encode_row(row);
      errors[static_cast<size_t>(row)] = encoder.error_of(row);
    }
    if (alone) return;
    if (e.to == DType::kI32) encoder.encode_int4_rows(from, to);
    for (int64_t row = from; row < to && e.to == DType::kF8E4M3; row += kFp8Block) {
      encoder.encode_fp8(row, std::min(row + kFp8Block, to));
    }
    for (int64_t row = from; row < to; ++row) {
      errors[static_cast<size_t>(row)] = encoder.error_of(row);
    }
  });
  if (bad_row < n) {
    const int64_t col = RowEncoder(e, target, begin).find_bad_value(bad_row);
    throw Error(ErrorCode::kInvalidInput, e.where,
                fmt::format("the weight at row {}, column {} is infinite, not a number, or too "
                            "large for {}",
                            begin + bad_row, col, weight_type_name(e.to)));
  }
  EncodingError total;
  for (const EncodingError& error : errors) total += error;
  return total;
}

}  // namespace dsv4
