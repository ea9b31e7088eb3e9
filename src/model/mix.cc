#include "model/mix.h"

#include "base/error.h"

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
};

// The first and last eighth of the layers, and every third between them.
bool gets_more_bits(int64_t layer, int64_t n_layers) {
  return layer < n_layers / 8 || layer >= 7 * n_layers / 8 || (layer - n_layers / 8) % 3 == 2;
}

DType wanted_type(const Mix& mix, const TensorSpec& spec, int64_t layer, int64_t n_layers) {
  if (spec.shape.size() < 2) return DType::kF32;
  switch (spec.cls) {
    case TensorClass::kRoutedExpert:
      if (!spec.name.ends_with(".w2.weight")) return mix.gate_up;
      return gets_more_bits(layer, n_layers) ? mix.down_more : mix.down;
    case TensorClass::kSharedExpert:
      return mix.shared;
    case TensorClass::kHead:
      return mix.head;
    case TensorClass::kEmbedding:
      return mix.embedding;
    default:
      return spec.kind == TensorKind::kLinear ? mix.attention : mix.small;
  }
}

}  // namespace

Mix mix_of_name(std::string_view name) {
  for (const NamedMix& mix : kMixes) {
    if (mix.name == name) return mix.mix;
  }
  throw Error(ErrorCode::kNotFound, "type",
              fmt::format("there is no type {}; there are {}", name, fmt::join(mix_names(), ", ")));
}

std::vector<std::string> mix_names() {
  std::vector<std::string> names;
  for (const NamedMix& mix : kMixes) names.emplace_back(mix.name);
  return names;
}

DType mixed_type(const Mix& mix, const TensorSpec& spec, int64_t layer, const ModelConfig& config) {
  if (spec.kind == TensorKind::kTokenMap) return DType::kI32;
  const DType wanted = wanted_type(mix, spec, layer, config.n_layers);
  for (const DType type : {wanted, DType::kQ8_0}) {
    if (dtype_block(type) <= dtype_block(wanted) && spec.shape.back() % dtype_block(type) == 0) {
      return type;
    }
  }
  return DType::kF16;
}

}  // namespace dsv4
