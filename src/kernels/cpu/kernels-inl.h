// The arithmetic of the heavy operations, compiled once per instruction set (isa_*.cc). The same
// bits on each: see dot-inl.h, int8-inl.h and attention-inl.h for the orders of the sums.
#pragma once

#include "kernels/cpu/attention-inl.h"
#include "kernels/cpu/decode-inl.h"
#include "kernels/cpu/dot-inl.h"
#include "kernels/cpu/fetch-inl.h"
#include "kernels/cpu/int8-inl.h"
#include "kernels/cpu/kernel_table.h"
#include "kernels/cpu/roof-inl.h"
#include "kernels/cpu/rows-inl.h"
#include "kernels/cpu/simd.h"

namespace dsv4 {
namespace {

constexpr int64_t kTileRows = 4;      // rows of a weight decoded at a time, for the first cache
constexpr int64_t kTokenBlock = 128;  // whose kBlock columns stay in the second cache

// Tokens that share the decoding of weights in registers rather than through a tile in memory.
constexpr int64_t kFewTokens = kLanes == 16 ? 8 : 1;

// ---- Products.

// Adds the sums of a block (or stores them, for the first one) to n_rows neighbours of y.
DSV4_INLINE void accumulate(const float* sums, int64_t n_rows, bool first, float* y) {
  for (int64_t r = 0; r < n_rows; ++r) y[r] = first ? sums[r] : y[r] + sums[r];
}

// One decoded tile of up to kTileRows rows x n columns times all tokens. The tile and four tokens
// fit into the first cache, so that the second one has to deliver the tokens only.
static void multiply_decoded(const float* tile, int64_t n_rows, int64_t n_cols, const float* x,
                             int64_t x_stride, int64_t n_tokens, bool first, float* y,
                             int64_t y_stride) {
  alignas(64) float sums[16];
  const float* const rows[4] = {tile, tile + kBlock, tile + 2 * kBlock, tile + 3 * kBlock};
  for (int64_t t = 0; t < n_tokens; t += 4) {
    const int64_t n = smaller(4, n_tokens - t);
    const float* tokens[4];  // missing ones repeat the last
    for (int64_t i = 0; i < 4; ++i) tokens[i] = x + (t + smaller(i, n - 1)) * x_stride;
    dot_4x4(tokens, rows, 0, n_cols, sums);
    for (int64_t i = 0; i < n; ++i) {
      accumulate(sums + i * 4, n_rows, first, y + (t + i) * y_stride);
    }
  }
}

// Weights without scales times kTokens tokens at a time, of which there are few: no tile in memory.
// The sums are those of dot_4x4.
template <int kBytes, int kRows, int kTokens, typename Decode>
static void multiply_few(const float* x, int64_t x_stride, int64_t n, const QuantMatrix& w,
                         int64_t row, int64_t n_rows, Decode decode, float* y, int64_t y_stride) {
  constexpr int kParts = kGroup / kLanes;
  const int64_t row_bytes = w.cols * kBytes;
  const std::byte* data[kRows];
  for (int64_t r = 0; r < kRows; ++r) data[r] = w.data + (row + smaller(r, n_rows - 1)) * row_bytes;
  const float* tokens[kTokens];
  for (int64_t t = 0; t < kTokens; ++t) tokens[t] = x + smaller(t, n - 1) * x_stride;
  const std::byte* next = w.data + (row + n_rows) * row_bytes;
  const int64_t n_next = smaller(kRows, w.rows - row - n_rows);
  for (int64_t block = 0; block < w.cols; block += kBlock) {
    const int64_t end = smaller(block + kBlock, w.cols);
    F32 sums[kParts][kTokens * kRows] = {};
    for (int64_t k = block; k < end; k += kGroup) {
      for (int64_t byte = 0; byte < n_next * kGroup * kBytes; byte += 64) {
        const std::byte* line = next + k * n_next * kBytes + byte;
        __builtin_prefetch(line);
        fetch_again(line);
      }
#pragma GCC unroll 4
      for (int part = 0; part < kParts; ++part) {
        F32 v[kTokens];
#pragma GCC unroll 8
        for (int t = 0; t < kTokens; ++t) v[t] = load(tokens[t] + k + part * kLanes);
#pragma GCC unroll 8
        for (int r = 0; r < kRows; ++r) {
          const F32 weights = decode(data[r] + (k + part * kLanes) * kBytes);
#pragma GCC unroll 8
          for (int t = 0; t < kTokens; ++t) {
            F32& sum = sums[part][t * kRows + r];
            sum = fma(v[t], weights, sum);
          }
        }
      }
    }
    alignas(64) float totals[kTokens * kRows];
    finish_sums(sums, totals);
    for (int64_t t = 0; t < smaller(kTokens, n); ++t) {
      accumulate(totals + t * kRows, n_rows, block == 0, y + t * y_stride + row);
    }
  }
}

template <int kBytes, typename Decode>
static void linear_few(const float* x, int64_t x_stride, int64_t n, const QuantMatrix& w,
                       int64_t row_begin, int64_t row_end, Decode decode, float* y,
                       int64_t y_stride) {
  constexpr int kOneTokenRows = kLanes == 16 ? 8 : 4;  // sums that fit into registers
  if (n == 1) {
    for (int64_t row = row_begin; row < row_end; row += kOneTokenRows) {
      multiply_few<kBytes, kOneTokenRows, 1>(
          x, x_stride, 1, w, row, smaller(kOneTokenRows, row_end - row), decode, y, y_stride);
    }
    return;
  }
  for (int64_t row = row_begin; row < row_end; row += 4) {
    for (int64_t t = 0; t < n; t += 4) {
      multiply_few<kBytes, 4, 4>(x + t * x_stride, x_stride, n - t, w, row,
                                 smaller(4, row_end - row), decode, y + t * y_stride, y_stride);
    }
  }
}

// Up to kTokenBlock tokens, through decoded tiles.
static void linear_tokens(const float* x, int64_t x_stride, int64_t n, const QuantMatrix& w,
                          int64_t row_begin, int64_t row_end, float* y, int64_t y_stride) {
  alignas(64) float tile[kTileRows * kBlock];
  for (int64_t k = 0; k == 0 || k < w.cols; k += kBlock) {  // once, for the sum of nothing
    const int64_t n_cols = smaller(kBlock, w.cols - k);
    for (int64_t row = row_begin; row < row_end; row += kTileRows) {
      const int64_t n_rows = smaller(kTileRows, row_end - row);
      for (int64_t r = 0; r < n_rows; ++r) decode_row(w, row + r, k, n_cols, tile + r * kBlock);
      for (int64_t r = n_rows; r < kTileRows; ++r) std::memset(tile + r * kBlock, 0, n_cols * 4);
      multiply_decoded(tile, n_rows, n_cols, x + k, x_stride, n, k == 0, y + row, y_stride);
    }
  }
}

static void linear(const float* x, int64_t x_stride, int64_t n, const QuantMatrix& w,
                   int64_t row_begin, int64_t row_end, float* y, int64_t y_stride) {
  const auto few = [&]<int kBytes>(auto decode) {
    linear_few<kBytes>(x, x_stride, n, w, row_begin, row_end, decode, y, y_stride);
  };
  const bool plain = w.scale_format == ScaleFormat::kNone && w.cols > 0 && w.cols % kGroup == 0;
  if (plain && n <= kFewTokens) {
    switch (w.format) {
      case WeightFormat::kF32:
        return few.template operator()<4>([](const std::byte* at) { return decode_f32(at); });
      case WeightFormat::kF16:
        return few.template operator()<2>([](const std::byte* at) { return decode_f16(at); });
      case WeightFormat::kBF16:
        return few.template operator()<2>([](const std::byte* at) { return decode_bf16(at); });
      default:
        break;
    }
  }
  for (int64_t t = 0; t < n; t += kTokenBlock) {
    linear_tokens(x + t * x_stride, x_stride, smaller(kTokenBlock, n - t), w, row_begin, row_end,
                  y + t * y_stride, y_stride);
  }
}

constexpr RowKernels kRowKernels = {rms_factor,    rms_norm, rope,        hadamard,
                                    collapse,      expand,   swiglu,      pool_slots,
                                    sqrt_softplus, largest,  exponentials};

constexpr KernelTable kTable = {linear,      quantize_int8, linear_int8, indexer_scores, attend,
                                kRowKernels, read_roof,     int8_roof,   f32_roof};

}  // namespace
}  // namespace dsv4
