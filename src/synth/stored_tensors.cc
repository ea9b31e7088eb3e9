#include "synth/stored_tensors.h"

#include "base/check.h"
#include "base/error.h"
#include "model/names.h"
#include "quant/quant_matrix.h"
#include "synth/block_values.h"
#include "synth/normal_values.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <string_view>

#include <fmt/core.h>
#include <xxhash.h>

namespace dsv4 {
namespace {

constexpr int64_t kFp4Block = 32;

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

DType stored_type(TensorKind kind, SynthFormat format) {
  switch (kind) {
    case TensorKind::kLinear:
      return format == SynthFormat::kNative ? DType::kF8E4M3 : DType::kBF16;
    case TensorKind::kExpert:
      return format == SynthFormat::kNative ? DType::kI8 : DType::kBF16;
    case TensorKind::kMatrix:
    case TensorKind::kNorm:
      return DType::kBF16;
    case TensorKind::kFloat:
      return DType::kF32;
    case TensorKind::kTokenMap:
      return DType::kI64;
  }
  CHECK(false, static_cast<int>(kind));
}

// The stored weight of a spec and, where it has any, its block scales.
void plan_spec(const TensorSpec& spec, size_t index, SynthFormat format, SynthPlan& plan) {
  PlannedTensor tensor{spec.name, stored_type(spec.kind, format), spec.shape, index, false};
  if (tensor.dtype != DType::kF8E4M3 && tensor.dtype != DType::kI8) {
    plan.tensors.push_back(std::move(tensor));
    return;
  }
  const bool fp4 = tensor.dtype == DType::kI8;
  const ScaleBlock block = fp4 ? ScaleBlock{1, kFp4Block} : plan.config.fp8_block;
  if (fp4 && spec.shape[1] % kFp4Block != 0) {
    throw Error(ErrorCode::kUnsupported, spec.name,
                fmt::format("FP4 needs a width in multiples of {}, this is {}; store BF16 instead",
                            kFp4Block, spec.shape[1]));
  }
  if (fp4) tensor.shape[1] /= 2;
  plan.tensors.push_back(std::move(tensor));
  plan.tensors.push_back(
      {scale_name(spec.name),
       DType::kF8E8M0,
       {ceil_div(spec.shape[0], block.rows), ceil_div(spec.shape[1], block.cols)},
       index,
       true});
}

// Mean and standard deviation of a tensor of floats or codes.
struct Distribution {
  double mean = 0;
  double std_dev = 0;
};

// Chosen so that every stage has values of the order of one: matrices keep the size of their
// input, the maps of hyper-connections vary a little from token to token, routing is even.
Distribution distribution_of(const TensorSpec& spec) {
  if (spec.kind == TensorKind::kNorm) return {1, 0.05};
  const std::string_view name = spec.name;
  if (name == "embed.weight") return {0, 1};
  if (name.ends_with("_scale")) return {0.3, 0.05};  // of hyper-connections
  if (name.ends_with(".attn_sink")) return {0, 0.5};
  if (name.ends_with(".ape")) return {0, 0.1};
  if (name.ends_with(".gate.bias")) return {0, 0.02};
  CHECK(spec.shape.size() == 2, spec.name);
  return {0, 1 / std::sqrt(static_cast<double>(spec.shape[1]))};
}

// Where the maps of a hyper-connection lie on average: streams are read as their mean, the output
// goes to every stream, and a stream mostly stays itself. The noise makes the streams differ.
float base_mean(size_t i, size_t n, bool is_head) {
  constexpr float kDiagonal = 3;
  if (i < n) return n > 1 ? -std::log(static_cast<float>(n - 1)) : kDiagonal;  // sigmoid is 1 / n
  if (is_head || i < 2 * n) return 0;
  const size_t entry = i - 2 * n;
  return entry / n == entry % n ? kDiagonal : 0;
}

TensorBytes hyper_connection_base(const SynthPlan& plan, const TensorSpec& spec,
                                  const RandomStream& stream) {
  const bool is_head = spec.name.ends_with("hc_head_base");
  const auto n = static_cast<size_t>(plan.config.hc_mult);
  std::vector<float> values(static_cast<size_t>(spec.shape[0]));
  for (size_t i = 0; i < values.size(); ++i) {
    values[i] = base_mean(i, n, is_head) + static_cast<float>(0.2 * stream.normal(i));
  }
  return {4, [values](int64_t first, std::span<std::byte> out) {
            std::memcpy(out.data(), reinterpret_cast<const std::byte*>(values.data()) + first,
                        out.size());
          }};
}

// k different experts for each token (Floyd's way of drawing without repetition).
template <typename Id>
TensorBytes token_experts(const SynthPlan& plan, const RandomStream& stream) {
  const int64_t n_experts = plan.config.n_experts;
  const int64_t k = plan.config.n_active_experts;
  const int64_t row_bytes = k * int64_t{sizeof(Id)};
  const auto fill = [=](int64_t first, std::span<std::byte> out) {
    std::vector<int64_t> drawn_for(static_cast<size_t>(n_experts), -1);  // the last such token
    std::vector<Id> row(static_cast<size_t>(k));
    for (int64_t begin = 0; begin < static_cast<int64_t>(out.size()); begin += row_bytes) {
      const int64_t token = (first + begin) / row_bytes;
      for (int64_t i = 0; i < k; ++i) {
        const int64_t last = n_experts - k + i;
        const uint64_t draw = stream.bits(static_cast<uint64_t>(token * k + i));
        auto expert = static_cast<int64_t>(draw % static_cast<uint64_t>(last + 1));
        if (drawn_for[static_cast<size_t>(expert)] == token) expert = last;
        drawn_for[static_cast<size_t>(expert)] = token;
        row[static_cast<size_t>(i)] = static_cast<Id>(expert);
      }
      std::memcpy(out.data() + begin, row.data(), static_cast<size_t>(row_bytes));
    }
  };
  return {row_bytes, fill};
}

TensorBytes constant(uint8_t value) {
  return {1, [value](int64_t, std::span<std::byte> out) {
            std::ranges::fill(out, static_cast<std::byte>(value));
          }};
}

}  // namespace

int64_t PlannedTensor::bytes() const {
  auto size = static_cast<int64_t>(dtype_bytes(dtype));
  for (const int64_t extent : shape) size *= extent;
  return size / dtype_block(dtype);
}

int64_t SynthPlan::bytes() const {
  int64_t sum = 0;
  for (const PlannedTensor& tensor : tensors) sum += tensor.bytes();
  return sum;
}

SynthPlan plan_tensors(const ModelConfig& config, SynthFormat format) {
  SynthPlan plan{config, global_specs(config), {}};
  const auto append = [&](std::vector<TensorSpec> specs) {
    std::ranges::move(specs, std::back_inserter(plan.specs));
  };
  for (int64_t layer = 0; layer < config.n_layers; ++layer) append(layer_specs(config, layer));
  if (config.n_mtp_layers > 0) append(mtp_specs(config));
  for (size_t i = 0; i < plan.specs.size(); ++i) plan_spec(plan.specs[i], i, format, plan);
  return plan;
}

SynthPlan plan_gguf(const ModelConfig& config, const Mix& mix) {
  SynthPlan plan{config, {}, {}};
  const auto append = [&](const std::vector<TensorSpec>& specs, int64_t layer) {
    for (const TensorSpec& spec : specs) {
      // The first expert stands for the stack of all.
      const bool is_expert = spec.cls == TensorClass::kRoutedExpert;
      if (is_expert && spec.name.find(".experts.0.") == std::string::npos) continue;
      PlannedTensor tensor{gguf_name(spec.name).value(), mixed_type(mix, spec, layer, config),
                           spec.shape, plan.specs.size(), false};
      if (is_expert) tensor.shape.insert(tensor.shape.begin(), config.n_experts);
      plan.specs.push_back(spec);
      plan.tensors.push_back(std::move(tensor));
    }
  };
  append(global_specs(config), 0);
  for (int64_t layer = 0; layer < config.n_layers; ++layer) {
    append(layer_specs(config, layer), layer);
  }
  return plan;
}

TensorBytes tensor_bytes(const SynthPlan& plan, const PlannedTensor& tensor, uint64_t seed) {
  const TensorSpec& spec = plan.specs[tensor.spec];
  const RandomStream stream{seed, XXH3_64bits(spec.name.data(), spec.name.size())};
  if (spec.kind == TensorKind::kTokenMap) {
    return tensor.dtype == DType::kI32 ? token_experts<int32_t>(plan, stream)
                                       : token_experts<int64_t>(plan, stream);
  }
  if (spec.name.ends_with("_base")) return hyper_connection_base(plan, spec, stream);

  const Distribution normal = distribution_of(spec);
  if (weight_format(tensor.dtype)) {
    return {8, [=, block = block_template(tensor.dtype, normal.std_dev)](int64_t first,
                                                                         std::span<std::byte> out) {
              fill_blocks(stream, block, static_cast<uint64_t>(first), out);
            }};
  }
  if (tensor.dtype == DType::kBF16 || tensor.dtype == DType::kF16 || tensor.dtype == DType::kF32) {
    const auto fill = tensor.dtype == DType::kBF16  ? fill_bf16
                      : tensor.dtype == DType::kF16 ? fill_f16
                                                    : fill_f32;
    const auto size = static_cast<int64_t>(dtype_bytes(tensor.dtype));
    return {size, [=](int64_t first, std::span<std::byte> out) {
              fill(stream, normal.mean, normal.std_dev, static_cast<uint64_t>(first / size), out);
            }};
  }
  const bool fp4 = spec.kind == TensorKind::kExpert;
  const CodeTable table = fp4 ? e2m1_table(normal.std_dev) : e4m3_table(normal.std_dev);
  if (tensor.is_scale) return constant(table.scale);
  const auto fill = fp4 ? fill_code_pairs : fill_codes;
  return {8, [=](int64_t first, std::span<std::byte> out) {
            fill(stream, table, static_cast<uint64_t>(first), out);
          }};
}

}  // namespace dsv4
