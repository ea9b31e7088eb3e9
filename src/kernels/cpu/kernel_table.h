// What kernels-inl.h exports for one instruction set. Plain pointers: the files compiled for an
// instruction set instantiate nothing that another file could be linked to.
#pragma once

#include "kernels/cpu/cpu_ops.h"

#include <cstdint>

namespace dsv4 {

struct KernelTable {
  // y[t, r] for the rows [row_begin, row_end) of w and all n tokens. x [n, w.cols], y [n, w.rows].
  void (*linear)(const float* x, int64_t x_stride, int64_t n, const QuantMatrix& w,
                 int64_t row_begin, int64_t row_end, float* y, int64_t y_stride);

  // Scores of one token against n_keys rows. q [n_heads, d] contiguous, w [n_heads].
  void (*indexer_scores)(const float* q, const float* w, int64_t n_heads, int64_t d,
                         const float* const* keys, int64_t n_keys, bool round_bf16, float* score);

  // Attention of n_heads heads of one token. q, o [n_heads, c] contiguous, sink [n_heads].
  void (*attend)(const float* q, int64_t n_heads, int64_t c, const float* const* rows,
                 int64_t n_rows, const float* sink, float scale, bool round_bf16, float* o);
};

const KernelTable& kernel_table_scalar();
const KernelTable& kernel_table_avx2();
const KernelTable& kernel_table_avx512();

}  // namespace dsv4
