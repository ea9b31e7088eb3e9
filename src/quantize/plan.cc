#include "quantize/plan.h"

#include "base/error.h"
#include "model/names.h"

#include <map>
#include <numeric>

#include <fmt/core.h>

namespace dsv4 {
namespace {

constexpr int64_t kFp8Block = 128;
constexpr int64_t kFp4Block = 32;

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

void check_container(const Mix& mix, Container container) {
  for (const DType type : {mix.gate_up, mix.down, mix.down_more, mix.shared, mix.attention,
                           mix.head, mix.embedding, mix.small}) {
    const Container needed = container_of(type);
    if (needed == Container::kAny || needed == container) continue;
    const bool gguf = container == Container::kGguf;
    throw Error(
        ErrorCode::kInvalidInput, "type",
        fmt::format("{} cannot stand in {}; choose types of one container", weight_type_name(type),
                    gguf ? "a GGUF file" : "a safetensors checkpoint"));
  }
}

DType released_plain_type(const TensorSpec& spec) {
  return spec.kind == TensorKind::kFloat ? DType::kF32 : DType::kBF16;
}

// What the release keeps in BF16 or F32 stays as it is stored, if it is plain.
DType plain_type(const SourceTensor& source) {
  switch (source.matrix.format) {
    case WeightFormat::kF32:
      return DType::kF32;
    case WeightFormat::kF16:
      return DType::kF16;
    default:
      return released_plain_type(source.spec);
  }
}

// One size for all, as config.json has only one: it divides the width of every weight.
int64_t int4_group(const ModelConfig& config, std::span<const WeightShape> weights,
                   const TypeChoice& types) {
  // That of the source, where its integers can be copied then.
  const Int4Config& stored = config.int4;
  const bool is_awq = stored.method == Int4Method::kAwq;
  const bool fits = stored.group_size == 32 || stored.group_size == 64 || stored.group_size == 128;
  int64_t group = is_awq && fits ? stored.group_size : types.int4_group;
  for (const WeightShape& weight : weights) {
    const DType type = mixed_type(types.of(weight.layer), weight.spec, weight.layer, config);
    if (!weight.id_table && type == DType::kI32) {
      group = std::gcd(group, weight.spec.shape.back());
    }
  }
  return group;
}

std::string with_suffix(const std::string& weight_name, const char* suffix) {
  return weight_name.substr(0, weight_name.size() - std::string_view("weight").size()) + suffix;
}

PlannedWeight plan_safetensors(const WeightShape& source, size_t index, const TypeChoice& types,
                               const ModelConfig& config) {
  const TensorSpec& spec = source.spec;
  PlannedWeight weight{{index}, mixed_type(types.of(source.layer), spec, source.layer, config), {}};
  const bool is_weight = spec.kind == TensorKind::kLinear || spec.kind == TensorKind::kExpert ||
                         (spec.cls == TensorClass::kHead && weight.type == DType::kI32);
  if (source.id_table) {
    weight.tensors = {{spec.name, *source.id_table, spec.shape}};
    return weight;
  }
  if (!is_weight) weight.type = source.plain;
  const int64_t rows = spec.shape[0];
  const int64_t cols = spec.shape.back();
  if (weight.type == DType::kI8) {
    weight.tensors = {{spec.name, DType::kI8, {rows, cols / 2}},
                      {scale_name(spec.name), DType::kF8E8M0, {rows, cols / kFp4Block}}};
  } else if (weight.type == DType::kF8E4M3) {
    weight.tensors = {{spec.name, DType::kF8E4M3, spec.shape},
                      {scale_name(spec.name),
                       DType::kF8E8M0,
                       {ceil_div(rows, kFp8Block), ceil_div(cols, kFp8Block)}}};
  } else if (weight.type == DType::kI32) {
    const int64_t groups = cols / types.int4_group;
    weight.tensors = {{with_suffix(spec.name, "qweight"), DType::kI32, {cols, rows / 8}},
                      {with_suffix(spec.name, "scales"), DType::kF16, {groups, rows}},
                      {with_suffix(spec.name, "qzeros"), DType::kI32, {groups, rows / 8}}};
  } else {
    weight.tensors = {{spec.name, weight.type, spec.shape}};
  }
  return weight;
}

// Tensors with the same GGUF name are one stack: the experts of a layer.
void plan_gguf(const WeightShape& source, size_t index, const TypeChoice& types,
               const ModelConfig& config, std::map<std::string, size_t>& stacks,
               QuantizePlan& plan) {
  const TensorSpec& spec = source.spec;
  const std::optional<std::string> name = gguf_name(spec.name);
  if (!name) throw Error(ErrorCode::kUnsupported, spec.name, "has no name in GGUF files");
  if (const auto stack = stacks.find(*name); stack != stacks.end()) {
    PlannedWeight& weight = plan.weights[stack->second];
    weight.sources.push_back(index);
    ++weight.tensors[0].shape[0];
    return;
  }
  const DType type = mixed_type(types.of(source.layer), spec, source.layer, config);
  std::vector<int64_t> shape = spec.shape;
  if (spec.kind == TensorKind::kExpert) {
    shape.insert(shape.begin(), 1);
    stacks.emplace(*name, plan.weights.size());
  }
  plan.weights.push_back({{index}, type, {{*name, type, shape}}});
}

}  // namespace

const Mix& TypeChoice::of(int64_t layer) const {
  const auto found = layers.find(layer);
  return found != layers.end() ? found->second : mix;
}

int64_t StoredShape::bytes() const {
  int64_t blocks = 1;
  for (const int64_t extent : shape) blocks *= extent;
  return blocks / dtype_block(dtype) * static_cast<int64_t>(dtype_bytes(dtype));
}

int64_t PlannedWeight::bytes() const {
  int64_t sum = 0;
  for (const StoredShape& tensor : tensors) sum += tensor.bytes();
  return sum;
}

int64_t QuantizePlan::bytes() const {
  int64_t sum = 0;
  for (const PlannedWeight& weight : weights) sum += weight.bytes();
  return sum;
}

std::vector<WeightShape> weight_shapes(const SourceModel& source) {
  std::vector<WeightShape> weights;
  for (const SourceTensor& tensor : source.tensors()) {
    WeightShape weight{tensor.spec, tensor.layer, plain_type(tensor), {}};
    if (tensor.table != nullptr) weight.id_table = tensor.table->dtype;
    weights.push_back(std::move(weight));
  }
  return weights;
}

std::vector<WeightShape> weight_shapes(const ModelConfig& config) {
  std::vector<WeightShape> weights;
  const auto add = [&](std::vector<TensorSpec> specs, int64_t layer) {
    for (TensorSpec& spec : specs) {
      WeightShape weight{std::move(spec), layer, {}, {}};
      weight.plain = released_plain_type(weight.spec);
      if (weight.spec.kind == TensorKind::kTokenMap) weight.id_table = DType::kI64;
      weights.push_back(std::move(weight));
    }
  };
  add(global_specs(config), kNoLayer);
  for (int64_t layer = 0; layer < config.n_layers; ++layer) add(layer_specs(config, layer), layer);
  if (config.n_mtp_layers > 0 && !config.has_dspark) add(mtp_specs(config), config.n_layers);
  return weights;
}

QuantizePlan plan_quantize(const SourceModel& source, const TypeChoice& types,
                           Container container) {
  return plan_quantize(source.config(), weight_shapes(source), types, container);
}

QuantizePlan plan_quantize(const ModelConfig& config, std::span<const WeightShape> weights,
                           const TypeChoice& types, Container container) {
  check_container(types.mix, container);
  for (const auto& [layer, mix] : types.layers) {
    if (layer < 0 || layer >= config.n_layers) {
      throw Error(ErrorCode::kInvalidInput, "layers",
                  fmt::format("there is no layer {}, the last is {}", layer, config.n_layers - 1));
    }
    check_container(mix, container);
  }
  QuantizePlan plan{container, types, {}};
  plan.types.int4_group = int4_group(config, weights, types);
  std::map<std::string, size_t> stacks;
  for (size_t i = 0; i < weights.size(); ++i) {
    if (container == Container::kGguf) {
      plan_gguf(weights[i], i, plan.types, config, stacks, plan);
    } else {
      plan.weights.push_back(plan_safetensors(weights[i], i, plan.types, config));
    }
  }
  return plan;
}

std::string_view part_name(const TensorSpec& spec) {
  if (spec.shape.size() < 2 || spec.kind == TensorKind::kTokenMap) return "vectors and tables";
  if (spec.kind == TensorKind::kExpert) {
    return spec.name.ends_with(".w2.weight") ? "experts down" : "experts gate, up";
  }
  if (spec.name.find(".shared_experts.") != std::string::npos) return "shared experts";
  if (spec.cls == TensorClass::kEmbedding) return "embedding";
  if (spec.cls == TensorClass::kHead) return "head";
  return spec.kind == TensorKind::kLinear ? "attention" : "routers, compressors, mixing";
}

}  // namespace dsv4
