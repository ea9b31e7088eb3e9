// A vector of floats as wide as a register, on the compilers' generic vectors: 16 floats with
// AVX-512, 8 with AVX2, else 4. Lane by lane the operations are the same everywhere, and operations
// are fused only where fma() says so: every build of kernels-inl.h gives the same bits. Only the
// kernels include this; everything has internal linkage, so that no build's code is linked into
// another. Intrinsics stand where the compilers turn generic code into scalar code.
#pragma once

#include "quant/float_formats.h"

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#if defined(__SSE2__)
#include <immintrin.h>
#endif

namespace dsv4 {
namespace {

#define DSV4_INLINE [[gnu::always_inline]] static inline
#define DSV4_INLINE_MEMBER [[gnu::always_inline]] inline

#if defined(__AVX512F__)
inline constexpr int64_t kLanes = 16;
// GCC 12 warns of uninitialised lanes in the intrinsics without a mask; this one costs nothing.
inline constexpr __mmask16 kAllLanes = 0xFFFF;
inline constexpr __mmask8 kAllPairs = 0xFF;
#elif defined(__AVX2__)
inline constexpr int64_t kLanes = 8;
#else
inline constexpr int64_t kLanes = 4;
#endif

using F32 [[gnu::vector_size(kLanes * 4)]] = float;
using U32 [[gnu::vector_size(kLanes * 4)]] = uint32_t;
using I32 [[gnu::vector_size(kLanes * 4)]] = int32_t;
using U8 [[gnu::vector_size(kLanes * 4)]] = uint8_t;
using I8 [[gnu::vector_size(kLanes * 4)]] = int8_t;
using U32x8 [[gnu::vector_size(32)]] = uint32_t;
using U32x4 [[gnu::vector_size(16)]] = uint32_t;
using F32x8 [[gnu::vector_size(32)]] = float;
using F32x4 [[gnu::vector_size(16)]] = float;

DSV4_INLINE F32 load(const float* data) {
  F32 v;
  std::memcpy(&v, data, sizeof(v));
  return v;
}
DSV4_INLINE void store(float* data, F32 v) { std::memcpy(data, &v, sizeof(v)); }

// Holds a value in a register: compilers load it from memory again where it is used next.
DSV4_INLINE void keep_in_register([[maybe_unused]] U32& v) {
#if defined(__AVX512F__)
  asm("" : "+v"(v));
#elif defined(__SSE2__)
  asm("" : "+x"(v));
#endif
}

// Makes compilers load from here again instead of keeping what they have in registers.
DSV4_INLINE void forget(const float*& data) { asm("" : "+r"(data)); }

// The first `n` lanes, all of them or none where n is out of range; the rest is zero.
DSV4_INLINE int64_t clamp_lanes(int64_t n) { return n < 0 ? 0 : n < kLanes ? n : kLanes; }
DSV4_INLINE F32 load_partial(const float* data, int64_t n) {
  F32 v = {};
  std::memcpy(&v, data, static_cast<size_t>(clamp_lanes(n)) * sizeof(float));
  return v;
}
DSV4_INLINE void store_partial(float* data, F32 v, int64_t n) {
  std::memcpy(data, &v, static_cast<size_t>(clamp_lanes(n)) * sizeof(float));
}

// a * b + c, rounded once. Processors without the instruction get it from the C library, slowly.
DSV4_INLINE F32 fma(F32 a, F32 b, F32 c) {
#if defined(__AVX512F__)
  return (F32)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(__AVX2__)
  return (F32)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#else
  for (int64_t i = 0; i < kLanes; ++i) c[i] = __builtin_fmaf(a[i], b[i], c[i]);
  return c;
#endif
}

// Rounded to the nearest, as IEEE 754 says.
DSV4_INLINE F32 square_root(F32 v) {
#if defined(__AVX512F__)
  return (F32)_mm512_maskz_sqrt_ps(kAllLanes, (__m512)v);
#elif defined(__AVX2__)
  return (F32)_mm256_sqrt_ps((__m256)v);
#elif defined(__SSE2__)
  return (F32)_mm_sqrt_ps((__m128)v);
#else
  for (int64_t i = 0; i < kLanes; ++i) v[i] = __builtin_sqrtf(v[i]);
  return v;
#endif
}

// A number in all lanes. Compilers drop the subtraction of zero, but not its addition, which would
// make -0 a +0.
DSV4_INLINE F32 broadcast(float x) { return x - F32{}; }

// Whether a lane is below a limit.
DSV4_INLINE bool any_below(U32 v, uint32_t limit) {
#if defined(__AVX512F__)
  return _mm512_cmplt_epu32_mask((__m512i)v, (__m512i)(U32{} + limit)) != 0;
#elif defined(__AVX2__)
  const auto is_below = (__m256i)(v < limit);
  return _mm256_testz_si256(is_below, is_below) == 0;
#else
  return v[0] < limit || v[1] < limit || v[2] < limit || v[3] < limit;
#endif
}

DSV4_INLINE F32 as_float(U32 bits) { return (F32)bits; }
DSV4_INLINE U32 as_bits(F32 v) { return (U32)v; }

// Integers of 8, 16 and 4 bits (low nibble first), one for each lane.
DSV4_INLINE U32 load_u8(const std::byte* data) {
#if defined(__AVX512F__)
  return (U32)_mm512_maskz_cvtepu8_epi32(kAllLanes,
                                         _mm_loadu_si128(reinterpret_cast<const __m128i*>(data)));
#elif defined(__AVX2__)
  return (U32)_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(data)));
#else
  return U32{static_cast<uint8_t>(data[0]), static_cast<uint8_t>(data[1]),
             static_cast<uint8_t>(data[2]), static_cast<uint8_t>(data[3])};
#endif
}

DSV4_INLINE U32 load_u16(const std::byte* data) {
  uint16_t values [[gnu::vector_size(kLanes * 2)]];
  std::memcpy(&values, data, sizeof(values));
  return __builtin_convertvector(values, U32);
}

DSV4_INLINE U32 load_u4(const std::byte* data) {
#if defined(__AVX512F__)
  uint32_t word[2];
  std::memcpy(word, data, sizeof(word));
  const uint32_t a = word[0];
  const uint32_t b = word[1];
  const U32 words = {a, a, a, a, a, a, a, a, b, b, b, b, b, b, b, b};
  return words >> U32{0, 4, 8, 12, 16, 20, 24, 28, 0, 4, 8, 12, 16, 20, 24, 28} & 15;
#elif defined(__AVX2__)
  uint32_t word;
  std::memcpy(&word, data, sizeof(word));
  return (U32{} + word) >> U32{0, 4, 8, 12, 16, 20, 24, 28} & 15;
#else
  const auto a = static_cast<uint32_t>(data[0]);
  const auto b = static_cast<uint32_t>(data[1]);
  return U32{a & 15, a >> 4, b & 15, b >> 4};
#endif
}

// table[index] for each lane; the table has 8 entries.
DSV4_INLINE F32 look_up(const float* table, U32 index) {
#if defined(__AVX512F__)
  const __m256 entries = _mm256_loadu_ps(table);
  return (F32)_mm512_maskz_permutexvar_ps(kAllLanes, (__m512i)index,
                                          _mm512_castps256_ps512(entries));
#elif defined(__AVX2__)
  return (F32)_mm256_permutevar8x32_ps(_mm256_loadu_ps(table), (__m256i)index);
#else
  return F32{table[index[0]], table[index[1]], table[index[2]], table[index[3]]};
#endif
}

// Entry (byte & 15) of a table of 16 bytes, for each byte of the lanes, whose upper bits are zero.
DSV4_INLINE U32 look_up_bytes(const uint8_t* table, U32 bytes) {
#if defined(__AVX512BW__)
  const __m128i entries = _mm_loadu_si128(reinterpret_cast<const __m128i*>(table));
  return (U32)_mm512_shuffle_epi8(_mm512_maskz_broadcast_i32x4(kAllLanes, entries), (__m512i)bytes);
#elif defined(__AVX2__)
  const __m128i entries = _mm_loadu_si128(reinterpret_cast<const __m128i*>(table));
  return (U32)_mm256_shuffle_epi8(_mm256_broadcastsi128_si256(entries), (__m256i)bytes);
#else
  for (int64_t i = 0; i < kLanes; ++i) {
    bytes[i] = uint32_t{table[bytes[i] & 15]} | uint32_t{table[bytes[i] >> 8 & 15]} << 8 |
               uint32_t{table[bytes[i] >> 16 & 15]} << 16 | uint32_t{table[bytes[i] >> 24]} << 24;
  }
  return bytes;
#endif
}

// Entry of a table of 64 bytes for each byte, all of which are below 64.
DSV4_INLINE U8 look_up_64(const uint8_t* table, U8 bytes) {
#if defined(__AVX512VBMI__)
  return (U8)_mm512_maskz_permutexvar_epi8(~__mmask64{0}, (__m512i)bytes,
                                           _mm512_loadu_si512(table));
#elif defined(__AVX512BW__)
  const auto entries = [&](int i) {
    const __m128i part = _mm_loadu_si128(reinterpret_cast<const __m128i*>(table) + i);
    return _mm512_maskz_broadcast_i32x4(kAllLanes, part);
  };
  const auto index = (__m512i)bytes;
  const __mmask64 odd = _mm512_test_epi8_mask(index, _mm512_set1_epi8(16));
  const __mmask64 high = _mm512_test_epi8_mask(index, _mm512_set1_epi8(32));
  __m512i low_half = _mm512_shuffle_epi8(entries(0), index);
  __m512i high_half = _mm512_shuffle_epi8(entries(2), index);
  low_half = _mm512_mask_shuffle_epi8(low_half, odd, entries(1), index);
  high_half = _mm512_mask_shuffle_epi8(high_half, odd, entries(3), index);
  return (U8)_mm512_mask_mov_epi8(low_half, high, high_half);
#elif defined(__AVX2__)
  const auto entries = [&](int i) {
    const __m128i part = _mm_loadu_si128(reinterpret_cast<const __m128i*>(table) + i);
    return _mm256_broadcastsi128_si256(part);
  };
  const auto index = (__m256i)bytes;
  const auto odd = (__m256i)(U8)((U8)((bytes & 16) == 16));
  const auto high = (__m256i)(U8)((U8)((bytes & 32) == 32));
  const __m256i low_half = _mm256_blendv_epi8(_mm256_shuffle_epi8(entries(0), index),
                                              _mm256_shuffle_epi8(entries(1), index), odd);
  const __m256i high_half = _mm256_blendv_epi8(_mm256_shuffle_epi8(entries(2), index),
                                               _mm256_shuffle_epi8(entries(3), index), odd);
  return (U8)_mm256_blendv_epi8(low_half, high_half, high);
#else
  for (int64_t i = 0; i < kLanes * 4; ++i) bytes[i] = table[bytes[i]];
  return bytes;
#endif
}

// Entry of a table of 256 bytes for each byte.
DSV4_INLINE U8 look_up_256(const uint8_t* table, U8 bytes) {
#if defined(__AVX512VBMI__)
  const auto index = (__m512i)bytes;
  const auto entries = [&](int i) { return _mm512_loadu_si512(table + 64 * i); };
  const __m512i low = _mm512_maskz_permutex2var_epi8(~__mmask64{0}, entries(0), index, entries(1));
  const __m512i high = _mm512_maskz_permutex2var_epi8(~__mmask64{0}, entries(2), index, entries(3));
  return (U8)_mm512_mask_mov_epi8(low, _mm512_movepi8_mask(index), high);
#else
  for (int64_t i = 0; i < kLanes * 4; ++i) bytes[i] = table[bytes[i]];
  return bytes;
#endif
}

// Starts of the bytes of two lanes for a multishift: from bit kFirst of each on, kStep apart.
template <int kFirst, int kStep>
constexpr int64_t byte_starts() {
  int64_t starts = 0;
  for (int i = 0; i < 8; ++i) {
    starts |= static_cast<int64_t>((i / 4 * 32 + kFirst + i % 4 * kStep) & 63) << (8 * i);
  }
  return starts;
}

// Entry of a table of 8 bytes, repeated in it, for byte i of each lane: bits kDigit + 2 i and the
// next of the lane of `digits`, and above them bit kSign + i of that of `signs`.
template <int kDigit, int kSign>
DSV4_INLINE U32 look_up_signed(const uint8_t (&table)[64], U32 digits, U32 signs) {
#if defined(__AVX512VBMI__)
  const auto bytes_of = [](U32 v, int64_t starts) {
    return _mm512_maskz_multishift_epi64_epi8(~__mmask64{0}, _mm512_set1_epi64(starts), (__m512i)v);
  };
  // Higher bits of the bytes do not matter.
  const __m512i index =
      _mm512_ternarylogic_epi32(_mm512_set1_epi8(3), bytes_of(digits, byte_starts<kDigit, 2>()),
                                bytes_of(signs, byte_starts<kSign - 2, 1>()), 0xCA);
  return (U32)_mm512_maskz_permutexvar_epi8(~__mmask64{0}, index, _mm512_loadu_si512(table));
#else
  const U32 pairs = digits >> kDigit;
  const U32 bits = kSign < 2 ? signs << (2 - kSign) : signs >> (kSign < 2 ? 0 : kSign - 2);
  const U32 index = (pairs & 3) | (pairs << 6 & 0x0300) | (pairs << 12 & 0x030000) |
                    (pairs << 18 & 0x03000000) | (bits & 4) | (bits << 7 & 0x0400) |
                    (bits << 14 & 0x040000) | (bits << 21 & 0x04000000);
  return look_up_bytes(table, index);
#endif
}

// Entry of a table of 128 bytes for each 7 of the lower 28 bits of each lane.
DSV4_INLINE U32 look_up_sevens(const uint8_t (&table)[128], U32 v) {
#if defined(__AVX512VBMI__)
  const __m512i index = _mm512_maskz_multishift_epi64_epi8(
      ~__mmask64{0}, _mm512_set1_epi64(byte_starts<0, 7>()), (__m512i)v);
  return (U32)_mm512_maskz_permutex2var_epi8(~__mmask64{0}, _mm512_loadu_si512(table), index,
                                             _mm512_loadu_si512(table + 64));
#else
  U8 bytes = (U8)((v & 0x7F) | (v << 1 & 0x7F00) | (v << 2 & 0x7F0000) | (v << 3 & 0x7F000000));
  for (int64_t i = 0; i < kLanes * 4; ++i) bytes[i] = table[bytes[i]];
  return (U32)bytes;
#endif
}

// a - b, or 0 where b is larger.
DSV4_INLINE U8 subtract_saturating(U8 a, U8 b) {
#if defined(__AVX512BW__)
  return (U8)_mm512_subs_epu8((__m512i)a, (__m512i)b);
#elif defined(__AVX2__)
  return (U8)_mm256_subs_epu8((__m256i)a, (__m256i)b);
#else
  return a > b ? a - b : U8{};
#endif
}

// The largest lane.
DSV4_INLINE uint32_t max_lane(U32x4 v) {
  const uint32_t a = v[0] > v[1] ? v[0] : v[1];
  const uint32_t b = v[2] > v[3] ? v[2] : v[3];
  return a > b ? a : b;
}
DSV4_INLINE uint32_t max_lane(U32x8 v) {
  const U32x4 low = __builtin_shufflevector(v, v, 0, 1, 2, 3);
  const U32x4 high = __builtin_shufflevector(v, v, 4, 5, 6, 7);
  return max_lane(low > high ? low : high);
}
#if defined(__AVX512F__)
DSV4_INLINE uint32_t max_lane(U32 v) {
  const U32x8 low = __builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7);
  const U32x8 high = __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15);
  return max_lane(low > high ? low : high);
}
#endif

// The sum of 16 bytes.
DSV4_INLINE int32_t sum_of_16(const int8_t* data) {
#if defined(__SSE2__)
  // Differences from -128 are sums of what is above it.
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(data));
  const __m128i halves = _mm_sad_epu8(_mm_xor_si128(bytes, _mm_set1_epi8(-128)), __m128i{});
  return _mm_cvtsi128_si32(halves) + _mm_extract_epi16(halves, 4) - 16 * 128;
#else
  int32_t sum = 0;
  for (int i = 0; i < 16; ++i) sum += data[i];
  return sum;
#endif
}

// The largest byte of each lane, in all of its bytes.
DSV4_INLINE U8 max_of_quad(U8 v) {
  const U8 halves = (U8)((U32)v >> 16 | (U32)v << 16);
  v = v > halves ? v : halves;
  const U8 bytes = (U8)(((U32)v >> 8 & 0x00FF00FF) | ((U32)v & 0x00FF00FF) << 8);
  return v > bytes ? v : bytes;
}

// c + the product of four unsigned bytes of `a`, all at most kMax, with four signed bytes of `b`,
// summed, in each lane. kMax tells whether sums of two products fit into 16 bits.
template <int kMax>
DSV4_INLINE I32 dot_bytes(I32 c, U32 a, I32 b) {
  [[maybe_unused]] constexpr bool kFits = kMax * 128 * 2 < 32768;
#if defined(__AVX512VNNI__)
  return (I32)_mm512_dpbusd_epi32((__m512i)c, (__m512i)a, (__m512i)b);
#elif defined(__AVX512BW__)
  if (kFits) {
    const __m512i pairs = _mm512_maddubs_epi16((__m512i)a, (__m512i)b);
    return c + (I32)_mm512_madd_epi16(pairs, _mm512_set1_epi16(1));
  }
  const __m512i even = _mm512_madd_epi16((__m512i)(a & 0x00FF00FF),
                                         _mm512_srai_epi16(_mm512_slli_epi16((__m512i)b, 8), 8));
  const __m512i odd =
      _mm512_madd_epi16(_mm512_srli_epi16((__m512i)a, 8), _mm512_srai_epi16((__m512i)b, 8));
  return c + (I32)even + (I32)odd;
#elif defined(__AVXVNNI__)
  return (I32)_mm256_dpbusd_avx_epi32((__m256i)c, (__m256i)a, (__m256i)b);
#elif defined(__AVX2__)
  if (kFits) {
    const __m256i pairs = _mm256_maddubs_epi16((__m256i)a, (__m256i)b);
    return c + (I32)_mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
  }
  const __m256i even = _mm256_madd_epi16((__m256i)(a & 0x00FF00FF),
                                         _mm256_srai_epi16(_mm256_slli_epi16((__m256i)b, 8), 8));
  const __m256i odd =
      _mm256_madd_epi16(_mm256_srli_epi16((__m256i)a, 8), _mm256_srai_epi16((__m256i)b, 8));
  return c + (I32)even + (I32)odd;
#elif defined(__SSE2__)
  const __m128i even =
      _mm_madd_epi16((__m128i)(a & 0x00FF00FF), _mm_srai_epi16(_mm_slli_epi16((__m128i)b, 8), 8));
  const __m128i odd = _mm_madd_epi16(_mm_srli_epi16((__m128i)a, 8), _mm_srai_epi16((__m128i)b, 8));
  return c + (I32)even + (I32)odd;
#else
  for (int shift = 0; shift < 32; shift += 8) {
    c += (I32)(a >> shift & 0xFF) * (b << (24 - shift) >> 24);
  }
  return c;
#endif
}

DSV4_INLINE F32 to_float(I32 v) { return __builtin_convertvector(v, F32); }

// IEEE half precision in the low 16 bits of each lane; the upper ones are zero.
DSV4_INLINE F32 half_to_float(U32 halves) {
#if defined(__AVX512F__)
  return (F32)_mm512_maskz_cvtph_ps(kAllLanes,
                                    _mm512_maskz_cvtepi32_epi16(kAllLanes, (__m512i)halves));
#elif defined(__AVX2__)
  const __m128i low = _mm256_castsi256_si128((__m256i)halves);
  const __m128i high = _mm256_extracti128_si256((__m256i)halves, 1);
  return (F32)_mm256_cvtph_ps(_mm_packus_epi32(low, high));
#else
  F32 floats;
  for (int64_t i = 0; i < kLanes; ++i) floats[i] = f16_to_float(static_cast<uint16_t>(halves[i]));
  return floats;
#endif
}

// out[q], lane r = bytes 4q .. 4q + 3 of the 16 bytes at rows[r].
DSV4_INLINE void load_words(const std::byte* const* rows, int64_t offset, U32 (&out)[4]) {
#if defined(__AVX512F__)
  __m512i v[4];
  const auto bytes_of = [&](int r) {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(rows[r] + offset));
  };
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {  // rows j, j + 4, j + 8, j + 12
    v[j] = _mm512_zextsi128_si512(bytes_of(j));
    v[j] = _mm512_maskz_inserti32x4(kAllLanes, v[j], bytes_of(j + 4), 1);
    v[j] = _mm512_maskz_inserti32x4(kAllLanes, v[j], bytes_of(j + 8), 2);
    v[j] = _mm512_maskz_inserti32x4(kAllLanes, v[j], bytes_of(j + 12), 3);
  }
  const __m512i low01 = _mm512_maskz_unpacklo_epi32(kAllLanes, v[0], v[1]);
  const __m512i low23 = _mm512_maskz_unpacklo_epi32(kAllLanes, v[2], v[3]);
  const __m512i high01 = _mm512_maskz_unpackhi_epi32(kAllLanes, v[0], v[1]);
  const __m512i high23 = _mm512_maskz_unpackhi_epi32(kAllLanes, v[2], v[3]);
  out[0] = (U32)_mm512_maskz_unpacklo_epi64(kAllPairs, low01, low23);
  out[1] = (U32)_mm512_maskz_unpackhi_epi64(kAllPairs, low01, low23);
  out[2] = (U32)_mm512_maskz_unpacklo_epi64(kAllPairs, high01, high23);
  out[3] = (U32)_mm512_maskz_unpackhi_epi64(kAllPairs, high01, high23);
#elif defined(__AVX2__)
  __m256i v[4];
  const auto bytes_of = [&](int r) {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(rows[r] + offset));
  };
  for (int j = 0; j < 4; ++j) {  // rows j, j + 4
    v[j] = _mm256_inserti128_si256(_mm256_castsi128_si256(bytes_of(j)), bytes_of(j + 4), 1);
  }
  const __m256i low01 = _mm256_unpacklo_epi32(v[0], v[1]);
  const __m256i low23 = _mm256_unpacklo_epi32(v[2], v[3]);
  const __m256i high01 = _mm256_unpackhi_epi32(v[0], v[1]);
  const __m256i high23 = _mm256_unpackhi_epi32(v[2], v[3]);
  out[0] = (U32)_mm256_unpacklo_epi64(low01, low23);
  out[1] = (U32)_mm256_unpackhi_epi64(low01, low23);
  out[2] = (U32)_mm256_unpacklo_epi64(high01, high23);
  out[3] = (U32)_mm256_unpackhi_epi64(high01, high23);
#else
  const auto word = [&](int r, int q) {
    uint32_t bytes = 0;
    std::memcpy(&bytes, rows[r] + offset + 4 * q, sizeof(bytes));
    return bytes;
  };
  for (int q = 0; q < 4; ++q) out[q] = U32{word(0, q), word(1, q), word(2, q), word(3, q)};
#endif
}

// out[q], lane r = bytes 4q .. 4q + 3 of the 32 bytes at rows[r].
DSV4_INLINE void load_half_lines(const std::byte* const* rows, int64_t offset, U32 (&out)[8]) {
#if defined(__AVX512F__)
  const auto bytes_of = [&](int r) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(rows[r] + offset));
  };
#pragma GCC unroll 2
  for (int half = 0; half < 2; ++half) {  // of the rows
    __m512i v[4];                         // rows j and j + 4 of it
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {
      v[j] = _mm512_castsi256_si512(bytes_of(8 * half + j));  // the rest follows
      v[j] = _mm512_maskz_inserti64x4(kAllPairs, v[j], bytes_of(8 * half + j + 4), 1);
    }
    const __m512i low01 = _mm512_maskz_unpacklo_epi32(kAllLanes, v[0], v[1]);
    const __m512i low23 = _mm512_maskz_unpacklo_epi32(kAllLanes, v[2], v[3]);
    const __m512i high01 = _mm512_maskz_unpackhi_epi32(kAllLanes, v[0], v[1]);
    const __m512i high23 = _mm512_maskz_unpackhi_epi32(kAllLanes, v[2], v[3]);
    // Parts of these: word i of the first four rows, word i + 4 of them, then of the last four.
    out[4 * half] = (U32)_mm512_maskz_unpacklo_epi64(kAllPairs, low01, low23);
    out[4 * half + 1] = (U32)_mm512_maskz_unpackhi_epi64(kAllPairs, low01, low23);
    out[4 * half + 2] = (U32)_mm512_maskz_unpacklo_epi64(kAllPairs, high01, high23);
    out[4 * half + 3] = (U32)_mm512_maskz_unpackhi_epi64(kAllPairs, high01, high23);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    const auto first = (__m512i)out[i];
    const auto last = (__m512i)out[4 + i];
    out[i] = (U32)_mm512_maskz_shuffle_i32x4(kAllLanes, first, last, 0x88);
    out[4 + i] = (U32)_mm512_maskz_shuffle_i32x4(kAllLanes, first, last, 0xDD);
  }
#else
  for (int part = 0; part < 2; ++part) {
    U32 words[4];
    load_words(rows, offset + 16 * part, words);
    for (int i = 0; i < 4; ++i) out[4 * part + i] = words[i];
  }
#endif
}

// The lanes of a register folded to four: first (i, i + 8), then (i, i + 4).
DSV4_INLINE F32x4 fold(F32x4 v) { return v; }
DSV4_INLINE F32x4 fold(F32x8 v) {
  return __builtin_shufflevector(v, v, 0, 1, 2, 3) + __builtin_shufflevector(v, v, 4, 5, 6, 7);
}
#if defined(__AVX512F__)
DSV4_INLINE F32x4 fold(F32 v) {
  return fold(__builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7) +
              __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15));
}
#endif

#if defined(__AVX512F__)
// Lane i = the sum of the lanes of v[i], each as the tree (i, i + 8), ..., (i, i + 1).
DSV4_INLINE F32 sum_lanes_16(const F32 (&v)[16]) {
  constexpr int kOrder[16] = {0, 2, 1, 3, 8, 10, 9, 11, 4, 6, 5, 7, 12, 14, 13, 15};
  F32 halves[8];
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) {
    const F32 a = v[kOrder[i]];
    const F32 b = v[kOrder[i + 8]];
    halves[i] =
        __builtin_shufflevector(a, b, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23) +
        __builtin_shufflevector(a, b, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31);
  }
  F32 quarters[4];
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    const F32 a = halves[i];
    const F32 b = halves[i + 4];
    quarters[i] =
        __builtin_shufflevector(a, b, 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27) +
        __builtin_shufflevector(a, b, 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31);
  }
  F32 pairs[2];
#pragma GCC unroll 2
  for (int i = 0; i < 2; ++i) {
    const F32 a = quarters[i];
    const F32 b = quarters[i + 2];
    pairs[i] =
        __builtin_shufflevector(a, b, 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29) +
        __builtin_shufflevector(a, b, 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31);
  }
  return __builtin_shufflevector(pairs[0], pairs[1], 0, 2, 16, 18, 4, 6, 20, 22, 8, 10, 24, 26, 12,
                                 14, 28, 30) +
         __builtin_shufflevector(pairs[0], pairs[1], 1, 3, 17, 19, 5, 7, 21, 23, 9, 11, 25, 27, 13,
                                 15, 29, 31);
}
#endif

// The sums of the lanes of four vectors, each as the tree (i, i + 2), (i, i + 1).
DSV4_INLINE F32x4 sum_lanes(F32x4 a, F32x4 b, F32x4 c, F32x4 d) {
  const F32x4 ab =
      __builtin_shufflevector(a, b, 0, 1, 4, 5) + __builtin_shufflevector(a, b, 2, 3, 6, 7);
  const F32x4 cd =
      __builtin_shufflevector(c, d, 0, 1, 4, 5) + __builtin_shufflevector(c, d, 2, 3, 6, 7);
  return __builtin_shufflevector(ab, cd, 0, 2, 4, 6) + __builtin_shufflevector(ab, cd, 1, 3, 5, 7);
}

}  // namespace
}  // namespace dsv4
