// Random weights and products with them: what kernels are measured on.
#pragma once

#include "kernels/int8_buffer.h"
#include "quant/quant_matrix.h"
#include "tensor/tensor.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace dsv4 {

// One matrix; by default the gate of an expert of Flash.
struct BenchShape {
  int64_t rows = 2048;
  int64_t cols = 4096;
};

// As many matrices of one format as fit into memory of the caller, which must outlive them, each
// with its scales beside it. All have the same values: what counts is where they lie.
class BenchWeights {
 public:
  // Rows are a multiple of 128, columns one of 256, but for FP8 of 128. There must be memory for a
  // matrix (bytes_of).
  BenchWeights(WeightFormat format, const BenchShape& shape, std::span<std::byte> memory);

  static int64_t bytes_of(WeightFormat format, const BenchShape& shape);

  int64_t n_matrices() const { return static_cast<int64_t>(matrices_.size()); }
  const QuantMatrix& matrix(int64_t i) const { return matrices_[static_cast<size_t>(i)]; }
  int64_t n_weights() const { return matrices_[0].rows * matrices_[0].cols; }  // of one
  int64_t n_bytes() const { return n_bytes_; }  // of one, with scales and zero points

 private:
  std::vector<QuantMatrix> matrices_;
  int64_t n_bytes_ = 0;
};

// Products of random activations with the weights one after the other, int8 ones where there are
// such for the format.
class BenchProduct {
 public:
  // With `n_at_once` matrices in each run. Operations and weights must outlive it.
  BenchProduct(Ops& ops, const BenchWeights& weights, int64_t n_tokens, int64_t n_at_once);

  bool int8() const { return order_.has_value(); }
  // Multiplies the matrices whose turn it is: those that were read longest ago. Returns seconds.
  double run();

 private:
  Ops& ops_;
  const BenchWeights& weights_;
  std::optional<ColumnOrder> order_;
  Tensor<float, 2> x_;
  Int8Buffer int8_;
  Tensor<float, 2> y_;
  std::vector<Int8Product> products_;
  int64_t n_at_once_;
  int64_t next_ = 0;
};

}  // namespace dsv4
