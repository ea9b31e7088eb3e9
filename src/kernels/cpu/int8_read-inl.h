// What products with int8 activations have in common: how weights are fetched in time, and sums
// that all rows need.
#pragma once

#include "kernels/cpu/decode-inl.h"
#include "kernels/cpu/fetch-inl.h"
#include "kernels/cpu/kernel_table.h"
#include "kernels/cpu/panel-inl.h"
#include "kernels/cpu/simd.h"

namespace dsv4 {
namespace {

constexpr int64_t kInt8Block = 32;  // columns of activations that share a scale
constexpr int64_t kSumCols = 16;    // columns of one stored sum

// Without the first tokens.
DSV4_INLINE Int8Block tokens_from(const Int8Block& x, int64_t token) {
  const int64_t first = token * x.stride;
  return {x.values + first, x.scales + first / kInt8Block, x.sums + first / kSumCols, x.stride};
}

// Asks little by little for what comes next in memory: rows are read side by side, which the
// processor does not foresee, and asking for much at once makes it wait.
struct Prefetcher {
  const std::byte* next;
  int64_t step;  // bytes, 0 where nothing comes
  bool again;    // each line is asked for more than once

  DSV4_INLINE_MEMBER void advance() {
    const std::byte* line = next - (reinterpret_cast<uintptr_t>(next) & 63);
    next += step;
    for (; line < next; line += 64) {
      __builtin_prefetch(line);
      if (again) fetch_again(line);
    }
  }
};

// Whether so little is done with so many bytes of groups of columns that the processor forgets what
// it is asked for, which takes wide registers. The limit, in bytes for each token, was found by
// trying.
DSV4_INLINE bool is_dense(int64_t bytes, int64_t n_groups, int64_t n_tokens) {
  constexpr int64_t kDense = 136;
  return kLanes == 16 && bytes >= kDense * n_groups * n_tokens;
}

// Up to n_rows rows of weights from `row` on, or what is read after row_end, in n_steps steps.
DSV4_INLINE Prefetcher weights_after(const QuantMatrix& w, int64_t row_bytes, int64_t row,
                                     int64_t row_end, int64_t n_rows, ReadAhead then,
                                     int64_t n_steps, bool again) {
  const bool more = row < row_end;
  const int64_t bytes = more ? smaller(n_rows, row_end - row) * row_bytes
                             : smaller(n_rows, then.rows) * then.row_bytes;
  return {more ? w.data + row * row_bytes : then.data, (bytes + n_steps - 1) / n_steps, again};
}

// The scales of these rows, where each row has its own, side by side, in another tensor.
DSV4_INLINE Prefetcher scales_after(const QuantMatrix& w, int64_t row, int64_t row_end,
                                    int64_t n_rows, int64_t n_steps) {
  const bool by_rows = w.block_rows == 1 && w.format != WeightFormat::kAwqInt4;
  if (!by_rows || w.scales == nullptr || row >= row_end) return {w.data, 0, false};
  const int64_t row_bytes = w.scale_cols * scale_bytes(w.scale_format);
  const int64_t bytes = smaller(n_rows, row_end - row) * row_bytes;
  return {w.scales + (w.first_row + row) * row_bytes, (bytes + n_steps - 1) / n_steps, false};
}

// The sum of a group's products begins with the first of these and is added to a total by the
// second. A format whose scales are powers of two has the unit, kUnitOfOne * scale, for a scale:
// the sum begins with its bits, so that it is unit + scale * sum as a float, and subtracting the
// unit, which needs no port of products, converts and scales it without any rounding.
template <typename Format>
DSV4_INLINE I32 first_of_sum(F32 scale) {
  return Format::kPowersOfTwo ? (I32)as_bits(scale) : I32{};
}
template <typename Format>
DSV4_INLINE F32 add_sum(I32 sum, int32_t offset, F32 scale, float x_scale, F32 total) {
  if constexpr (Format::kOffset != 0) sum -= offset;
  if constexpr (Format::kPowersOfTwo) {
    return fma(as_float((U32)sum) - scale, broadcast(x_scale), total);
  }
  return fma(to_float(sum), scale * x_scale, total);
}

// What all rows need of up to kTokens tokens for each group of columns of a panel, but the scales.
template <typename Format, int64_t kTokens>
struct GroupSums {
  static constexpr int64_t kSums = kPanelCols / kSumCols;

  GroupSums(const Int8Block& x, int64_t token, int64_t n_tokens, int64_t col, int64_t n_cols) {
    for (int64_t t = 0; t < n_tokens; ++t) {
      const int64_t first = (token + t) * x.stride + col;
      if (n_cols == kPanelCols) {
        set(t, x.sums + first / kSumCols, x.scales + first / kInt8Block);
      } else {
        int32_t sums[kSums] = {};
        float scales[kSums / 2] = {};
        std::memcpy(sums, x.sums + first / kSumCols, n_cols / kSumCols * sizeof(int32_t));
        std::memcpy(scales, x.scales + first / kInt8Block, n_cols / kInt8Block * sizeof(float));
        set(t, sums, scales);
      }
    }
  }

  // kOffset times the sum, and what the minimum is multiplied with.
  DSV4_INLINE_MEMBER int32_t offset(int64_t t, int64_t group) const {
    return Format::kOffset == 0 ? 0 : offsets_[t][group * (Format::kGroup / kSumCols)];
  }
  DSV4_INLINE_MEMBER float minimum(int64_t t, int64_t group) const {
    return minima_[t][group * (Format::kGroup / kSumCols)];
  }

 private:
  using Sums [[gnu::vector_size(kSums * 4)]] = int32_t;
  using Scales [[gnu::vector_size(kSums * 4)]] = float;

  // By 16 columns, also where groups have 32.
  DSV4_INLINE_MEMBER void set(int64_t t, const int32_t* sums, const float* scales) {
    Sums sum;
    std::memcpy(&sum, sums, sizeof(sum));
    if constexpr (Format::kGroup > kSumCols) {
      sum +=
          __builtin_shufflevector(sum, sum, 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14);
    }
    if constexpr (Format::kOffset != 0) {
      const Sums offsets = Format::kOffset * sum;
      std::memcpy(offsets_[t], &offsets, sizeof(offsets));
    }
    if constexpr (Format::kHasMinimum) {
      F32x8 x;
      std::memcpy(&x, scales, sizeof(x));
      const Scales by_16 =
          __builtin_shufflevector(x, x, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
      const Scales minima = by_16 * __builtin_convertvector(sum, Scales);
      std::memcpy(minima_[t], &minima, sizeof(minima));
    }
  }

  int32_t offsets_[kTokens][kSums];
  float minima_[kTokens][kSums];
};

}  // namespace
}  // namespace dsv4
