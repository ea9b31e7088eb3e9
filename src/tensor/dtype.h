// Every stored scalar type: name in safetensors and size. The only such table.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace dsv4 {

enum class DType : uint8_t { kF32, kF16, kBF16, kF8E4M3, kF8E8M0, kI8, kU8, kI32, kI64, kBool };

// The name that safetensors uses, for example "F8_E4M3".
std::string_view dtype_name(DType dtype);
// Bytes of one element.
size_t dtype_bytes(DType dtype);
// The type of a safetensors name; nothing for a type that dsv4 does not know.
std::optional<DType> dtype_from_name(std::string_view name);

}  // namespace dsv4
