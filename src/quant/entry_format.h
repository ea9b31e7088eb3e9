// How a row of a sequence's state is stored: a key/value entry of attention, or an index key.
// Encoding rounds to BF16, since what models are trained to store was BF16 before, then as
// fp8_round_trip(block 64) and fp4_round_trip do; decoding is exact.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace dsv4 {

// What a model keeps its entries in. Native is what it was trained for: FP8 and BF16 in entries of
// attention, FP4 in index keys.
enum class KvStorage : uint32_t { kF32 = 0, kBf16 = 1, kNative = 2 };

// "f32", "bf16", "native"
std::string_view kv_storage_name(KvStorage storage);

enum class EntryType {
  kF32,
  kBf16,
  kFP8,  // E4M3 codes, their scales, then the other values in BF16
  kFP4,  // E2M1 codes, two a byte, low nibble first, then their scales
};

inline constexpr int64_t kFp8EntryBlock = 64;  // values that share an E8M0 scale
inline constexpr int64_t kFp4EntryBlock = 32;

struct EntryFormat {
  EntryType type = EntryType::kF32;
  int64_t width = 0;  // values of a row
  int64_t n_fp8 = 0;  // kFP8: the first so many are codes, the rest (rotary) is BF16

  int64_t bytes() const;  // of a row
};

// Of entries whose last `rope_dim` of `head_dim` values are rotary, and of index keys.
EntryFormat entry_format(KvStorage storage, int64_t head_dim, int64_t rope_dim);
EntryFormat index_key_format(KvStorage storage, int64_t index_head_dim);

// `values` has format.width elements, `row` format.bytes().
void encode_entry(const EntryFormat& format, const float* values, std::byte* row);
void decode_entry(const EntryFormat& format, const std::byte* row, float* values);

}  // namespace dsv4
