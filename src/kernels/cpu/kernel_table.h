// What kernels-inl.h exports for one instruction set. Plain pointers: the files compiled for an
// instruction set instantiate nothing that another file could be linked to.
#pragma once

#include "kernels/cpu/cpu_ops.h"
#include "quant/entry_format.h"

#include <cstdint>

namespace dsv4 {

// Int8 activations of tokens (Int8Rows of ops.h).
struct Int8Block {
  const int8_t* values;
  const float* scales;
  const int32_t* sums;
  int64_t stride;  // between the values of tokens; scales and sums have a 32nd and a 16th of it
};

// Memory that a thread reads after the rows that it is asked for, to be fetched in time: rows that
// lie together, or columns that lie `stride` apart.
struct ReadAhead {
  const std::byte* data = nullptr;
  int64_t rows = 0;
  int64_t row_bytes = 0;
  int64_t stride = 0;
};

constexpr int64_t kKeyBlock = 64;  // of attention's running maximum; entries decoded at a time

constexpr int64_t kKeyRows = 16;  // of them as rows, before they are laid out by lanes

// Memory for kKeyBlock decoded entries.
struct EntryTile {
  float* data;
  int64_t stride;
};

// Scores of one token against n_keys keys. q [n_heads, d] contiguous, w [n_heads].
struct IndexerTask {
  const float* q;
  const float* w;
  int64_t n_heads;
  int64_t d;
  const EntryFormat* format;
  const std::byte* const* keys;
  int64_t n_keys;
  bool round_bf16;
};

// Attention of n_heads heads of one token. q, o [n_heads, c] contiguous, sink [n_heads].
struct AttendTask {
  const float* q;
  int64_t n_heads;
  int64_t c;
  const EntryFormat* format;
  const std::byte* const* rows;
  int64_t n_rows;
  const float* sink;
  float scale;
  bool round_bf16;
  float* o;
};

struct AttendScratch {
  EntryTile tile;
  float* p;        // [n_heads, kKeyBlock] logits of a block, then their exponentials
  float* rescale;  // [n_heads] of what was summed before a block
  float* largest;  // [n_heads]
  float* total;    // [n_heads]
};

constexpr int64_t kMaxStreams = 16;  // of hyper-connections

// Operations on one row of Ops' (rows-inl.h). Where rows lie apart, the stride is in numbers.
struct RowKernels {
  float (*rms_factor)(const float* x, int64_t n, float eps);
  // weight may be null.
  void (*rms_norm)(const float* x, const float* weight, int64_t n, float eps, float* y);
  // The last 2 n_pairs numbers of each head start at x + i * stride.
  void (*rope)(float* x, int64_t n_heads, int64_t stride, const float* cos, const float* sin,
               int64_t n_pairs, float direction);
  void (*hadamard)(float* x, int64_t n);
  void (*collapse)(const float* streams, int64_t stride, const float* weights, int64_t n_streams,
                   int64_t n, float* out);
  void (*expand)(const float* y, const float* post, const float* mix, int64_t n_streams, int64_t n,
                 float* streams, int64_t stride);
  void (*swiglu)(const float* gate, const float* up, int64_t n, float limit, float weight,
                 float* out);
  void (*pool_slots)(const float* const* values, const float* const* scores, int64_t n_slots,
                     int64_t n, float* out);
  void (*sqrt_softplus)(float* x, int64_t n);
  // Those of softmax.h.
  float (*largest)(const float* x, int64_t n);
  double (*exponentials)(const float* x, int64_t n, float largest, float* y);
};

struct KernelTable {
  // y[t, r] for the rows [row_begin, row_end) of w and all n tokens. x [n, w.cols], y [n, w.rows].
  void (*linear)(const float* x, int64_t x_stride, int64_t n, const QuantMatrix& w,
                 int64_t row_begin, int64_t row_end, float* y, int64_t y_stride);

  // One row of Ops::quantize_int8.
  void (*quantize_int8)(const float* x, int64_t cols, bool even_odd, int8_t* values, float* scales,
                        int32_t* sums);

  // As linear, with int8 activations.
  void (*linear_int8)(const Int8Block& x, int64_t n, const QuantMatrix& w, int64_t row_begin,
                      int64_t row_end, ReadAhead then, float* y, int64_t y_stride);

  // The tile has another kKeyRows rows.
  void (*indexer_scores)(const IndexerTask& task, const EntryTile& tile, float* score);
  void (*attend)(const AttendTask& task, const AttendScratch& scratch);

  RowKernels rows;

  // Loops for measure_roofs(). Reads n_bytes; or makes products for n_rounds and returns how many
  // operations these were. The sinks keep the loops alive.
  uint32_t (*read_roof)(const std::byte* data, int64_t n_bytes);
  double (*int8_roof)(int64_t n_rounds, uint32_t* sink);
  double (*f32_roof)(int64_t n_rounds, uint32_t* sink);
};

bool has_bf16_products();
double bf16_roof(int64_t n_rounds, uint32_t* sink);

// Of a build that this machine supports.
const KernelTable& kernel_table(Isa isa);

const KernelTable& kernel_table_scalar();
const KernelTable& kernel_table_avx2();
const KernelTable& kernel_table_avx2_vnni();
const KernelTable& kernel_table_avx512();
const KernelTable& kernel_table_avx512_vnni();

}  // namespace dsv4
