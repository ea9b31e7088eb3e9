#include "model/weights.h"

#include "base/check.h"
#include "base/error.h"
#include "model/int4_weights.h"
#include "model/tensor_specs.h"

#include <cstring>
#include <string>
#include <unordered_map>
#include <unordered_set>

#include <fmt/core.h>
#include <fmt/ranges.h>

namespace dsv4 {
namespace {

bool is_plain_float(DType dtype) {
  return dtype == DType::kF32 || dtype == DType::kF16 || dtype == DType::kBF16;
}

WeightFormat plain_format(DType dtype) {
  return dtype == DType::kF32   ? WeightFormat::kF32
         : dtype == DType::kF16 ? WeightFormat::kF16
                                : WeightFormat::kBF16;
}

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Finds, checks and converts single tensors.
class Loader {
 public:
  Loader(const Checkpoint& checkpoint, const ModelConfig& config)
      : checkpoint_(checkpoint), config_(config) {}

  // Remembers which tensors a table names; check_unknown() then knows the rest.
  void expect(const std::vector<TensorSpec>& specs) {
    for (const TensorSpec& spec : specs) {
      check(spec);
      expected_.insert(spec.name);
    }
  }

  void check_unknown() const {
    for (const StoredTensor& tensor : checkpoint_.tensors()) {
      if (expected_.contains(tensor.name) || tensor.name.starts_with("mtp.")) continue;
      throw Error(ErrorCode::kInvalidInput, checkpoint_.describe(tensor),
                  "no such tensor belongs to a DeepSeek V4 model of this configuration");
    }
  }

  QuantMatrix matrix(const std::string& name) const {
    if (const auto int4 = int4_.find(name); int4 != int4_.end()) return int4->second;
    const StoredTensor& tensor = get(name);
    QuantMatrix m{.data = tensor.data.data(), .rows = tensor.shape[0], .cols = tensor.shape[1]};
    if (is_plain_float(tensor.dtype)) {
      m.format = plain_format(tensor.dtype);
      return m;
    }
    if (const auto blocks = weight_format(tensor.dtype)) {
      m.format = *blocks;
      return m;
    }
    const StoredTensor& scale = get_scale(name);
    m.format = tensor.dtype == DType::kF8E4M3 ? WeightFormat::kFP8 : WeightFormat::kFP4;
    if (m.format == WeightFormat::kFP4) m.cols *= 2;
    const ScaleBlock block = scale_block(tensor.dtype);
    m.block_rows = block.rows;
    m.block_cols = block.cols;
    m.scales = scale.data.data();
    m.scale_cols = scale.shape[1];
    m.scale_format = scale.dtype == DType::kF32 ? ScaleFormat::kF32 : ScaleFormat::kE8M0;
    return m;
  }

  std::vector<float> vector(const std::string& name) const {
    const StoredTensor& tensor = get(name);
    int64_t count = 1;
    for (const int64_t extent : tensor.shape) count *= extent;
    std::vector<float> values(static_cast<size_t>(count));
    const auto blocks = weight_format(tensor.dtype);
    const QuantMatrix m{.data = tensor.data.data(),
                        .rows = 1,
                        .cols = count,
                        .format = blocks ? *blocks : plain_format(tensor.dtype)};
    m.decode(0, 0, count, values.data());
    return values;
  }

  std::vector<int32_t> token_experts(const std::string& name) const {
    const StoredTensor& tensor = get(name);
    const size_t size = dtype_bytes(tensor.dtype);
    std::vector<int32_t> ids(tensor.data.size() / size);
    for (size_t i = 0; i < ids.size(); ++i) {
      int64_t id = 0;  // little-endian: the low bytes of an I32 come first too
      std::memcpy(&id, tensor.data.data() + i * size, size);
      if (tensor.dtype == DType::kI32) id = static_cast<int32_t>(id);
      if (id < 0 || id >= config_.n_experts) {
        throw Error(
            ErrorCode::kInvalidInput, checkpoint_.describe(tensor),
            fmt::format("entry {} is {}, expected an expert below {}", i, id, config_.n_experts));
      }
      ids[i] = static_cast<int32_t>(id);
    }
    return ids;
  }

 private:
  const StoredTensor& get(const std::string& name) const {
    const StoredTensor* tensor = checkpoint_.find(name);
    CHECK(tensor != nullptr, name);  // check() has seen it
    return *tensor;
  }

  const StoredTensor* find_scale(const std::string& name) const {
    const StoredTensor* scale = checkpoint_.find(scale_name(name));
    return scale != nullptr ? scale : checkpoint_.find(name + "_scale_inv");
  }

  const StoredTensor& get_scale(const std::string& name) const {
    const StoredTensor* scale = find_scale(name);
    CHECK(scale != nullptr, name);
    return *scale;
  }

  ScaleBlock scale_block(DType dtype) const {
    return dtype == DType::kF8E4M3 ? config_.fp8_block : ScaleBlock{1, 32};
  }

  [[noreturn]] void refuse(const StoredTensor& tensor, const std::string& message) const {
    throw Error(ErrorCode::kInvalidInput, checkpoint_.describe(tensor), message);
  }

  void check(const TensorSpec& spec) {
    if (has_int4(checkpoint_, spec)) {
      const Int4Weight weight = find_int4(checkpoint_, config_.int4, spec);
      expected_.insert(weight.names.begin(), weight.names.end());
      int4_.emplace(spec.name, weight.matrix);
      return;
    }
    const StoredTensor* tensor = checkpoint_.find(spec.name);
    if (tensor == nullptr) {
      throw Error(ErrorCode::kNotFound,
                  checkpoint_.files().empty() ? "" : checkpoint_.files()[0].path().string(),
                  fmt::format("tensor {} of shape {} is missing", spec.name, spec.shape));
    }
    const bool is_weight = spec.kind == TensorKind::kLinear || spec.kind == TensorKind::kExpert;
    const DType dtype = tensor->dtype;
    if (is_weight && (dtype == DType::kF8E4M3 || dtype == DType::kI8 || dtype == DType::kU8)) {
      return check_scaled(spec, *tensor);
    }
    const bool good_type =
        spec.kind == TensorKind::kTokenMap
            ? dtype == DType::kI64 || dtype == DType::kI32
            : is_plain_float(dtype) || (spec.shape.size() == 2 && weight_format(dtype).has_value());
    if (!good_type) refuse(*tensor, fmt::format("cannot be of type {}", dtype_name(dtype)));
    check_shape(*tensor, spec.shape);
  }

  // FP8 or FP4 codes and their scales.
  void check_scaled(const TensorSpec& spec, const StoredTensor& tensor) {
    const bool fp4 = tensor.dtype != DType::kF8E4M3;
    const ScaleBlock block = scale_block(tensor.dtype);
    if (fp4 && spec.kind != TensorKind::kExpert) {
      refuse(tensor, fmt::format("cannot be of type {}", dtype_name(tensor.dtype)));
    }
    if (fp4 && spec.shape[1] % block.cols != 0) {
      refuse(tensor, fmt::format("FP4 needs a width in multiples of {}, this is {}", block.cols,
                                 spec.shape[1]));
    }
    check_shape(tensor, {spec.shape[0], fp4 ? spec.shape[1] / 2 : spec.shape[1]});
    const StoredTensor* scale = find_scale(spec.name);
    if (scale == nullptr) {
      throw Error(ErrorCode::kNotFound, checkpoint_.describe(tensor),
                  fmt::format("its block scales {} are missing", scale_name(spec.name)));
    }
    if (scale->dtype != DType::kF8E8M0 && scale->dtype != DType::kF32) {
      refuse(*scale, fmt::format("scales cannot be of type {}", dtype_name(scale->dtype)));
    }
    check_shape(*scale, {ceil_div(spec.shape[0], block.rows), ceil_div(spec.shape[1], block.cols)});
    expected_.insert(scale->name);
  }

  void check_shape(const StoredTensor& tensor, const std::vector<int64_t>& shape) const {
    if (tensor.shape != shape) {
      refuse(tensor,
             fmt::format("has shape {}, the configuration asks for {}", tensor.shape, shape));
    }
  }

  const Checkpoint& checkpoint_;
  const ModelConfig& config_;
  std::unordered_set<std::string> expected_;
  std::unordered_map<std::string, QuantMatrix> int4_;  // by the names of the table
};

HyperConnectionWeights load_hyper_connection(const Loader& l, const std::string& name) {
  return {l.matrix(name + "_fn"), l.vector(name + "_base"), l.vector(name + "_scale")};
}

CompressorWeights load_compressor(const Loader& l, const std::string& name) {
  return {l.matrix(name + ".wkv.weight"), l.matrix(name + ".wgate.weight"), l.vector(name + ".ape"),
          l.vector(name + ".norm.weight")};
}

AttentionWeights load_attention(const Loader& l, const std::string& name, LayerKind kind) {
  AttentionWeights w{.wq_a = l.matrix(name + "wq_a.weight"),
                     .wq_b = l.matrix(name + "wq_b.weight"),
                     .wkv = l.matrix(name + "wkv.weight"),
                     .wo_a = l.matrix(name + "wo_a.weight"),
                     .wo_b = l.matrix(name + "wo_b.weight"),
                     .q_norm = l.vector(name + "q_norm.weight"),
                     .kv_norm = l.vector(name + "kv_norm.weight"),
                     .sink = l.vector(name + "attn_sink"),
                     .compressor = {},
                     .indexer = {}};
  if (kind != LayerKind::kSwa) w.compressor = load_compressor(l, name + "compressor");
  if (kind == LayerKind::kCsa) {
    w.indexer = {l.matrix(name + "indexer.wq_b.weight"),
                 l.matrix(name + "indexer.weights_proj.weight"),
                 load_compressor(l, name + "indexer.compressor")};
  }
  return w;
}

ExpertWeights load_expert(const Loader& l, const std::string& name) {
  return {l.matrix(name + ".w1.weight"), l.matrix(name + ".w2.weight"),
          l.matrix(name + ".w3.weight")};
}

MoeWeights load_moe(const Loader& l, const std::string& name, bool hash, int64_t n_experts) {
  MoeWeights w;
  w.gate = l.matrix(name + "gate.weight");
  if (hash) {
    w.token_experts = l.token_experts(name + "gate.tid2eid");
  } else {
    w.bias = l.vector(name + "gate.bias");
  }
  for (int64_t e = 0; e < n_experts; ++e) {
    w.experts.push_back(load_expert(l, fmt::format("{}experts.{}", name, e)));
  }
  w.shared = load_expert(l, name + "shared_experts");
  return w;
}

BlockWeights load_block(const Loader& l, const ModelConfig& config, const std::string& prefix,
                        LayerKind kind, bool hash) {
  return {.hc_attn = load_hyper_connection(l, prefix + "hc_attn"),
          .hc_ffn = load_hyper_connection(l, prefix + "hc_ffn"),
          .attn_norm = l.vector(prefix + "attn_norm.weight"),
          .ffn_norm = l.vector(prefix + "ffn_norm.weight"),
          .attention = load_attention(l, prefix + "attn.", kind),
          .moe = load_moe(l, prefix + "ffn.", hash, config.n_experts)};
}

HeadWeights load_head(const Loader& l, const std::string& prefix) {
  return {l.matrix(prefix + "hc_head_fn"), l.vector(prefix + "hc_head_base"),
          l.vector(prefix + "hc_head_scale"), l.vector(prefix + "norm.weight")};
}

MtpWeights load_mtp(const Loader& l, const ModelConfig& config) {
  const std::string prefix = "mtp.0.";
  return {.block = load_block(l, config, prefix, LayerKind::kSwa, /*hash=*/false),
          .e_proj = l.matrix(prefix + "e_proj.weight"),
          .h_proj = l.matrix(prefix + "h_proj.weight"),
          .enorm = l.vector(prefix + "enorm.weight"),
          .hnorm = l.vector(prefix + "hnorm.weight"),
          .head = load_head(l, prefix)};
}

// Whether the checkpoint holds the released MTP block, complete or not: these tensors are no other
// drafter's.
bool has_mtp_block(const Checkpoint& checkpoint) {
  for (const char* name : {"e_proj", "h_proj", "enorm", "hnorm"}) {
    if (checkpoint.find(fmt::format("mtp.0.{}.weight", name)) != nullptr) return true;
  }
  return false;
}

}  // namespace

ModelWeights load_weights(const Checkpoint& checkpoint, const ModelConfig& config) {
  Loader loader(checkpoint, config);
  const bool has_mtp = has_mtp_block(checkpoint);
  loader.expect(global_specs(config));
  for (int64_t i = 0; i < config.n_layers; ++i) loader.expect(layer_specs(config, i));
  if (has_mtp) loader.expect(mtp_specs(config));
  loader.check_unknown();

  ModelWeights weights;
  weights.embed = loader.matrix("embed.weight");
  weights.output = loader.matrix("head.weight");
  weights.head = load_head(loader, "");
  for (int64_t i = 0; i < config.n_layers; ++i) {
    weights.layers.push_back(load_block(loader, config, fmt::format("layers.{}.", i),
                                        config.kind(i), config.is_hash_layer(i)));
  }
  if (has_mtp) weights.mtp = load_mtp(loader, config);
  return weights;
}

}  // namespace dsv4
