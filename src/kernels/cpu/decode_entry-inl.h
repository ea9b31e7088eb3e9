// Stored entries to floats, exactly as decode_entry() of quant/entry_format.h does it.
#pragma once

#include "kernels/cpu/decode-inl.h"
#include "quant/entry_format.h"

namespace dsv4 {
namespace {

// n values of kBits each, in blocks that share a scale; n and the block are multiples of 16.
template <int kBits, typename Decode>
DSV4_INLINE void decode_scaled(const std::byte* codes, const std::byte* scales, int64_t n,
                               int64_t block, Decode decode, float* out) {
  for (int64_t begin = 0; begin < n; begin += block, ++scales) {
    const F32 scale = broadcast(e8m0_to_float(static_cast<uint8_t>(*scales)));
    for (int64_t k = begin; k < smaller(begin + block, n); k += kLanes) {
      store(out + k, decode(codes + k * kBits / 8) * scale);
    }
  }
}

DSV4_INLINE void decode_bf16_values(const std::byte* data, int64_t n, float* out) {
  for (int64_t k = 0; k < n; k += kLanes) store(out + k, decode_bf16(data + 2 * k));
}

static void decode_entry_row(const EntryFormat& format, const std::byte* row, float* out) {
  constexpr int64_t kWhole = 16;
  const int64_t n = format.width;
  const int64_t n_fp8 = format.n_fp8;
  if (n % kWhole != 0 || n_fp8 % kWhole != 0) return decode_entry(format, row, out);
  switch (format.type) {
    case EntryType::kF32:
      std::memcpy(out, row, static_cast<size_t>(n) * sizeof(float));
      return;
    case EntryType::kBf16:
      return decode_bf16_values(row, n, out);
    case EntryType::kFP8: {
      const int64_t n_scales = (n_fp8 + kFp8EntryBlock - 1) / kFp8EntryBlock;
      decode_scaled<8>(row, row + n_fp8, n_fp8, kFp8EntryBlock, decode_e4m3, out);
      return decode_bf16_values(row + n_fp8 + n_scales, n - n_fp8, out + n_fp8);
    }
    case EntryType::kFP4:
      return decode_scaled<4>(row, row + n / 2, n, kFp4EntryBlock, decode_e2m1, out);
  }
}

}  // namespace
}  // namespace dsv4
