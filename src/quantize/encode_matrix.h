// Weights from any stored format into another one.
#pragma once

#include "base/thread_pool.h"
#include "model/mix.h"
#include "quant/quant_matrix.h"

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace dsv4 {

// A matrix on its way into another type (of model/mix.h).
struct Encoding {
  QuantMatrix from;
  DType to = DType::kBF16;
  int64_t int4_group = 128;           // columns that share a scale of INT4
  std::span<const float> importance;  // [groups, cols] for groups of rows; empty: all the same
  // What columns and rows are multiplied with before; empty: 1.
  std::span<const float> column_factors = {};
  std::span<const float> row_factors = {};
  std::string where;  // names the tensor in errors
};

// Encoded rows. Scales and zero points are those of the rows too.
struct EncodedRows {
  std::vector<std::byte> weights;
  std::vector<std::byte> scales;
  std::vector<std::byte> zeros;
};

// Sums over the weights: of squared errors and of squares.
struct EncodingError {
  double error = 0;
  double square = 0;

  double relative_rms() const;
  EncodingError& operator+=(const EncodingError& other);
};

// Rows that can be encoded together: pieces begin and end at multiples of it. INT4 lies transposed,
// so that all its rows are one piece.
int64_t piece_granule(const Encoding& encoding);

// Encodes rows [begin, end). Codes that mean the same in both types are copied (FP4 and MXFP4,
// equal types) and have no error; others are decoded and encoded with the least. Throws
// Error(kInvalidInput) naming row and column of a weight that the type cannot hold.
EncodingError encode_rows(const Encoding& encoding, int64_t begin, int64_t end, ThreadPool& pool,
                          EncodedRows& out);

}  // namespace dsv4
