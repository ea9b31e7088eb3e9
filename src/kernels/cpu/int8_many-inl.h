// Products of many tokens with int8 activations: weights are unpacked into panels, which tiles of
// tokens are multiplied with.
#pragma once

#include "kernels/cpu/int8_read-inl.h"

namespace dsv4 {
namespace {

// A panel: unpacked weights that all tokens use.
constexpr int64_t kPanelRows = 64;

struct Panel {
  alignas(64) uint8_t quads[kPanelCols / 4][kPanelRows * 4];
  alignas(64) float scales[kPanelCols / 16][kPanelRows];
  alignas(64) float minima[kPanelCols / 16][kPanelRows];
};

// Registers of rows x tokens of a tile whose sums, as integers and as floats, stay in registers.
// More rows than tokens: four bytes of a token in all lanes cost more to load than a register of
// weights (docs/performance.md). A third token has the registers that products of
// scales need otherwise.
constexpr int kTileVectors = kLanes == 16 ? 4 : 2;
template <typename Format>
constexpr int kTileTokens = kLanes == 16 && Format::kPowersOfTwo ? 3 : 2;
constexpr int64_t kRowsOfTile = kTileVectors * kLanes;

constexpr int64_t kManyTokens = 512;  // whose inputs and sums stay in the second cache

// kTokens tokens times kRowsOfTile rows of a panel from `place` on, added to sums.
template <typename Format, int kTokens, typename Ahead>
DSV4_INLINE void multiply_tile(const Panel& panel, int64_t place, int64_t col, int64_t n_cols,
                               const Int8Block& x, int64_t token, float (*row_sums)[kPanelRows],
                               Ahead& prefetcher) {
  constexpr int kVectors = kTileVectors;
  constexpr int64_t kQuads = Format::kGroup / 4;
  F32 totals[kTokens][kVectors] = {};
  if (col > 0) {
#pragma GCC unroll 3
    for (int t = 0; t < kTokens; ++t) {
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) {
        totals[t][v] = load(&row_sums[token + t][place + v * kLanes]);
      }
    }
  }
  const int8_t* values = x.values + token * x.stride + col;
  const float* scales = x.scales + token * (x.stride / kInt8Block) + col / kInt8Block;
  const GroupSums<Format, kTokens> sums(x, token, kTokens, col, n_cols);
  for (int64_t g = 0; g < n_cols / Format::kGroup; ++g) {
    prefetcher.advance();
    const float* group_scales = &panel.scales[g][place];
    I32 dots[kTokens][kVectors];
#pragma GCC unroll 3
    for (int t = 0; t < kTokens; ++t) {
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) {
        dots[t][v] = first_of_sum<Format>(load(group_scales + v * kLanes));
      }
    }
    const uint8_t* weights = &panel.quads[g * kQuads][place * 4];
    const int8_t* group_values = values + g * Format::kGroup;
#pragma GCC unroll 8
    for (int64_t q = 0; q < kQuads; ++q) {
      U32 w[kVectors];
#pragma GCC unroll 4
      for (int64_t v = 0; v < kVectors; ++v) {
        std::memcpy(&w[v], weights + (q * kPanelRows + v * kLanes) * 4, sizeof(U32));
        keep_in_register(w[v]);
      }
#pragma GCC unroll 3
      for (int t = 0; t < kTokens; ++t) {
        int32_t four;
        std::memcpy(&four, group_values + t * x.stride + q * 4, sizeof(four));
        const I32 b = I32{} + four;
#pragma GCC unroll 4
        for (int v = 0; v < kVectors; ++v) {
          dots[t][v] = dot_bytes<Format::kLargest>(dots[t][v], w[v], b);
        }
      }
    }
    forget(group_scales);
#pragma GCC unroll 3
    for (int t = 0; t < kTokens; ++t) {
      const float x_scale = scales[t * (x.stride / kInt8Block) + g * Format::kGroup / kInt8Block];
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) {
        const F32 scale = load(group_scales + v * kLanes);
        totals[t][v] = add_sum<Format>(dots[t][v], sums.offset(t, g), scale, x_scale, totals[t][v]);
        if constexpr (Format::kHasMinimum) {
          const F32 minimum = load(&panel.minima[g][place + v * kLanes]);
          totals[t][v] = fma(minimum, broadcast(sums.minimum(t, g)), totals[t][v]);
        }
      }
    }
  }
#pragma GCC unroll 3
  for (int t = 0; t < kTokens; ++t) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      store(&row_sums[token + t][place + v * kLanes], totals[t][v]);
    }
  }
}

// Asks for what the next tile reads: its lines lie a token apart, which the processor does not
// foresee.
DSV4_INLINE void prefetch_token(const Int8Block& x, int64_t token, int64_t col, int64_t n_cols) {
  const int64_t first = token * x.stride + col;
  for (int64_t byte = 0; byte < n_cols; byte += 64) __builtin_prefetch(x.values + first + byte);
  __builtin_prefetch(x.scales + first / kInt8Block);
  __builtin_prefetch(x.sums + first / kSumCols);
}

// All tokens times a panel.
template <typename Format, typename Ahead>
static void multiply_panel(const Panel& panel, int64_t n_tiles, int64_t col, int64_t n_cols,
                           const Int8Block& x, int64_t n, float (*row_sums)[kPanelRows],
                           Ahead& weights) {
  constexpr int kTokens = kTileTokens<Format>;
  for (int64_t place = 0; place < n_tiles * kRowsOfTile; place += kRowsOfTile) {
    int64_t t = 0;
    for (; t + kTokens <= n; t += kTokens) {
      for (int64_t next = t + kTokens; next < smaller(n, t + 2 * kTokens); ++next) {
        prefetch_token(x, next, col, n_cols);
      }
      multiply_tile<Format, kTokens>(panel, place, col, n_cols, x, t, row_sums, weights);
    }
    if constexpr (kTokens > 2) {
      if (n - t == 2) multiply_tile<Format, 2>(panel, place, col, n_cols, x, t, row_sums, weights);
    }
    if (n - t == 1) multiply_tile<Format, 1>(panel, place, col, n_cols, x, t, row_sums, weights);
  }
}

// Takes unpacked weights into a panel.
template <typename Format>
struct PanelSink {
  static constexpr int64_t kQuads = Format::kGroup / 4;

  Panel& panel;
  int64_t place;  // of the first lane

  DSV4_INLINE_MEMBER void put(int64_t group, const U32 (&quads)[kQuads], F32 scale) {
#pragma GCC unroll 8
    for (int64_t q = 0; q < kQuads; ++q) {
      std::memcpy(&panel.quads[group * kQuads + q][place * 4], &quads[q], sizeof(U32));
    }
    store(&panel.scales[group][place], scale);
  }
  DSV4_INLINE_MEMBER void put(int64_t group, const U32 (&quads)[kQuads], F32 scale, F32 minimum) {
    put(group, quads, scale);
    store(&panel.minima[group][place], minimum);
  }
};

// Fills the panel with the rows of n_tiles tiles from `row` on.
template <typename Format>
static void fill_panel(const QuantMatrix& w, int64_t row_bytes, int64_t row, int64_t n_tiles,
                       int64_t col, int64_t n_cols, Panel& panel) {
  for (int64_t place = 0; place < n_tiles * kRowsOfTile; place += kLanes) {
    PanelSink<Format> sink{panel, place};
    Format::unpack(w, RowSet(w, row_bytes, row + place), col, n_cols, sink);
  }
}

// What comes after the panels of these rows, in n_steps steps.
template <typename Format>
DSV4_INLINE auto weights_after_panel(const QuantMatrix& w, int64_t, int64_t next, int64_t row_end,
                                     ReadAhead then, int64_t n_steps) {
  return weights_after(w, w.row_bytes(), next, row_end, kPanelRows, then, n_steps,
                       /*again=*/false);
}

// Up to kManyTokens tokens: panel by panel. Sums of a panel are kept together while the columns
// pass by: rows of y can lie so far apart that they share a few places of the cache.
template <typename Format>
static void linear_int8_panels(const Int8Block& x, int64_t n, const QuantMatrix& w,
                               int64_t row_begin, int64_t row_end, ReadAhead then, float* y,
                               int64_t y_stride) {
  constexpr int kTokens = kTileTokens<Format>;
  Panel panel;
  alignas(64) float sums[kManyTokens][kPanelRows];
  const int64_t row_bytes = w.row_bytes();
  const int64_t n_panels = (w.cols + kPanelCols - 1) / kPanelCols;
  for (int64_t row = row_begin; row < row_end; row += kPanelRows) {
    const int64_t n_rows = smaller(kPanelRows, row_end - row);
    const int64_t next = row + n_rows;
    const int64_t n_tiles = (n_rows + kRowsOfTile - 1) / kRowsOfTile;
    const int64_t n_tile_groups =
        n_tiles * ((n + kTokens - 1) / kTokens) * (w.cols / Format::kGroup);
    auto weights = weights_after_panel<Format>(w, row, next, row_end, then, n_tile_groups);
    Prefetcher scales = scales_after(w, next, row_end, kPanelRows, n_panels);
    for (int64_t col = 0; col < w.cols; col += kPanelCols) {
      const int64_t n_cols = smaller(kPanelCols, w.cols - col);
      scales.advance();
      fill_panel<Format>(w, row_bytes, row, n_tiles, col, n_cols, panel);
      multiply_panel<Format>(panel, n_tiles, col, n_cols, x, n, sums, weights);
    }
    for (int64_t t = 0; t < n; ++t) std::memcpy(y + t * y_stride + row, sums[t], n_rows * 4);
  }
}

// Any number of tokens.
template <typename Format>
static void linear_int8_many(const Int8Block& x, int64_t n, const QuantMatrix& w, int64_t row_begin,
                             int64_t row_end, ReadAhead then, float* y, int64_t y_stride) {
  for (int64_t t = 0; t < n; t += kManyTokens) {
    linear_int8_panels<Format>(tokens_from(x, t), smaller(kManyTokens, n - t), w, row_begin,
                               row_end, then, y + t * y_stride, y_stride);
  }
}

}  // namespace
}  // namespace dsv4
