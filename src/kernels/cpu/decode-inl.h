// Stored weights to floats, a register at a time, exactly as QuantMatrix::decode() does it. Bit
// patterns are moved into float32 fields; no step makes a denormal number, which some processors
// handle slowly.
#pragma once

#include "kernels/cpu/simd.h"
#include "quant/float_formats.h"
#include "quant/quant_matrix.h"

namespace dsv4 {
namespace {

DSV4_INLINE int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

DSV4_INLINE F32 decode_f32(const std::byte* data) {
  F32 v;
  std::memcpy(&v, data, sizeof(v));
  return v;
}

DSV4_INLINE F32 decode_f16(const std::byte* data) {
#if defined(__AVX512F__)
  __m256i halves;
  std::memcpy(&halves, data, sizeof(halves));
  return (F32)_mm512_maskz_cvtph_ps(kAllLanes, halves);
#elif defined(__AVX2__)
  __m128i halves;
  std::memcpy(&halves, data, sizeof(halves));
  return (F32)_mm256_cvtph_ps(halves);
#else
  return half_to_float(load_u16(data));
#endif
}

DSV4_INLINE F32 decode_bf16(const std::byte* data) { return as_float(load_u16(data) << 16); }

DSV4_INLINE F32 decode_e4m3(const std::byte* data) {
  constexpr uint32_t kOne = 1u << 23;  // in the exponent field
  const U32 code = load_u8(data);
  // Codes with exponent 0 lack the leading bit: read as exponent 1, they are too large by 2^-6.
  const U32 subnormal = (U32)((code & 0x78) == 0);
  const U32 bits = ((code & 0x7F) << 20) + 120 * kOne + (subnormal & kOne);
  const F32 magnitude = as_float(bits) - as_float(subnormal & 121 * kOne);
  const U32 nan = (U32)((code & 0x7F) == 0x7F) & 0x7FC00000;
  return as_float(as_bits(magnitude) | nan | (code & 0x80) << 24);
}

DSV4_INLINE F32 decode_e2m1(const std::byte* data) {
  const U32 code = load_u4(data);
  return as_float(as_bits(look_up(kE2m1Values, code & 7)) | (code & 8) << 28);
}

DSV4_INLINE float load_scale(const QuantMatrix& w, int64_t index) {
  if (w.scale_format == ScaleFormat::kNone) return 1;
  if (w.scale_format == ScaleFormat::kE8M0) {
    return e8m0_to_float(static_cast<uint8_t>(w.scales[index]));
  }
  float scale;
  std::memcpy(&scale, w.scales + index * 4, sizeof(scale));
  return scale;
}

// Weights [row, begin .. begin + n) where registers do not cross the borders of scale blocks.
// `kBits` are stored for each weight.
template <int kBits, typename Decode>
DSV4_INLINE void decode_blocks(const QuantMatrix& w, int64_t row, int64_t begin, int64_t n,
                               const std::byte* data, Decode decode, float* out) {
  const int64_t block = w.scale_format == ScaleFormat::kNone ? begin + n : w.block_cols;
  int64_t index = (w.first_row + row) / w.block_rows * w.scale_cols + begin / block;
  int64_t end = smaller(n, block - begin % block);
  for (int64_t k = 0; k < n; end = smaller(n, end + block), ++index) {
    const float scale = load_scale(w, index);
    for (; k < end; k += kLanes) store(out + k, decode(data + (begin + k) * kBits / 8) * scale);
  }
}

// decode() of quant_matrix.h, fast where whole groups of 16 share a scale.
static void decode_row(const QuantMatrix& w, int64_t row, int64_t begin, int64_t n, float* out) {
  constexpr int64_t kGroup = 16;
  const std::byte* data = w.data + row * w.row_bytes();
  const bool grouped = w.scale_format == ScaleFormat::kNone || w.block_cols % kGroup == 0;
  const int64_t n_fast = grouped && begin % kGroup == 0 ? n / kGroup * kGroup : 0;
  if (n_fast > 0) {
    switch (w.format) {
      case WeightFormat::kF16:
        decode_blocks<16>(w, row, begin, n_fast, data, decode_f16, out);
        break;
      case WeightFormat::kBF16:
        decode_blocks<16>(w, row, begin, n_fast, data, decode_bf16, out);
        break;
      case WeightFormat::kFP8:
        decode_blocks<8>(w, row, begin, n_fast, data, decode_e4m3, out);
        break;
      case WeightFormat::kFP4:
        decode_blocks<4>(w, row, begin, n_fast, data, decode_e2m1, out);
        break;
      default:
        w.decode(row, begin, n, out);
        return;
    }
  }
  if (n_fast < n) w.decode(row, begin + n_fast, n - n_fast, out + n_fast);
}

}  // namespace
}  // namespace dsv4
