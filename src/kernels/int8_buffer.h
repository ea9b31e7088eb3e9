#pragma once

#include "kernels/ops.h"

namespace dsv4 {

// Memory for int8 activations of up to so many tokens and columns, which are multiples of 32.
class Int8Buffer {
 public:
  Int8Buffer() = default;
  Int8Buffer(int64_t max_tokens, int64_t max_width);
  static int64_t bytes(int64_t max_tokens, int64_t max_width);

  // Tokens lie an odd number of cache lines apart: at a power of two they share few places of the
  // caches (docs/performance.md).
  Int8Rows rows(int64_t n_tokens, int64_t width, ColumnOrder order);

 private:
  Tensor<int8_t, 1> values_;
  Tensor<float, 1> scales_;
  Tensor<int32_t, 1> sums_;
};

}  // namespace dsv4
