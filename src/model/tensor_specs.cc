#include "model/tensor_specs.h"

#include <fmt/core.h>

namespace dsv4 {
namespace {

using Specs = std::vector<TensorSpec>;

void add_hyper_connection(const ModelConfig& c, const std::string& name, Specs& specs) {
  const int64_t n_maps = (2 + c.hc_mult) * c.hc_mult;
  const auto cls = TensorClass::kHyperConnection;
  specs.push_back({name + "_fn", {n_maps, c.hc_mult * c.hidden_size}, TensorKind::kFloat, cls});
  specs.push_back({name + "_base", {n_maps}, TensorKind::kFloat, cls});
  specs.push_back({name + "_scale", {3}, TensorKind::kFloat, cls});
}

void add_hyper_connection_head(const ModelConfig& c, const std::string& prefix, Specs& specs) {
  const auto cls = TensorClass::kHyperConnection;
  const int64_t n = c.hc_mult;
  specs.push_back({prefix + "hc_head_fn", {n, n * c.hidden_size}, TensorKind::kFloat, cls});
  specs.push_back({prefix + "hc_head_base", {n}, TensorKind::kFloat, cls});
  specs.push_back({prefix + "hc_head_scale", {1}, TensorKind::kFloat, cls});
}

void add_compressor(const std::string& name, int64_t ratio, int64_t width, int64_t hidden_size,
                    Specs& specs) {
  const int64_t n_columns = (ratio == 4 ? 2 : 1) * width;
  const auto cls = TensorClass::kCompressor;
  specs.push_back({name + ".wkv.weight", {n_columns, hidden_size}, TensorKind::kMatrix, cls});
  specs.push_back({name + ".wgate.weight", {n_columns, hidden_size}, TensorKind::kMatrix, cls});
  specs.push_back({name + ".ape", {ratio, n_columns}, TensorKind::kFloat, cls});
  specs.push_back({name + ".norm.weight", {width}, TensorKind::kNorm, cls});
}

void add_attention(const ModelConfig& c, const std::string& prefix, int64_t ratio, Specs& specs) {
  const int64_t heads_width = c.n_heads * c.head_dim;
  const std::string attn = prefix + "attn.";
  const auto cls = TensorClass::kAttention;
  const auto linear = TensorKind::kLinear;
  specs.push_back({attn + "wq_a.weight", {c.q_lora_rank, c.hidden_size}, linear, cls});
  specs.push_back({attn + "q_norm.weight", {c.q_lora_rank}, TensorKind::kNorm, cls});
  specs.push_back({attn + "wq_b.weight", {heads_width, c.q_lora_rank}, linear, cls});
  specs.push_back({attn + "wkv.weight", {c.head_dim, c.hidden_size}, linear, cls});
  specs.push_back({attn + "kv_norm.weight", {c.head_dim}, TensorKind::kNorm, cls});
  specs.push_back({attn + "attn_sink", {c.n_heads}, TensorKind::kFloat, cls});
  specs.push_back(
      {attn + "wo_a.weight", {c.o_groups * c.o_lora_rank, heads_width / c.o_groups}, linear, cls});
  specs.push_back({attn + "wo_b.weight", {c.hidden_size, c.o_groups * c.o_lora_rank}, linear, cls});
  if (ratio == 0) return;
  add_compressor(attn + "compressor", ratio, c.head_dim, c.hidden_size, specs);
  if (ModelConfig::kind_of_ratio(ratio) != LayerKind::kCsa) return;
  const std::string indexer = attn + "indexer.";
  const auto index_cls = TensorClass::kCompressor;
  specs.push_back({indexer + "wq_b.weight",
                   {c.n_index_heads * c.index_head_dim, c.q_lora_rank},
                   linear,
                   index_cls});
  specs.push_back({indexer + "weights_proj.weight",
                   {c.n_index_heads, c.hidden_size},
                   TensorKind::kMatrix,
                   index_cls});
  add_compressor(indexer + "compressor", ratio, c.index_head_dim, c.hidden_size, specs);
}

void add_expert(const ModelConfig& c, const std::string& name, TensorKind kind, TensorClass cls,
                Specs& specs) {
  specs.push_back({name + ".w1.weight", {c.expert_dim, c.hidden_size}, kind, cls});
  specs.push_back({name + ".w2.weight", {c.hidden_size, c.expert_dim}, kind, cls});
  specs.push_back({name + ".w3.weight", {c.expert_dim, c.hidden_size}, kind, cls});
}

void add_moe(const ModelConfig& c, const std::string& prefix, bool hash, Specs& specs) {
  const std::string ffn = prefix + "ffn.";
  const auto router = TensorClass::kRouter;
  specs.push_back({ffn + "gate.weight", {c.n_experts, c.hidden_size}, TensorKind::kMatrix, router});
  if (hash) {
    specs.push_back(
        {ffn + "gate.tid2eid", {c.vocab_size, c.n_active_experts}, TensorKind::kTokenMap, router});
  } else {
    specs.push_back({ffn + "gate.bias", {c.n_experts}, TensorKind::kFloat, router});
  }
  for (int64_t e = 0; e < c.n_experts; ++e) {
    add_expert(c, fmt::format("{}experts.{}", ffn, e), TensorKind::kExpert,
               TensorClass::kRoutedExpert, specs);
  }
  add_expert(c, ffn + "shared_experts", TensorKind::kLinear, TensorClass::kSharedExpert, specs);
}

void add_block(const ModelConfig& c, const std::string& prefix, int64_t ratio, bool hash,
               Specs& specs) {
  const auto norm = TensorKind::kNorm;
  specs.push_back({prefix + "attn_norm.weight", {c.hidden_size}, norm, TensorClass::kNorm});
  specs.push_back({prefix + "ffn_norm.weight", {c.hidden_size}, norm, TensorClass::kNorm});
  add_hyper_connection(c, prefix + "hc_attn", specs);
  add_hyper_connection(c, prefix + "hc_ffn", specs);
  add_attention(c, prefix, ratio, specs);
  add_moe(c, prefix, hash, specs);
}

}  // namespace

std::string scale_name(const std::string& weight_name) {
  const size_t stem = weight_name.rfind(".weight");
  return (stem == std::string::npos ? weight_name : weight_name.substr(0, stem)) + ".scale";
}

std::vector<TensorSpec> global_specs(const ModelConfig& c) {
  const std::vector<int64_t> table = {c.vocab_size, c.hidden_size};
  Specs specs = {
      {"embed.weight", table, TensorKind::kMatrix, TensorClass::kEmbedding},
      {"head.weight", table, TensorKind::kMatrix, TensorClass::kHead},
      {"norm.weight", {c.hidden_size}, TensorKind::kNorm, TensorClass::kNorm},
  };
  add_hyper_connection_head(c, "", specs);
  return specs;
}

std::vector<TensorSpec> layer_specs(const ModelConfig& c, int64_t layer) {
  Specs specs;
  add_block(c, fmt::format("layers.{}.", layer), c.ratio(layer), c.is_hash_layer(layer), specs);
  return specs;
}

std::vector<TensorSpec> mtp_specs(const ModelConfig& c) {
  const std::string prefix = "mtp.0.";
  const std::vector<int64_t> square = {c.hidden_size, c.hidden_size};
  Specs specs;
  add_block(c, prefix, /*ratio=*/0, /*hash=*/false, specs);
  for (const char* name : {"e_proj", "h_proj"}) {
    specs.push_back({prefix + name + ".weight", square, TensorKind::kLinear, TensorClass::kMtp});
  }
  for (const char* name : {"enorm", "hnorm", "norm"}) {
    specs.push_back(
        {prefix + name + ".weight", {c.hidden_size}, TensorKind::kNorm, TensorClass::kMtp});
  }
  add_hyper_connection_head(c, prefix, specs);
  for (TensorSpec& spec : specs) spec.cls = TensorClass::kMtp;
  return specs;
}

}  // namespace dsv4
