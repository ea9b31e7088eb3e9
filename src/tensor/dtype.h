// Every stored type: name, values and bytes of a block. The only such table.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace dsv4 {

enum class DType : uint8_t {
  // Scalars, as safetensors names them.
  kF32,
  kF16,
  kBF16,
  kF8E4M3,
  kF8E8M0,
  kI8,
  kU8,
  kI32,
  kI64,
  kBool,
  // Blocks of values with their scales, as GGUF files hold them (docs/formats.md).
  kQ4_0,
  kQ4_1,
  kQ5_0,
  kQ5_1,
  kQ8_0,
  kQ2_K,
  kQ3_K,
  kQ4_K,
  kQ5_K,
  kQ6_K,
  kIQ2_XXS,
  kMXFP4
};

// For example "F8_E4M3" or "Q4_K".
std::string_view dtype_name(DType dtype);
// Values of one block; 1 for scalars.
int64_t dtype_block(DType dtype);
// Bytes of one block.
size_t dtype_bytes(DType dtype);
// The type of this name; nothing for one that dsv4 does not know.
std::optional<DType> dtype_from_name(std::string_view name);

}  // namespace dsv4
