#include "quant/entry_format.h"

#include "quant/float_formats.h"

#include <algorithm>
#include <cstring>

namespace dsv4 {
namespace {

int64_t n_blocks(int64_t n, int64_t block) { return (n + block - 1) / block; }

void encode_bf16(const float* values, int64_t n, std::byte* out) {
  for (int64_t i = 0; i < n; ++i) {
    const uint16_t code = float_to_bf16(values[i]);
    std::memcpy(out + 2 * i, &code, sizeof(code));
  }
}

void decode_bf16(const std::byte* data, int64_t n, float* values) {
  for (int64_t i = 0; i < n; ++i) {
    uint16_t code;
    std::memcpy(&code, data + 2 * i, sizeof(code));
    values[i] = bf16_to_float(code);
  }
}

void encode_fp8(const float* values, int64_t n, std::byte* codes, std::byte* scales) {
  for (int64_t begin = 0; begin < n; begin += kFp8EntryBlock) {
    const int64_t count = std::min(n - begin, kFp8EntryBlock);
    float block[kFp8EntryBlock];
    std::transform(values + begin, values + begin + count, block, round_to_bf16);
    const float scale = fp8_block_scale(block, count);
    *scales++ = static_cast<std::byte>(power_of_two_to_e8m0(scale));
    for (int64_t i = 0; i < count; ++i) {
      codes[begin + i] = static_cast<std::byte>(float_to_e4m3(block[i] / scale));
    }
  }
}

void decode_fp8(const std::byte* codes, const std::byte* scales, int64_t n, float* values) {
  for (int64_t i = 0; i < n; ++i) {
    values[i] = e4m3_to_float(static_cast<uint8_t>(codes[i])) *
                e8m0_to_float(static_cast<uint8_t>(scales[i / kFp8EntryBlock]));
  }
}

void encode_fp4(const float* values, int64_t n, std::byte* codes, std::byte* scales) {
  std::fill_n(codes, n_blocks(n, 2), std::byte{0});
  for (int64_t begin = 0; begin < n; begin += kFp4EntryBlock) {
    const int64_t count = std::min(n - begin, kFp4EntryBlock);
    float block[kFp4EntryBlock];
    std::transform(values + begin, values + begin + count, block, round_to_bf16);
    const float scale = fp4_block_scale(block, count);
    *scales++ = static_cast<std::byte>(power_of_two_to_e8m0(scale));
    for (int64_t i = 0; i < count; ++i) {
      const auto code = static_cast<std::byte>(float_to_e2m1(block[i] / scale) << i % 2 * 4);
      codes[(begin + i) / 2] |= code;
    }
  }
}

void decode_fp4(const std::byte* codes, const std::byte* scales, int64_t n, float* values) {
  for (int64_t i = 0; i < n; ++i) {
    const auto code = static_cast<uint32_t>(codes[i / 2]) >> i % 2 * 4 & 15;
    values[i] = kE2m1Values[code] * e8m0_to_float(static_cast<uint8_t>(scales[i / kFp4EntryBlock]));
  }
}

}  // namespace

std::string_view kv_storage_name(KvStorage storage) {
  constexpr std::string_view kNames[] = {"f32", "bf16", "native"};
  return kNames[static_cast<size_t>(storage)];
}

int64_t EntryFormat::bytes() const {
  switch (type) {
    case EntryType::kF32:
      return 4 * width;
    case EntryType::kBf16:
      return 2 * width;
    case EntryType::kFP8:
      return n_fp8 + n_blocks(n_fp8, kFp8EntryBlock) + 2 * (width - n_fp8);
    case EntryType::kFP4:
      break;
  }
  return n_blocks(width, 2) + n_blocks(width, kFp4EntryBlock);
}

EntryFormat entry_format(KvStorage storage, int64_t head_dim, int64_t rope_dim) {
  if (storage == KvStorage::kF32) return {EntryType::kF32, head_dim, 0};
  if (storage == KvStorage::kBf16) return {EntryType::kBf16, head_dim, 0};
  return {EntryType::kFP8, head_dim, head_dim - rope_dim};
}

EntryFormat index_key_format(KvStorage storage, int64_t index_head_dim) {
  if (storage == KvStorage::kF32) return {EntryType::kF32, index_head_dim, 0};
  if (storage == KvStorage::kBf16) return {EntryType::kBf16, index_head_dim, 0};
  return {EntryType::kFP4, index_head_dim, 0};
}

void encode_entry(const EntryFormat& format, const float* values, std::byte* row) {
  const int64_t n = format.width;
  const int64_t n_fp8 = format.n_fp8;
  switch (format.type) {
    case EntryType::kF32:
      std::memcpy(row, values, static_cast<size_t>(n) * sizeof(float));
      return;
    case EntryType::kBf16:
      return encode_bf16(values, n, row);
    case EntryType::kFP8:
      encode_fp8(values, n_fp8, row, row + n_fp8);
      return encode_bf16(values + n_fp8, n - n_fp8, row + n_fp8 + n_blocks(n_fp8, kFp8EntryBlock));
    case EntryType::kFP4:
      return encode_fp4(values, n, row, row + n_blocks(n, 2));
  }
}

void decode_entry(const EntryFormat& format, const std::byte* row, float* values) {
  const int64_t n = format.width;
  const int64_t n_fp8 = format.n_fp8;
  switch (format.type) {
    case EntryType::kF32:
      std::memcpy(values, row, static_cast<size_t>(n) * sizeof(float));
      return;
    case EntryType::kBf16:
      return decode_bf16(row, n, values);
    case EntryType::kFP8:
      decode_fp8(row, row + n_fp8, n_fp8, values);
      return decode_bf16(row + n_fp8 + n_blocks(n_fp8, kFp8EntryBlock), n - n_fp8, values + n_fp8);
    case EntryType::kFP4:
      return decode_fp4(row, row + n_blocks(n, 2), n, values);
  }
}

}  // namespace dsv4
