// Products of few tokens with int8 activations: weights are used as they are unpacked.
#pragma once

#include "kernels/cpu/int8_read-inl.h"

namespace dsv4 {
namespace {

// Up to so many tokens weights pass through registers, not panels.
template <typename Format>
constexpr int64_t kPairTokens = Format::kPowersOfTwo ? 8 : 16;

// Multiplies unpacked weights with one or two tokens.
template <typename Format, int kTokens>
struct TokenSink {
  static constexpr int64_t kQuads = Format::kGroup / 4;
  // What is read next is asked for so often in a group: bytes that are used as they are stored pass
  // so fast that asking for all at once would be too much.
  static constexpr int64_t kAsks = Format::kLargest == 255 ? kQuads : 1;
  static constexpr int64_t kSums = Format::kGroup / kSumCols;  // stored ones of a group

  const int8_t* values[kTokens];
  const float* scales[kTokens];
  const int32_t* sums[kTokens];
  F32 totals[kTokens] = {};
  Prefetcher prefetcher;

  TokenSink(const Int8Block& x, Prefetcher next) : prefetcher(next) {
    for (int64_t t = 0; t < kTokens; ++t) {
      values[t] = x.values + t * x.stride;
      scales[t] = x.scales + t * (x.stride / kInt8Block);
      sums[t] = x.sums + t * (x.stride / kSumCols);
    }
  }

  void advance(int64_t n_cols) {
    for (int64_t t = 0; t < kTokens; ++t) {
      values[t] += n_cols;
      scales[t] += n_cols / kInt8Block;
      sums[t] += n_cols / kSumCols;
    }
  }

  DSV4_INLINE_MEMBER void put(int64_t group, const U32 (&quads)[kQuads], F32 scale) {
    if constexpr (kAsks == 1) prefetcher.advance();
#pragma GCC unroll 8
    for (int t = 0; t < kTokens; ++t) {
      const int8_t* at = values[t] + group * Format::kGroup;
      I32 dot = first_of_sum<Format>(scale);
      I32 other = {};  // two chains of sums hide the latency of a product
#pragma GCC unroll 8
      for (int64_t q = 0; q < kQuads; q += 2) {
        if (kAsks > 1 && t == 0) prefetcher.advance();
        dot = dot_bytes<Format::kLargest>(dot, quads[q], four(at + 4 * q));
        if (kAsks > 1 && t == 0) prefetcher.advance();
        other = dot_bytes<Format::kLargest>(other, quads[q + 1], four(at + 4 * q + 4));
      }
      totals[t] = add_sum<Format>(dot + other, Format::kOffset * sum_of(t, group), scale,
                                  x_scale(t, group), totals[t]);
    }
  }
  DSV4_INLINE_MEMBER void put(int64_t group, const U32 (&quads)[kQuads], F32 scale, F32 minimum) {
    put(group, quads, scale);
#pragma GCC unroll 8
    for (int t = 0; t < kTokens; ++t) {
      const float sum = x_scale(t, group) * static_cast<float>(sum_of(t, group));
      totals[t] = fma(minimum, F32{} + sum, totals[t]);
    }
  }

 private:
  DSV4_INLINE_MEMBER static I32 four(const int8_t* at) {
    int32_t bytes;
    std::memcpy(&bytes, at, sizeof(bytes));
    return I32{} + bytes;
  }
  DSV4_INLINE_MEMBER int32_t sum_of(int t, int64_t group) const {
    const int32_t* at = sums[t] + group * kSums;
    return kSums == 1 ? at[0] : at[0] + at[1];
  }
  DSV4_INLINE_MEMBER float x_scale(int t, int64_t group) const {
    return scales[t][kSums == 1 ? group / 2 : group];
  }
};

// One or two tokens: the weights are used as they are unpacked.
template <typename Format, int kTokens>
static void linear_int8_few(const Int8Block& x, const QuantMatrix& w, int64_t row_begin,
                            int64_t row_end, ReadAhead then, float* y, int64_t y_stride) {
  const int64_t row_bytes = w.row_bytes();
  const int64_t n_panels = (w.cols + kPanelCols - 1) / kPanelCols;
  for (int64_t row = row_begin; row < row_end; row += kLanes) {
    const RowSet rows(w, row_bytes, row);
    const int64_t next = row + kLanes;
    const int64_t n_groups = w.cols / Format::kGroup;
    const bool dense = is_dense(kLanes * row_bytes, n_groups, kTokens);
    using Sink = TokenSink<Format, kTokens>;
    Sink sink(
        x, weights_after(w, row_bytes, next, row_end, kLanes, then, n_groups * Sink::kAsks, dense));
    Prefetcher scales = scales_after(w, next, row_end, kLanes, n_panels);
    for (int64_t col = 0; col < w.cols; col += kPanelCols) {
      const int64_t n_cols = smaller(kPanelCols, w.cols - col);
      scales.advance();
      Format::unpack(w, rows, col, n_cols, sink);
      sink.advance(n_cols);
    }
    for (int64_t t = 0; t < kTokens; ++t) {
      store_partial(y + t * y_stride + row, sink.totals[t], row_end - row);
    }
  }
}

// Unpacked weights of the first of two sets of rows.
template <typename Format>
struct HalfSink {
  static constexpr int64_t kQuads = Format::kGroup / 4;
  static constexpr int64_t kGroups = kPanelCols / Format::kGroup;

  U32 quads[kGroups][kQuads];
  F32 scales[kGroups];
  F32 minima[kGroups];

  DSV4_INLINE_MEMBER void put(int64_t group, const U32 (&unpacked)[kQuads], F32 scale,
                              F32 minimum = F32{}) {
#pragma GCC unroll 8
    for (int64_t q = 0; q < kQuads; ++q) quads[group][q] = unpacked[q];
    scales[group] = scale;
    minima[group] = minimum;
  }
};

// Multiplies both sets of rows, the second one as it is unpacked, with a few tokens. Two sets, so
// that four bytes of a token, which take as long to load into all lanes as a product, serve twice.
template <typename Format>
struct PairSink {
  static constexpr int64_t kQuads = Format::kGroup / 4;

  const HalfSink<Format>& half;
  const Int8Block& x;
  int64_t n;
  int64_t col;
  const GroupSums<Format, kPairTokens<Format>>& sums;
  F32 (&totals)[kPairTokens<Format>][2];
  Prefetcher& prefetcher;

  DSV4_INLINE_MEMBER void put(int64_t group, const U32 (&quads)[kQuads], F32 scale,
                              F32 minimum = F32{}) {
    prefetcher.advance();
    U32 weights[2][kQuads];
#pragma GCC unroll 8
    for (int64_t q = 0; q < kQuads; ++q) {
      weights[0][q] = half.quads[group][q];
      weights[1][q] = quads[q];
      keep_in_register(weights[0][q]);
      keep_in_register(weights[1][q]);
    }
    const F32 scales[2] = {half.scales[group], scale};
    const F32 minima[2] = {half.minima[group], minimum};
    for (int64_t t = 0; t < n; ++t) {
      const int64_t first = t * x.stride + col + group * Format::kGroup;
      I32 dots[2] = {first_of_sum<Format>(scales[0]), first_of_sum<Format>(scales[1])};
#pragma GCC unroll 8
      for (int64_t q = 0; q < kQuads; ++q) {
        int32_t four;
        std::memcpy(&four, x.values + first + 4 * q, sizeof(four));
        const I32 b = I32{} + four;
        dots[0] = dot_bytes<Format::kLargest>(dots[0], weights[0][q], b);
        dots[1] = dot_bytes<Format::kLargest>(dots[1], weights[1][q], b);
      }
      const float x_scale = x.scales[first / kInt8Block];
#pragma GCC unroll 2
      for (int i = 0; i < 2; ++i) {
        totals[t][i] =
            add_sum<Format>(dots[i], sums.offset(t, group), scales[i], x_scale, totals[t][i]);
        if constexpr (Format::kHasMinimum) {
          totals[t][i] = fma(minima[i], broadcast(sums.minimum(t, group)), totals[t][i]);
        }
      }
    }
  }
};

// Up to kPairTokens tokens: two sets of rows at a time.
template <typename Format>
static void linear_int8_pairs(const Int8Block& x, int64_t n, const QuantMatrix& w,
                              int64_t row_begin, int64_t row_end, ReadAhead then, float* y,
                              int64_t y_stride) {
  constexpr int64_t kRows = 2 * kLanes;
  HalfSink<Format> half;
  const int64_t row_bytes = w.row_bytes();
  const int64_t n_panels = (w.cols + kPanelCols - 1) / kPanelCols;
  for (int64_t row = row_begin; row < row_end; row += kRows) {
    const RowSet first(w, row_bytes, row);
    const RowSet second(w, row_bytes, row + kLanes);
    const int64_t next = row + kRows;
    const int64_t n_groups = w.cols / Format::kGroup;
    Prefetcher weights = weights_after(w, row_bytes, next, row_end, kRows, then, n_groups,
                                       is_dense(kRows * row_bytes, n_groups, n));
    Prefetcher scales = scales_after(w, next, row_end, kRows, n_panels);
    F32 totals[kPairTokens<Format>][2] = {};
    for (int64_t col = 0; col < w.cols; col += kPanelCols) {
      const int64_t n_cols = smaller(kPanelCols, w.cols - col);
      scales.advance();
      const GroupSums<Format, kPairTokens<Format>> sums(x, 0, n, col, n_cols);
      Format::unpack(w, first, col, n_cols, half);
      PairSink<Format> sink{half, x, n, col, sums, totals, weights};
      Format::unpack(w, second, col, n_cols, sink);
    }
    for (int64_t t = 0; t < n; ++t) {
      for (int64_t i = 0; i < 2; ++i) {
        const int64_t at = row + i * kLanes;
        store_partial(y + t * y_stride + at, totals[t][i], row_end - at);
      }
    }
  }
}

}  // namespace
}  // namespace dsv4
