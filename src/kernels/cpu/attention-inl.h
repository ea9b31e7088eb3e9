// Attention and the indexer over stored entries. A block of entries is decoded once for all heads
// of a task. Dot products are those of dot-inl.h; attention's running maximum goes from block to
// block, and the exponentials of a block are summed in order.
#pragma once

#include "kernels/cpu/decode_entry-inl.h"
#include "kernels/cpu/dot-inl.h"
#include "kernels/cpu/exp-inl.h"
#include "kernels/cpu/kernel_table.h"
#include "kernels/cpu/simd.h"

#include <math.h>

namespace dsv4 {
namespace {

// Keys whose values stay in the first cache while the queries of all heads pass.
constexpr int64_t kNearKeys = 8;

// The lanes of out = a[i] . b[j] for up to 4 x 4 vectors of any length n, row by row of a. `a` and
// `b` are the first of n_a and n_b vectors, the others follow at the strides.
DSV4_INLINE void dot_rows(const float* a, int64_t a_stride, int64_t n_a, const float* b,
                          int64_t b_stride, int64_t n_b, int64_t n, float (&out)[16]) {
  const float* u[4];
  const float* v[4];
  for (int64_t i = 0; i < 4; ++i) {  // missing ones repeat the last; their sums are not used
    u[i] = a + smaller(i, n_a - 1) * a_stride;
    v[i] = b + smaller(i, n_b - 1) * b_stride;
  }
  dot_4x4(u, v, 0, smaller(kBlock, n), out);
  for (int64_t k = kBlock; k < n; k += kBlock) {
    alignas(64) float sums[16];
    dot_4x4(u, v, k, smaller(kBlock, n - k), sums);
    for (int i = 0; i < 16; ++i) out[i] += sums[i];
  }
}

// ---- Indexer. Keys lie side by side in the lanes, so that no sum goes across lanes: the dot
// product of a query and a key adds kScoreBlock terms in order, product and sum fused, and these
// sums in order.

constexpr int64_t kScoreBlock = 128;

// kLanes keys of FP4, 64 numbers at a time: their codes are exchanged before they are decoded.
DSV4_INLINE void decode_fp4_keys(const std::byte* const* at, int64_t d, float* keys) {
  static_assert(kFp4EntryBlock == 32);
  for (int64_t begin = 0; begin < d; begin += 64) {
    U32 words[8];
    load_half_lines(at, begin / 2, words);
    for (int64_t block = 0; block < 2; ++block) {
      F32 scale;
      for (int64_t r = 0; r < kLanes; ++r) {
        scale[r] = e8m0_to_float(static_cast<uint8_t>(at[r][d / 2 + begin / 32 + block]));
      }
      for (int64_t i = 0; i < 4; ++i) {
        float* out = keys + (begin + block * 32 + i * 8) * kKeyBlock;
        const U32 word = words[block * 4 + i];
#pragma GCC unroll 8
        for (int64_t k = 0; k < 8; ++k) {
          const U32 code = word >> (4 * k);
          const F32 value = as_float(as_bits(look_up(kE2m1Values, code & 7)) | (code & 8) << 28);
          store(out + k * kKeyBlock, value * scale);
        }
      }
    }
  }
}

// A block of keys, number by number: [d][kKeyBlock]. Behind the last key it repeats.
static void decode_keys(const IndexerTask& task, int64_t begin, int64_t n, float* rows,
                        int64_t stride, float* keys) {
  for (int64_t first = 0; first < kKeyBlock; first += kLanes) {
    const std::byte* at[kLanes];
    for (int64_t r = 0; r < kLanes; ++r) at[r] = task.keys[begin + smaller(first + r, n - 1)];
    if (task.format->type == EntryType::kFP4 && task.d % 64 == 0) {
      decode_fp4_keys(at, task.d, keys + first);
      continue;
    }
    for (int64_t r = 0; r < kLanes; ++r) {
      float* row = rows + r * stride;
      decode_entry_row(*task.format, at[r], row);
      at[r] = reinterpret_cast<const std::byte*>(row);
    }
    int64_t k = 0;
    for (; k + 8 <= task.d; k += 8) {
      U32 words[8];
      load_half_lines(at, k * 4, words);
      for (int64_t i = 0; i < 8; ++i) store(keys + (k + i) * kKeyBlock + first, as_float(words[i]));
    }
    for (; k < task.d; ++k) {
      for (int64_t r = 0; r < kLanes; ++r) keys[k * kKeyBlock + first + r] = rows[r * stride + k];
    }
  }
}

// total + w relu(dots). Nothing is fused.
template <bool kRoundBf16>
DSV4_INLINE F32 add_head(F32 total, F32 dots, float w) {
  F32 similarity = dots < F32{} ? F32{} : dots;  // keeps NaN
  if (!kRoundBf16) return total + similarity * w;
  for (int64_t r = 0; r < kLanes; ++r) {
    total[r] += round_to_bf16(round_to_bf16(similarity[r]) * w);
  }
  return total;
}

// dots[i][j] += the products of q[i] with register j of the keys, of the numbers [begin, end).
DSV4_INLINE void add_products(const float* const (&q)[4], const float* keys, int64_t begin,
                              int64_t end, F32 (&dots)[4][kTile]) {
  F32 sums[4][kTile] = {};
  for (int64_t k = begin; k < end; ++k) {
    F32 v[kTile];
#pragma GCC unroll 4
    for (int64_t j = 0; j < kTile; ++j) v[j] = load(keys + k * kKeyBlock + j * kLanes);
#pragma GCC unroll 4
    for (int64_t i = 0; i < 4; ++i) {
      const F32 u = broadcast(q[i][k]);
#pragma GCC unroll 4
      for (int64_t j = 0; j < kTile; ++j) sums[i][j] = fma(u, v[j], sums[i][j]);
    }
  }
#pragma GCC unroll 4
  for (int64_t i = 0; i < 4; ++i) {
#pragma GCC unroll 4
    for (int64_t j = 0; j < kTile; ++j) dots[i][j] += sums[i][j];
  }
}

// Scores of kTile registers of keys from `keys` on, four heads at a time.
template <bool kRoundBf16>
static void score_keys(const IndexerTask& task, const float* keys, float* score) {
  F32 totals[kTile] = {};
  for (int64_t h = 0; h < task.n_heads; h += 4) {
    const float* q[4];  // missing heads repeat the last and are not added
    for (int64_t i = 0; i < 4; ++i) q[i] = task.q + smaller(h + i, task.n_heads - 1) * task.d;
    F32 dots[4][kTile] = {};
    for (int64_t k = 0; k < task.d; k += kScoreBlock) {
      add_products(q, keys, k, smaller(k + kScoreBlock, task.d), dots);
    }
    for (int64_t i = 0; i < smaller(4, task.n_heads - h); ++i) {
#pragma GCC unroll 4
      for (int64_t j = 0; j < kTile; ++j) {
        totals[j] = add_head<kRoundBf16>(totals[j], dots[i][j], task.w[h + i]);
      }
    }
  }
  for (int64_t j = 0; j < kTile; ++j) store(score + j * kLanes, totals[j]);
}

static void indexer_scores(const IndexerTask& task, const EntryTile& tile, float* score) {
  float* keys = tile.data;
  float* rows = tile.data + kKeyBlock * tile.stride;
  alignas(64) float scores[kKeyBlock];
  for (int64_t begin = 0; begin < task.n_keys; begin += kKeyBlock) {
    const int64_t n = smaller(kKeyBlock, task.n_keys - begin);
    decode_keys(task, begin, n, rows, tile.stride, keys);
    for (int64_t j = 0; j < kKeyBlock; j += kTile * kLanes) {
      const auto score_some = task.round_bf16 ? score_keys<true> : score_keys<false>;
      score_some(task, keys + j, scores + j);
    }
    for (int64_t j = 0; j < n; ++j) {
      score[begin + j] = task.round_bf16 ? round_to_bf16(scores[j]) : scores[j];
    }
  }
}

// ---- Attention.

// p[h, k] = scale * q_h . key_k
static void score_block(const AttendTask& task, const AttendScratch& s, int64_t n) {
  alignas(64) float dots[16];
  for (int64_t near = 0; near < n; near += kNearKeys) {
    for (int64_t h = 0; h < task.n_heads; h += 4) {
      const int64_t n_heads = smaller(4, task.n_heads - h);
      for (int64_t k = near; k < smaller(near + kNearKeys, n); k += 4) {
        dot_rows(task.q + h * task.c, task.c, n_heads, s.tile.data + k * s.tile.stride,
                 s.tile.stride, smaller(4, n - k), task.c, dots);
        for (int64_t i = 0; i < n_heads; ++i) {
          float* p = s.p + (h + i) * kKeyBlock + k;
          for (int64_t r = 0; r < 4; ++r) p[r] = dots[i * 4 + r] * task.scale;
        }
      }
    }
  }
}

// The largest of a head's maximum and its logits of a block; skips NaN.
DSV4_INLINE float largest_logit(const float* p, float largest) {
  F32 lanes = broadcast(largest);
  for (int64_t k = 0; k < kKeyBlock; k += kLanes) {
    const F32 logits = load(p + k);
    lanes = logits > lanes ? logits : lanes;
  }
  for (int64_t i = 0; i < kLanes; ++i) largest = lanes[i] > largest ? lanes[i] : largest;
  return largest;
}

// Up to four heads: the logits p of a block become exponentials; maxima and totals are brought up
// to date. The sums of the heads run side by side, each in the order of the keys.
static void exponentials(const AttendScratch& s, int64_t h, int64_t n_heads, int64_t n,
                         bool round_bf16) {
  float sums[4] = {};
  const float* rows[4];
  for (int64_t i = 0; i < 4; ++i) rows[i] = s.p + (h + smaller(i, n_heads - 1)) * kKeyBlock;
  for (int64_t i = h; i < h + n_heads; ++i) {
    float* p = s.p + i * kKeyBlock;
    for (int64_t k = n; k < kKeyBlock; ++k) p[k] = -INFINITY;
    const float largest = largest_logit(p, s.largest[i]);
    for (int64_t k = 0; k < kKeyBlock; k += kLanes) {
      store(p + k, exp_nonpositive(load(p + k) - broadcast(largest)));
    }
    s.rescale[i] = exp_nonpositive(s.largest[i] - largest);
    s.largest[i] = largest;
  }
  for (int64_t k = 0; k < n; ++k) {
    for (int i = 0; i < 4; ++i) sums[i] += rows[i][k];
  }
  for (int64_t i = h; i < h + n_heads; ++i) {
    s.total[i] = s.total[i] * s.rescale[i] + sums[i - h];
    float* p = s.p + i * kKeyBlock;
    for (int64_t k = 0; round_bf16 && k < n; ++k) p[k] = round_to_bf16(p[k]);
  }
}

// One tile of add_values: up to four heads and the columns that kTile registers hold, or the first
// n of them.
template <bool kWhole>
DSV4_INLINE void add_values_tile(const AttendTask& task, const AttendScratch& s, int64_t n_rows,
                                 int64_t h, int64_t n_heads, int64_t column, int64_t n) {
  const auto load_at = [&](const float* row, int64_t v) {
    const float* data = row + column + v * kLanes;
    return kWhole ? load(data) : load_partial(data, n - v * kLanes);
  };
  const float* p[4];
  for (int64_t i = 0; i < 4; ++i) p[i] = s.p + (h + smaller(i, n_heads - 1)) * kKeyBlock;
  float* o = task.o + h * task.c;
  F32 sums[4][kTile] = {};
  for (int64_t i = 0; i < n_heads; ++i) {
    for (int64_t v = 0; v < kTile; ++v) {
      sums[i][v] = load_at(o + i * task.c, v) * broadcast(s.rescale[h + i]);
    }
  }
  for (int64_t k = 0; k < n_rows; ++k) {
    F32 row[kTile];
#pragma GCC unroll 4
    for (int64_t v = 0; v < kTile; ++v) row[v] = load_at(s.tile.data + k * s.tile.stride, v);
#pragma GCC unroll 4
    for (int64_t i = 0; i < 4; ++i) {
      const F32 weight = broadcast(p[i][k]);
#pragma GCC unroll 4
      for (int64_t v = 0; v < kTile; ++v) sums[i][v] = fma(row[v], weight, sums[i][v]);
    }
  }
  for (int64_t i = 0; i < n_heads; ++i) {
    for (int64_t v = 0; v < kTile; ++v) {
      store_partial(o + i * task.c + column + v * kLanes, sums[i][v], n - v * kLanes);
    }
  }
}

// o[h] = o[h] * rescale[h] + sum_k p[h, k] * entry_k. The columns of a tile stay in the first
// cache while all heads pass.
static void add_values(const AttendTask& task, const AttendScratch& s, int64_t n_rows) {
  constexpr int64_t kColumns = kTile * kLanes;
  for (int64_t column = 0; column < task.c; column += kColumns) {
    const int64_t n = smaller(kColumns, task.c - column);
    for (int64_t h = 0; h < task.n_heads; h += 4) {
      const int64_t n_heads = smaller(4, task.n_heads - h);
      if (n == kColumns) {
        add_values_tile<true>(task, s, n_rows, h, n_heads, column, n);
      } else {
        add_values_tile<false>(task, s, n_rows, h, n_heads, column, n);
      }
    }
  }
}

static void attend(const AttendTask& task, const AttendScratch& s) {
  for (int64_t h = 0; h < task.n_heads; ++h) s.largest[h] = -INFINITY, s.total[h] = 0;
  for (int64_t i = 0; i < task.n_heads * task.c; ++i) task.o[i] = 0;
  for (int64_t begin = 0; begin < task.n_rows; begin += kKeyBlock) {
    int64_t n = 0;  // of the block's places that are not absent
    for (int64_t k = begin; k < smaller(begin + kKeyBlock, task.n_rows); ++k) {
      if (task.rows[k] == nullptr) continue;
      decode_entry_row(*task.format, task.rows[k], s.tile.data + n++ * s.tile.stride);
    }
    if (n == 0) continue;
    score_block(task, s, n);
    for (int64_t h = 0; h < task.n_heads; h += 4) {
      exponentials(s, h, smaller(4, task.n_heads - h), n, task.round_bf16);
    }
    add_values(task, s, n);
  }
  for (int64_t h = 0; h < task.n_heads; ++h) {
    // The sink joins the denominator; where it exceeds the maximum everything shrinks instead.
    const float largest = s.largest[h] > task.sink[h] ? s.largest[h] : task.sink[h];
    const float shrink = exp_nonpositive(s.largest[h] - largest);
    const float total = s.total[h] * shrink + exp_nonpositive(task.sink[h] - largest);
    float* o = task.o + h * task.c;
    for (int64_t i = 0; i < task.c; ++i) o[i] = o[i] * shrink / total;
  }
}

}  // namespace
}  // namespace dsv4
