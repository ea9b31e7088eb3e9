// Tiny checkpoints in every stored form, for tests: random tensors by the table of tensor_specs.h,
// and the values that they hold by the definition of their types.
#pragma once

#include "base/rng.h"
#include "formats/checkpoint.h"
#include "model/tensor_specs.h"
#include "model/weights.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <fmt/core.h>

namespace dsv4 {

struct Stored {
  DType dtype;
  std::vector<int64_t> shape;
  std::vector<std::byte> data;
};
using Tensors = std::map<std::string, Stored>;

// How a checkpoint stores its weights.
struct Style {
  const char* name;
  DType linear = DType::kF8E4M3;
  DType expert = DType::kI8;
  DType matrix = DType::kBF16;
  DType vector = DType::kF32;
  DType scale = DType::kF8E8M0;
  bool old_scale_name = false;  // X.weight_scale_inv instead of X.scale
  ScaleBlock block = {128, 128};
};

inline const Style kNative = {.name = "FP8 and FP4"};

inline const std::vector<Style> kStyles = {
    kNative,
    {.name = "FP8 experts", .expert = DType::kF8E4M3},
    {.name = "F32 scales under their old name",
     .expert = DType::kF8E4M3,
     .scale = DType::kF32,
     .old_scale_name = true},
    {.name = "blocks of 32 x 32", .expert = DType::kU8, .block = {32, 32}},
    {.name = "odd blocks", .expert = DType::kF8E4M3, .block = {48, 20}},
    {.name = "BF16", .linear = DType::kBF16, .expert = DType::kBF16, .vector = DType::kBF16},
    {.name = "F16",
     .linear = DType::kF16,
     .expert = DType::kF16,
     .matrix = DType::kF16,
     .vector = DType::kF16},
    {.name = "F32", .linear = DType::kF32, .expert = DType::kF32, .matrix = DType::kF32}};

// One layer of each kind; widths that are no multiples of the blocks.
inline ModelConfig small_config() {
  ModelConfig c = preset_config("tiny");
  c.vocab_size = 24;
  c.hidden_size = 160;
  c.n_layers = 3;
  c.n_heads = 4;
  c.head_dim = 40;
  c.rope_dim = 8;
  c.q_lora_rank = 36;
  c.o_groups = 2;
  c.o_lora_rank = 20;
  c.n_index_heads = 2;
  c.index_head_dim = 16;
  c.n_experts = 3;
  c.n_active_experts = 2;
  c.expert_dim = 96;
  c.n_hash_layers = 1;
  c.compress_ratios = {0, 4, 12};
  return c;
}

inline std::vector<TensorSpec> all_specs(const ModelConfig& c) {
  std::vector<TensorSpec> specs = global_specs(c);
  const auto add = [&](const std::vector<TensorSpec>& more) {
    specs.insert(specs.end(), more.begin(), more.end());
  };
  for (int64_t i = 0; i < c.n_layers; ++i) add(layer_specs(c, i));
  add(mtp_specs(c));
  return specs;
}

inline int64_t count(const std::vector<int64_t>& shape) {
  int64_t n = 1;
  for (const int64_t extent : shape) n *= extent;
  return n;
}

// Random bits that are a finite number of the type, or an expert id.
inline uint64_t random_element(DType dtype, uint64_t random, int64_t n_experts) {
  switch (dtype) {
    case DType::kF32:
    case DType::kBF16: {
      const auto value = static_cast<float>(static_cast<int64_t>(random % 20011) - 10000) / 3000;
      return std::bit_cast<uint32_t>(value) >> (dtype == DType::kF32 ? 0 : 16);
    }
    case DType::kF16:
      return random & 0xBFFF;  // an exponent below the one of infinity
    case DType::kF8E4M3:
      return (random & 0x7F) == 0x7F ? 0 : random & 0xFF;
    case DType::kF8E8M0:
      return 117 + random % 20;
    case DType::kI32:
    case DType::kI64:
      return random % static_cast<uint64_t>(n_experts);
    default:
      return random & 0xFF;
  }
}

inline Stored random_tensor(const std::string& name, DType dtype,
                            const std::vector<int64_t>& shape) {
  Stored tensor{dtype, shape, {}};
  const size_t size = dtype_bytes(dtype);
  tensor.data.resize(static_cast<size_t>(count(shape)) * size);
  const uint64_t seed = std::hash<std::string>()(name);
  for (size_t i = 0; i * size < tensor.data.size(); ++i) {
    const uint64_t bits = random_element(dtype, random_bits(seed, 0, i), small_config().n_experts);
    std::memcpy(tensor.data.data() + i * size, &bits, size);
  }
  return tensor;
}

inline std::string scale_of(const std::string& weight, const Style& style) {
  if (style.old_scale_name) return weight + "_scale_inv";
  return weight.substr(0, weight.size() - std::strlen("weight")) + "scale";
}

inline Tensors random_checkpoint(const ModelConfig& config, const Style& style) {
  Tensors tensors;
  for (const TensorSpec& spec : all_specs(config)) {
    DType dtype = style.vector;
    if (spec.kind == TensorKind::kLinear) dtype = style.linear;
    if (spec.kind == TensorKind::kExpert) dtype = style.expert;
    if (spec.kind == TensorKind::kMatrix) dtype = style.matrix;
    if (spec.kind == TensorKind::kTokenMap) dtype = DType::kI64;
    const bool weight = spec.kind == TensorKind::kLinear || spec.kind == TensorKind::kExpert;
    const bool fp4 = weight && (dtype == DType::kI8 || dtype == DType::kU8);
    std::vector<int64_t> shape = spec.shape;
    if (fp4) shape[1] /= 2;
    tensors[spec.name] = random_tensor(spec.name, dtype, shape);
    if (!weight || (!fp4 && dtype != DType::kF8E4M3)) continue;
    const ScaleBlock block = fp4 ? ScaleBlock{1, 32} : style.block;
    const std::string scale = scale_of(spec.name, style);
    tensors[scale] = random_tensor(scale, style.scale,
                                   {(spec.shape[0] + block.rows - 1) / block.rows,
                                    (spec.shape[1] + block.cols - 1) / block.cols});
  }
  return tensors;
}

// A number of a stored tensor, by the definition of its type (docs/formats.md).
inline double element(const Stored& tensor, int64_t index) {
  const size_t size = dtype_bytes(tensor.dtype);
  uint64_t bits = 0;
  std::memcpy(&bits, tensor.data.data() + static_cast<size_t>(index) * size, size);
  // Sign, exponent and mantissa of a float with the given numbers of bits.
  const auto small_float = [&](int n_exponent, int n_mantissa) {
    const auto mantissa = static_cast<double>(bits & ((1u << n_mantissa) - 1));
    const int exponent = static_cast<int>(bits >> n_mantissa & ((1u << n_exponent) - 1));
    const int bias = (1 << (n_exponent - 1)) - 1;
    const bool negative = bits >> (n_exponent + n_mantissa) & 1;
    const double fraction = std::ldexp(mantissa, -n_mantissa);
    const double value =
        exponent == 0 ? std::ldexp(fraction, 1 - bias) : std::ldexp(1 + fraction, exponent - bias);
    return negative ? -value : value;
  };
  switch (tensor.dtype) {
    case DType::kF32:
      return small_float(8, 23);
    case DType::kBF16:
      return small_float(8, 7);
    case DType::kF16:
      return small_float(5, 10);
    case DType::kF8E4M3:
      return small_float(4, 3);
    case DType::kF8E8M0:
      return std::ldexp(1, static_cast<int>(bits) - 127);
    default:
      return static_cast<double>(static_cast<int64_t>(bits));
  }
}

inline double fp4_element(const Stored& tensor, int64_t index) {
  const auto byte = static_cast<unsigned>(tensor.data[static_cast<size_t>(index / 2)]);
  constexpr double kMagnitudes[] = {0, 0.5, 1, 1.5, 2, 3, 4, 6};
  const unsigned code = index % 2 == 0 ? byte & 15 : byte >> 4;
  return code < 8 ? kMagnitudes[code] : -kMagnitudes[code - 8];
}

// All weights of a model by the names of their tensors.
class Loaded {
 public:
  Loaded(const ModelWeights& w, const ModelConfig& c) {
    matrices_ = {{"embed.weight", &w.embed}, {"head.weight", &w.output}};
    add_head("", w.head);
    for (size_t i = 0; i < w.layers.size(); ++i) {
      add_block(fmt::format("layers.{}.", i), w.layers[i], c.ratio(static_cast<int64_t>(i)));
    }
    if (!w.mtp) return;
    add_block("mtp.0.", w.mtp->block, 0);
    add_head("mtp.0.", w.mtp->head);
    matrices_["mtp.0.e_proj.weight"] = &w.mtp->e_proj;
    matrices_["mtp.0.h_proj.weight"] = &w.mtp->h_proj;
    vectors_["mtp.0.enorm.weight"] = &w.mtp->enorm;
    vectors_["mtp.0.hnorm.weight"] = &w.mtp->hnorm;
  }

  const std::map<std::string, const QuantMatrix*>& matrices() const { return matrices_; }
  const std::map<std::string, const std::vector<float>*>& vectors() const { return vectors_; }
  const std::map<std::string, const std::vector<int32_t>*>& maps() const { return maps_; }

 private:
  void add_head(const std::string& prefix, const HeadWeights& w) {
    matrices_[prefix + "hc_head_fn"] = &w.hc_fn;
    vectors_[prefix + "hc_head_base"] = &w.hc_base;
    vectors_[prefix + "hc_head_scale"] = &w.hc_scale;
    vectors_[prefix + "norm.weight"] = &w.norm;
  }
  void add_compressor(const std::string& prefix, const CompressorWeights& w) {
    matrices_[prefix + "compressor.wkv.weight"] = &w.wkv;
    matrices_[prefix + "compressor.wgate.weight"] = &w.wgate;
    vectors_[prefix + "compressor.ape"] = &w.ape;
    vectors_[prefix + "compressor.norm.weight"] = &w.norm;
  }
  void add_expert(const std::string& prefix, const ExpertWeights& w) {
    matrices_[prefix + ".w1.weight"] = &w.w1;
    matrices_[prefix + ".w2.weight"] = &w.w2;
    matrices_[prefix + ".w3.weight"] = &w.w3;
  }
  void add_block(const std::string& prefix, const BlockWeights& w, int64_t ratio) {
    for (const auto& [name, hc] : {std::pair("hc_attn", &w.hc_attn), {"hc_ffn", &w.hc_ffn}}) {
      matrices_[fmt::format("{}{}_fn", prefix, name)] = &hc->fn;
      vectors_[fmt::format("{}{}_base", prefix, name)] = &hc->base;
      vectors_[fmt::format("{}{}_scale", prefix, name)] = &hc->scale;
    }
    vectors_[prefix + "attn_norm.weight"] = &w.attn_norm;
    vectors_[prefix + "ffn_norm.weight"] = &w.ffn_norm;
    const std::string attn = prefix + "attn.";
    matrices_[attn + "wq_a.weight"] = &w.attention.wq_a;
    matrices_[attn + "wq_b.weight"] = &w.attention.wq_b;
    matrices_[attn + "wkv.weight"] = &w.attention.wkv;
    matrices_[attn + "wo_a.weight"] = &w.attention.wo_a;
    matrices_[attn + "wo_b.weight"] = &w.attention.wo_b;
    vectors_[attn + "q_norm.weight"] = &w.attention.q_norm;
    vectors_[attn + "kv_norm.weight"] = &w.attention.kv_norm;
    vectors_[attn + "attn_sink"] = &w.attention.sink;
    if (ratio != 0) add_compressor(attn, w.attention.compressor);
    if (ratio == 4) {
      matrices_[attn + "indexer.wq_b.weight"] = &w.attention.indexer.wq_b;
      matrices_[attn + "indexer.weights_proj.weight"] = &w.attention.indexer.weights_proj;
      add_compressor(attn + "indexer.", w.attention.indexer.compressor);
    }
    const std::string ffn = prefix + "ffn.";
    matrices_[ffn + "gate.weight"] = &w.moe.gate;
    if (w.moe.token_experts.empty()) {
      vectors_[ffn + "gate.bias"] = &w.moe.bias;
    } else {
      maps_[ffn + "gate.tid2eid"] = &w.moe.token_experts;
    }
    for (size_t e = 0; e < w.moe.experts.size(); ++e) {
      add_expert(fmt::format("{}experts.{}", ffn, e), w.moe.experts[e]);
    }
    add_expert(ffn + "shared_experts", w.moe.shared);
  }

  std::map<std::string, const QuantMatrix*> matrices_;
  std::map<std::string, const std::vector<float>*> vectors_;
  std::map<std::string, const std::vector<int32_t>*> maps_;
};

}  // namespace dsv4
