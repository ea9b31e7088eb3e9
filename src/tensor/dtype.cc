#include "tensor/dtype.h"

#include <iterator>

namespace dsv4 {
namespace {

struct DTypeInfo {
  std::string_view name;
  int64_t block;
  size_t bytes;
};

// In the order of the enumerators.
constexpr DTypeInfo kInfo[] = {
    {"F32", 1, 4},        {"F16", 1, 2},      {"BF16", 1, 2},     {"F8_E4M3", 1, 1},
    {"F8_E8M0", 1, 1},    {"I8", 1, 1},       {"U8", 1, 1},       {"I32", 1, 4},
    {"I64", 1, 8},        {"BOOL", 1, 1},     {"Q4_0", 32, 18},   {"Q4_1", 32, 20},
    {"Q5_0", 32, 22},     {"Q5_1", 32, 24},   {"Q8_0", 32, 34},   {"Q2_K", 256, 84},
    {"Q3_K", 256, 110},   {"Q4_K", 256, 144}, {"Q5_K", 256, 176}, {"Q6_K", 256, 210},
    {"IQ2_XXS", 256, 66}, {"MXFP4", 32, 17}};

}  // namespace

std::string_view dtype_name(DType dtype) { return kInfo[static_cast<size_t>(dtype)].name; }

int64_t dtype_block(DType dtype) { return kInfo[static_cast<size_t>(dtype)].block; }

size_t dtype_bytes(DType dtype) { return kInfo[static_cast<size_t>(dtype)].bytes; }

std::optional<DType> dtype_from_name(std::string_view name) {
  for (size_t i = 0; i < std::size(kInfo); ++i) {
    if (kInfo[i].name == name) return static_cast<DType>(i);
  }
  return std::nullopt;
}

}  // namespace dsv4
