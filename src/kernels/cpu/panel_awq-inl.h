// Unpacks AWQ's 4-bit integers, which lie along the outputs: a column of the weight is a row of
// words, each with the codes of eight neighbouring rows. So rows come kAwqRows at a time, whose
// bytes lie together, and columns a few at a time. A weight is
//   weight = scale * code - scale * zero
// with one scale and zero point for block_cols columns of a row.
#pragma once

#include "kernels/cpu/decode-inl.h"
#include "kernels/cpu/simd.h"
#include "quant/quant_matrix.h"

namespace dsv4 {
namespace {

struct AwqPanel {
  static constexpr int64_t kGroup = 32;
  static constexpr int32_t kOffset = 0;
  static constexpr int kLargest = 15;
  static constexpr bool kHasMinimum = true;
  static constexpr bool kPowersOfTwo = false;
};

constexpr int64_t kAwqRows = 64;  // that are unpacked together
constexpr int64_t kAwqBytes = kAwqRows / 2;
constexpr int64_t kAwqVectors = kAwqRows / kLanes;
constexpr int64_t kAwqCols = 8;  // two quads

// quads[i][v], lane r = the codes of row v * kLanes + r in the columns 4 i to 4 i + 3, which lie
// `stride` apart. Bytes of four columns are put side by side first: then byte b of word w of each
// column is a lane of words[w % 4], with two rows' codes. A word has its rows in the nibbles 0, 4,
// 1, 5, 2, 6, 3, 7, so that rows 0, 1, 4 and 5 are in lower ones.
#if defined(__AVX512BW__)
DSV4_INLINE void load_awq(const std::byte* at, int64_t stride, U32 (&quads)[2][kAwqVectors]) {
  constexpr U32 kShifts = {0, 0, 4, 4, 0, 0, 4, 4, 0, 0, 4, 4, 0, 0, 4, 4};
  const auto column = [&](int64_t c) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at + c * stride));
  };
  __m512i columns[4];  // c and c + 4
#pragma GCC unroll 4
  for (int64_t c = 0; c < 4; ++c) {
    columns[c] =
        _mm512_maskz_inserti64x4(kAllPairs, _mm512_castsi256_si512(column(c)), column(c + 4), 1);
  }
  const __m512i low01 = _mm512_unpacklo_epi8(columns[0], columns[1]);
  const __m512i low23 = _mm512_unpacklo_epi8(columns[2], columns[3]);
  const __m512i high01 = _mm512_unpackhi_epi8(columns[0], columns[1]);
  const __m512i high23 = _mm512_unpackhi_epi8(columns[2], columns[3]);
  // Parts of these: words i and i + 4 of the first quad, then of the second one.
  const U32 words[4] = {
      (U32)_mm512_unpacklo_epi16(low01, low23), (U32)_mm512_unpackhi_epi16(low01, low23),
      (U32)_mm512_unpacklo_epi16(high01, high23), (U32)_mm512_unpackhi_epi16(high01, high23)};
#pragma GCC unroll 2
  for (int v = 0; v < 2; ++v) {  // words 2 v and 2 v + 1, and those four behind
    const U32 a = words[2 * v];
    const U32 b = words[2 * v + 1];
    const U32 pairs[4] = {
        __builtin_shufflevector(a, b, 0, 2, 0, 2, 1, 3, 1, 3, 16, 18, 16, 18, 17, 19, 17, 19),
        __builtin_shufflevector(a, b, 4, 6, 4, 6, 5, 7, 5, 7, 20, 22, 20, 22, 21, 23, 21, 23),
        __builtin_shufflevector(a, b, 8, 10, 8, 10, 9, 11, 9, 11, 24, 26, 24, 26, 25, 27, 25, 27),
        __builtin_shufflevector(a, b, 12, 14, 12, 14, 13, 15, 13, 15, 28, 30, 28, 30, 29, 31, 29,
                                31)};
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      quads[i / 2][v + i % 2 * 2] = pairs[i] >> kShifts & 0x0F0F0F0F;
    }
  }
}
#elif defined(__AVX2__)
DSV4_INLINE void load_awq(const std::byte* at, int64_t stride, U32 (&quads)[2][kAwqVectors]) {
  constexpr U32 kShifts = {0, 0, 4, 4, 0, 0, 4, 4};
#pragma GCC unroll 2
  for (int i = 0; i < 2; ++i) {
    const auto column = [&](int64_t c) {
      return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at + (4 * i + c) * stride));
    };
    const __m256i low01 = _mm256_unpacklo_epi8(column(0), column(1));
    const __m256i low23 = _mm256_unpacklo_epi8(column(2), column(3));
    const __m256i high01 = _mm256_unpackhi_epi8(column(0), column(1));
    const __m256i high23 = _mm256_unpackhi_epi8(column(2), column(3));
    const U32 words[4] = {
        (U32)_mm256_unpacklo_epi16(low01, low23), (U32)_mm256_unpackhi_epi16(low01, low23),
        (U32)_mm256_unpacklo_epi16(high01, high23), (U32)_mm256_unpackhi_epi16(high01, high23)};
#pragma GCC unroll 4
    for (int v = 0; v < 4; ++v) {  // words v and v + 4
      const U32 w = words[v];
      const U32 first = __builtin_shufflevector(w, w, 0, 2, 0, 2, 1, 3, 1, 3);
      const U32 second = __builtin_shufflevector(w, w, 4, 6, 4, 6, 5, 7, 5, 7);
      quads[i][v] = first >> kShifts & 0x0F0F0F0F;
      quads[i][v + 4] = second >> kShifts & 0x0F0F0F0F;
    }
  }
}
#else
DSV4_INLINE void load_awq(const std::byte* at, int64_t stride, U32 (&quads)[2][kAwqVectors]) {
  using U16 [[gnu::vector_size(16)]] = uint16_t;
  const auto bytes_of = [](U8 a, U8 b, auto high) {
    constexpr int h = decltype(high)::value ? 8 : 0;
    return (U16)__builtin_shufflevector(a, b, h, h + 16, h + 1, h + 17, h + 2, h + 18, h + 3,
                                        h + 19, h + 4, h + 20, h + 5, h + 21, h + 6, h + 22, h + 7,
                                        h + 23);
  };
  const auto halves_of = [](U16 a, U16 b, auto high) {
    constexpr int h = decltype(high)::value ? 4 : 0;
    return (U32)__builtin_shufflevector(a, b, h, h + 8, h + 1, h + 9, h + 2, h + 10, h + 3, h + 11);
  };
  constexpr std::false_type kLow;
  constexpr std::true_type kHigh;
  for (int64_t i = 0; i < 2; ++i) {
    for (int64_t part = 0; part < 2; ++part) {  // four words
      U8 c[4];
      for (int64_t j = 0; j < 4; ++j) {
        std::memcpy(&c[j], at + (4 * i + j) * stride + 16 * part, sizeof(U8));
      }
      const U16 low01 = bytes_of(c[0], c[1], kLow);
      const U16 low23 = bytes_of(c[2], c[3], kLow);
      const U16 high01 = bytes_of(c[0], c[1], kHigh);
      const U16 high23 = bytes_of(c[2], c[3], kHigh);
      const U32 words[4] = {halves_of(low01, low23, kLow), halves_of(low01, low23, kHigh),
                            halves_of(high01, high23, kLow), halves_of(high01, high23, kHigh)};
      for (int64_t v = 0; v < 4; ++v) {
        const U32 low = words[v] & 0x0F0F0F0F;
        const U32 high = words[v] >> 4 & 0x0F0F0F0F;
        quads[i][8 * part + 2 * v] = __builtin_shufflevector(low, high, 0, 2, 4, 6);
        quads[i][8 * part + 2 * v + 1] = __builtin_shufflevector(low, high, 1, 3, 5, 7);
      }
    }
  }
}
#endif

// The codes of the rows [row, row + kLanes) in a row of words. Rows are counted from its start.
DSV4_INLINE U32 load_awq_codes(const std::byte* words, int64_t row) {
#if defined(__AVX512F__)
  uint32_t word[2];
  std::memcpy(word, words + row / 2, sizeof(word));
  const uint32_t a = word[0];
  const uint32_t b = word[1];
  const U32 both = {a, a, a, a, a, a, a, a, b, b, b, b, b, b, b, b};
  return both >> U32{0, 16, 4, 20, 8, 24, 12, 28, 0, 16, 4, 20, 8, 24, 12, 28} & 15;
#else
  uint32_t word;
  std::memcpy(&word, words + row / 8 * 4, sizeof(word));
#if defined(__AVX2__)
  return (U32{} + word) >> U32{0, 16, 4, 20, 8, 24, 12, 28} & 15;
#else
  word >>= row % 8 * 2;  // the second half of a word
  return U32{word & 15, word >> 16 & 15, word >> 4 & 15, word >> 20 & 15};
#endif
#endif
}

// Up to kAwqRows rows of a weight: a multiple of 16.
struct AwqRowSet {
  const QuantMatrix& w;
  int64_t first;  // in the stored tensor
  int64_t n_rows;
  int64_t stride;         // between columns
  const std::byte* data;  // of column 0

  AwqRowSet(const QuantMatrix& weight, int64_t row)
      : w(weight),
        first(weight.first_row + row),
        n_rows(smaller(kAwqRows, weight.rows - row)),
        stride(weight.scale_cols / 2),
        data(weight.data + first / 2) {}

  // kAwqCols columns from `col` on; missing rows are zero.
  DSV4_INLINE_MEMBER void unpack(int64_t col, U32 (&quads)[2][kAwqVectors]) const {
    const std::byte* at = data + col * stride;
    if (n_rows == kAwqRows) return load_awq(at, stride, quads);
    std::byte padded[kAwqCols][kAwqBytes] = {};
    for (int64_t c = 0; c < kAwqCols; ++c) {
      std::memcpy(padded[c], at + c * stride, static_cast<size_t>(n_rows / 2));
    }
    load_awq(padded[0], kAwqBytes, quads);
  }

  DSV4_INLINE_MEMBER void load_scales(int64_t col, F32 (&scales)[kAwqVectors],
                                      F32 (&minima)[kAwqVectors]) const {
    const int64_t block = col / w.block_cols;
    const std::byte* stored = w.scales + (block * w.scale_cols + first) * 2;
    const std::byte* zeros = w.zeros + block * stride;
#pragma GCC unroll 4
    for (int64_t v = 0; v < kAwqVectors; ++v) {
      const bool some = v * kLanes < n_rows;
      scales[v] = some ? half_to_float(load_u16(stored + v * kLanes * 2)) : F32{};
      const U32 zero = some ? load_awq_codes(zeros, first + v * kLanes) : U32{};
      minima[v] = -(scales[v] * to_float((I32)zero));
    }
  }

  // Where a block begins at `col`, asks for the scales of the next one.
  DSV4_INLINE_MEMBER void prefetch_scales(int64_t col) const {
    if (col % w.block_cols != 0) return;
    const int64_t block = col / w.block_cols + 1;
    const std::byte* stored = w.scales + (block * w.scale_cols + first) * 2;
    __builtin_prefetch(stored);
    __builtin_prefetch(stored + 64);
    __builtin_prefetch(w.zeros + block * stride + first / 2);
  }
};

}  // namespace
}  // namespace dsv4
