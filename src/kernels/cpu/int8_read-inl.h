// What products with int8 activations have in common: how weights are fetched in time, and sums
// that all rows need.
#pragma once

#include "kernels/cpu/decode-inl.h"
#include "kernels/cpu/kernel_table.h"
#include "kernels/cpu/panel-inl.h"
#include "kernels/cpu/simd.h"

namespace dsv4 {
namespace {

constexpr int64_t kInt8Block = 32;  // columns of activations that share a scale
constexpr int64_t kSumCols = 16;    // columns of one stored sum

// Asks little by little for what comes next in memory: rows are read side by side, which the
// processor does not foresee, and asking for much at once makes it wait.
struct Prefetcher {
  const std::byte* next;
  int64_t step;  // bytes, 0 where nothing comes

  DSV4_INLINE_MEMBER void advance() {
    const std::byte* line = next - (reinterpret_cast<uintptr_t>(next) & 63);
    next += step;
    for (; line < next; line += 64) __builtin_prefetch(line);
  }
};

// Up to n_rows rows of weights from `row` on, or what is read after row_end, in n_steps steps.
DSV4_INLINE Prefetcher weights_after(const QuantMatrix& w, int64_t row_bytes, int64_t row,
                                     int64_t row_end, int64_t n_rows, ReadAhead then,
                                     int64_t n_steps) {
  const bool more = row < row_end;
  const int64_t bytes = more ? smaller(n_rows, row_end - row) * row_bytes : then.bytes;
  return {more ? w.data + row * row_bytes : then.data, (bytes + n_steps - 1) / n_steps};
}

// The scales of these rows, where each row has its own, side by side, in another tensor.
DSV4_INLINE Prefetcher scales_after(const QuantMatrix& w, int64_t row, int64_t row_end,
                                    int64_t n_rows, int64_t n_steps) {
  const bool by_rows = w.block_rows == 1 && w.format != WeightFormat::kAwqInt4;
  if (!by_rows || w.scales == nullptr || row >= row_end) return {w.data, 0};
  const int64_t row_bytes = w.scale_cols * scale_bytes(w.scale_format);
  const int64_t bytes = smaller(n_rows, row_end - row) * row_bytes;
  return {w.scales + (w.first_row + row) * row_bytes, (bytes + n_steps - 1) / n_steps};
}

// What all rows need of up to kTokens tokens for each group of columns of a panel, but the scales.
template <typename Format, int64_t kTokens>
struct GroupSums {
  static constexpr int64_t kGroups = kPanelCols / Format::kGroup;

  int32_t offsets[kTokens][kGroups];  // kOffset times the sum
  float minima[kTokens][kGroups];     // what the minimum is multiplied with

  GroupSums(const Int8Block& x, int64_t token, int64_t n_tokens, int64_t col, int64_t n_cols) {
    if constexpr (Format::kOffset == 0 && !Format::kHasMinimum) return;
    for (int64_t t = 0; t < n_tokens; ++t) {
      const int64_t first = (token + t) * x.stride + col;
      const int32_t* sums = x.sums + first / kSumCols;
      const float* x_scales = x.scales + first / kInt8Block;
      for (int64_t g = 0; g < n_cols / Format::kGroup; ++g) {
        const int32_t sum = Format::kGroup == kSumCols ? sums[g] : sums[2 * g] + sums[2 * g + 1];
        offsets[t][g] = Format::kOffset * sum;
        if constexpr (Format::kHasMinimum) {
          minima[t][g] = x_scales[g * Format::kGroup / kInt8Block] * static_cast<float>(sum);
        }
      }
    }
  }
};

}  // namespace
}  // namespace dsv4
