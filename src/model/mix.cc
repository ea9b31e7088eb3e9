#include "model/mix.h"

#include "base/error.h"

#include <algorithm>

#include <fmt/core.h>
#include <fmt/ranges.h>

namespace dsv4 {
namespace {

struct NamedMix {
  const char* name;
  Mix mix;
};

constexpr Mix all_of(DType type, DType head) {
  return {type, type, type, type, type, head, DType::kF16, DType::kF16};
}

// Few bits for the routed experts, which are most of the file and of which few are used; the rest
// stays at eight.
constexpr Mix experts_of(DType gate_up, DType down, DType down_more) {
  return {gate_up,      down,         down_more,   DType::kQ8_0,
          DType::kQ8_0, DType::kQ8_0, DType::kF16, DType::kF16};
}

// The K mixes keep the head and a part of the down projections at more bits.
constexpr Mix k_mix(DType base, DType more, DType head) {
  return {base, base, more, more, more, head, DType::kF16, DType::kF16};
}

// Matrices that the release keeps in BF16 or F32 stay as they are.
constexpr Mix released(DType experts, DType rest) {
  return {experts, experts, experts, rest, rest, DType::kBF16, DType::kBF16, DType::kBF16};
}

constexpr NamedMix kMixes[] = {
    {"F32",
     {DType::kF32, DType::kF32, DType::kF32, DType::kF32, DType::kF32, DType::kF32, DType::kF32,
      DType::kF32}},
    {"F16", all_of(DType::kF16, DType::kF16)},
    {"BF16", all_of(DType::kBF16, DType::kBF16)},
    {"Q8_0", all_of(DType::kQ8_0, DType::kQ8_0)},
    {"Q6_K", all_of(DType::kQ6_K, DType::kQ6_K)},
    {"Q5_K", all_of(DType::kQ5_K, DType::kQ6_K)},
    {"Q5_K_M", k_mix(DType::kQ5_K, DType::kQ6_K, DType::kQ6_K)},
    {"Q4_K", all_of(DType::kQ4_K, DType::kQ4_K)},
    {"Q4_K_S", all_of(DType::kQ4_K, DType::kQ6_K)},
    {"Q4_K_M", k_mix(DType::kQ4_K, DType::kQ6_K, DType::kQ6_K)},
    {"Q3_K", all_of(DType::kQ3_K, DType::kQ6_K)},
    {"Q3_K_M", k_mix(DType::kQ3_K, DType::kQ4_K, DType::kQ6_K)},
    {"Q2_K", experts_of(DType::kQ2_K, DType::kQ2_K, DType::kQ3_K)},
    {"Q5_1", all_of(DType::kQ5_1, DType::kQ8_0)},
    {"Q5_0", all_of(DType::kQ5_0, DType::kQ8_0)},
    {"Q4_1", all_of(DType::kQ4_1, DType::kQ8_0)},
    {"Q4_0", all_of(DType::kQ4_0, DType::kQ8_0)},
    {"MXFP4", experts_of(DType::kMXFP4, DType::kMXFP4, DType::kMXFP4)},
    {"IQ2_XXS", experts_of(DType::kIQ2_XXS, DType::kQ2_K, DType::kQ2_K)},
    {"FP4", released(DType::kI8, DType::kF8E4M3)},
    {"FP8", released(DType::kF8E4M3, DType::kF8E4M3)},
    {"AWQ-INT4", released(DType::kI32, DType::kI32)},
};

struct NamedType {
  const char* name;
  DType type;
};
constexpr NamedType kSafetensorsTypes[] = {
    {"FP8", DType::kF8E4M3}, {"FP4", DType::kI8}, {"INT4", DType::kI32}};

// The first and last eighth of the layers, and every third between them.
bool gets_more_bits(int64_t layer, int64_t n_layers) {
  return layer < n_layers / 8 || layer >= 7 * n_layers / 8 || (layer - n_layers / 8) % 3 == 2;
}

DType wanted_type(const Mix& mix, const TensorSpec& spec, int64_t layer, int64_t n_layers) {
  if (spec.shape.size() < 2) return DType::kF32;
  if (spec.kind == TensorKind::kExpert) {
    if (!spec.name.ends_with(".w2.weight")) return mix.gate_up;
    return gets_more_bits(layer, n_layers) ? mix.down_more : mix.down;
  }
  if (spec.name.find(".shared_experts.") != std::string::npos) return mix.shared;
  switch (spec.cls) {
    case TensorClass::kHead:
      return mix.head;
    case TensorClass::kEmbedding:
      return mix.embedding;
    default:
      return spec.kind == TensorKind::kLinear ? mix.attention : mix.small;
  }
}

}  // namespace

Container container_of(DType type) {
  if (type >= DType::kQ4_0) return Container::kGguf;
  const auto is_type = [type](const NamedType& named) { return named.type == type; };
  return std::ranges::any_of(kSafetensorsTypes, is_type) ? Container::kSafetensors
                                                         : Container::kAny;
}

Mix mix_of_name(std::string_view name) {
  for (const NamedMix& mix : kMixes) {
    if (mix.name == name) return mix.mix;
  }
  throw Error(ErrorCode::kNotFound, "type",
              fmt::format("there is no type {}; there are {}", name, fmt::join(mix_names(), ", ")));
}

std::vector<std::string> mix_names(Container container) {
  std::vector<std::string> names;
  for (const auto& [name, mix] : kMixes) {
    const Container needed = container_of(mix.gate_up);
    if (container == Container::kAny || needed == Container::kAny || needed == container) {
      names.emplace_back(name);
    }
  }
  return names;
}

DType weight_type_of_name(std::string_view name, const std::string& where) {
  std::vector<std::string_view> names;
  for (const auto& [known, type] : kSafetensorsTypes) {
    if (name == known) return type;
    names.emplace_back(known);
  }
  const auto type = dtype_from_name(name);
  for (const DType plain : {DType::kF32, DType::kF16, DType::kBF16}) {
    if (type == plain) return plain;
    names.push_back(dtype_name(plain));
  }
  if (type && *type >= DType::kQ4_0) return *type;
  for (DType block = DType::kQ4_0; block <= DType::kMXFP4;
       block = static_cast<DType>(static_cast<int>(block) + 1)) {
    names.push_back(dtype_name(block));
  }
  throw Error(ErrorCode::kNotFound, where,
              fmt::format("there is no type {}; there are {}", name, fmt::join(names, ", ")));
}

std::string_view weight_type_name(DType type) {
  for (const auto& [name, known] : kSafetensorsTypes) {
    if (type == known) return name;
  }
  return dtype_name(type);
}

DType mixed_type(const Mix& mix, const TensorSpec& spec, int64_t layer, const ModelConfig& config) {
  if (spec.kind == TensorKind::kTokenMap) return DType::kI32;
  const DType wanted = wanted_type(mix, spec, layer, config.n_layers);
  const int64_t rows = spec.shape[0];
  const int64_t cols = spec.shape.back();
  if (wanted == DType::kI8 && cols % 32 != 0) return DType::kF8E4M3;
  if (wanted == DType::kI32 && (cols % 32 != 0 || rows % 8 != 0)) return DType::kBF16;
  if (cols % dtype_block(wanted) == 0) return wanted;
  return dtype_block(wanted) > 32 && cols % 32 == 0 ? DType::kQ8_0 : DType::kF16;
}

}  // namespace dsv4
