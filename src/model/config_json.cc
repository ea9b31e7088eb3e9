// Writing of config.json with the released names.
#include "model/config.h"

#include <nlohmann/json.hpp>

namespace dsv4 {
namespace {

using Json = nlohmann::ordered_json;

Json quantization_json(const ModelConfig& c) {
  const int64_t group_size = c.int4.group_size > 0 ? c.int4.group_size : -1;
  if (c.int4.method == Int4Method::kAwq) {
    return {{"quant_method", "awq"},
            {"bits", 4},
            {"group_size", group_size},
            {"zero_point", true},
            {"version", "gemm"}};
  }
  if (c.int4.method == Int4Method::kCompressedTensors) {
    Json weights = {{"num_bits", 4}, {"type", "int"}, {"symmetric", c.int4.symmetric}};
    weights["strategy"] = c.int4.group_size > 0 ? "group" : "channel";
    if (c.int4.group_size > 0) weights["group_size"] = group_size;
    Json group = {{"weights", weights}};
    group["targets"] = {"Linear"};
    return {{"quant_method", "compressed-tensors"},
            {"format", "pack-quantized"},
            {"config_groups", {{"group_0", group}}}};
  }
  return {{"quant_method", "fp8"},
          {"fmt", "e4m3"},
          {"activation_scheme", "dynamic"},
          {"scale_fmt", "ue8m0"},
          {"weight_block_size", {c.fp8_block.rows, c.fp8_block.cols}}};
}

}  // namespace

std::string config_to_json(const ModelConfig& c) {
  Json j;
  j["architectures"] = {"DeepseekV4ForCausalLM"};
  j["model_type"] = "deepseek_v4";
  j["attention_bias"] = false;
  j["bos_token_id"] = c.bos_token_id;
  j["eos_token_id"] = c.eos_token_id;
  j["hc_eps"] = c.hc_eps;
  j["hc_mult"] = c.hc_mult;
  j["hc_sinkhorn_iters"] = c.hc_sinkhorn_iters;
  j["head_dim"] = c.head_dim;
  j["hidden_act"] = "silu";
  j["hidden_size"] = c.hidden_size;
  j["index_head_dim"] = c.index_head_dim;
  j["index_n_heads"] = c.n_index_heads;
  j["index_topk"] = c.index_topk;
  j["max_position_embeddings"] = c.max_position_embeddings;
  j["moe_intermediate_size"] = c.expert_dim;
  j["n_routed_experts"] = c.n_experts;
  j["n_shared_experts"] = c.n_shared_experts;
  j["norm_topk_prob"] = true;
  j["num_attention_heads"] = c.n_heads;
  j["num_experts_per_tok"] = c.n_active_experts;
  j["num_hidden_layers"] = c.n_layers;
  j["num_hash_layers"] = c.n_hash_layers;
  j["num_key_value_heads"] = 1;
  j["num_nextn_predict_layers"] = c.n_mtp_layers;
  j["o_groups"] = c.o_groups;
  j["o_lora_rank"] = c.o_lora_rank;
  j["q_lora_rank"] = c.q_lora_rank;
  j["qk_rope_head_dim"] = c.rope_dim;
  j["quantization_config"] = quantization_json(c);
  j["rms_norm_eps"] = c.rms_norm_eps;
  j["rope_scaling"] = {
      {"type", "yarn"},
      {"factor", c.yarn.factor},
      {"original_max_position_embeddings", c.yarn.original_max_position_embeddings},
      {"beta_fast", c.yarn.beta_fast},
      {"beta_slow", c.yarn.beta_slow}};
  j["rope_theta"] = c.rope_theta;
  j["compress_rope_theta"] = c.compress_rope_theta;
  j["routed_scaling_factor"] = c.routed_scaling;
  j["scoring_func"] = "sqrtsoftplus";
  j["sliding_window"] = c.window;
  j["swiglu_limit"] = c.swiglu_limit;
  j["tie_word_embeddings"] = false;
  j["topk_method"] = "noaux_tc";
  j["torch_dtype"] = "bfloat16";
  j["vocab_size"] = c.vocab_size;
  j["compress_ratios"] = c.compress_ratios;
  for (int64_t i = 0; i < c.n_mtp_layers; ++i) j["compress_ratios"].push_back(0);
  if (c.has_dspark) j["dspark_block_size"] = 5;
  return j.dump(2) + "\n";
}

}  // namespace dsv4
