#include "model/param_count.h"

#include <functional>
#include <map>
#include <numeric>
#include <utility>

namespace dsv4 {
namespace {

void add(const std::vector<TensorSpec>& specs, int64_t times, ParamCount& count) {
  for (const TensorSpec& spec : specs) {
    if (spec.kind == TensorKind::kTokenMap) continue;
    int64_t params = times;
    for (const int64_t extent : spec.shape) params *= extent;
    count[spec.cls] += params;
  }
}

}  // namespace

std::string_view tensor_class_name(TensorClass cls) {
  switch (cls) {
    case TensorClass::kEmbedding:
      return "embedding";
    case TensorClass::kHead:
      return "output head";
    case TensorClass::kAttention:
      return "attention";
    case TensorClass::kCompressor:
      return "compressors, indexers";
    case TensorClass::kRouter:
      return "routers";
    case TensorClass::kRoutedExpert:
      return "routed experts";
    case TensorClass::kSharedExpert:
      return "shared experts";
    case TensorClass::kHyperConnection:
      return "hyper-connections";
    case TensorClass::kNorm:
      return "norms";
    case TensorClass::kMtp:
      return "MTP block";
  }
  return "";
}

int64_t ParamCount::main_model() const {
  return std::accumulate(by_class.begin(), by_class.end(), -(*this)[TensorClass::kMtp]);
}

std::vector<EqualLayers> group_equal_layers(const ModelConfig& config) {
  std::map<std::pair<int64_t, bool>, EqualLayers> kinds;
  for (int64_t i = 0; i < config.n_layers; ++i) {
    EqualLayers& group = kinds[{config.ratio(i), config.is_hash_layer(i)}];
    if (group.number++ == 0) group.first = i;
  }
  std::vector<EqualLayers> groups;
  for (const auto& [kind, group] : kinds) groups.push_back(group);
  return groups;
}

ParamCount count_params(const ModelConfig& config) {
  ParamCount count;
  add(global_specs(config), 1, count);
  for (const EqualLayers& group : group_equal_layers(config)) {
    add(layer_specs(config, group.first), group.number, count);
  }
  if (config.n_mtp_layers > 0 && !config.has_dspark) add(mtp_specs(config), 1, count);
  const int64_t routed = count[TensorClass::kRoutedExpert];
  count.activated = count.main_model() - count[TensorClass::kEmbedding] - routed +
                    routed / config.n_experts * config.n_active_experts;
  return count;
}

}  // namespace dsv4
