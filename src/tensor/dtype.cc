#include "tensor/dtype.h"

#include <iterator>

namespace dsv4 {
namespace {

struct DTypeInfo {
  std::string_view name;
  size_t bytes;
};

// In the order of the enumerators.
constexpr DTypeInfo kInfo[] = {{"F32", 4}, {"F16", 2}, {"BF16", 2}, {"F8_E4M3", 1}, {"F8_E8M0", 1},
                               {"I8", 1},  {"U8", 1},  {"I32", 4},  {"I64", 8},     {"BOOL", 1}};

}  // namespace

std::string_view dtype_name(DType dtype) { return kInfo[static_cast<size_t>(dtype)].name; }

size_t dtype_bytes(DType dtype) { return kInfo[static_cast<size_t>(dtype)].bytes; }

std::optional<DType> dtype_from_name(std::string_view name) {
  for (size_t i = 0; i < std::size(kInfo); ++i) {
    if (kInfo[i].name == name) return static_cast<DType>(i);
  }
  return std::nullopt;
}

}  // namespace dsv4
