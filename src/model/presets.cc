// Geometry of the known sizes (architecture.md 1.1), and of a tiny model for tests.
#include "model/config.h"

#include "base/error.h"

#include <fmt/core.h>

namespace dsv4 {
namespace {

// What all released sizes share.
ModelConfig common() {
  ModelConfig c;
  c.vocab_size = 129280;
  c.n_mtp_layers = 1;
  c.head_dim = 512;
  c.rope_dim = 64;
  c.o_lora_rank = 1024;
  c.window = 128;
  c.n_index_heads = 64;
  c.index_head_dim = 128;
  c.n_active_experts = 6;
  c.n_hash_layers = 3;
  c.swiglu_limit = 10;
  c.hc_mult = 4;
  c.hc_sinkhorn_iters = 20;
  c.hc_eps = 1e-6;
  c.rms_norm_eps = 1e-6;
  c.rope_theta = 10000;
  c.compress_rope_theta = 160000;
  c.yarn = {16, 65536, 32, 1};
  c.max_position_embeddings = 1 << 20;
  return c;
}

// The first two layers, then CSA and HCA in turn.
std::vector<int64_t> ratios(int64_t n_layers, int64_t first_two) {
  std::vector<int64_t> result = {first_two, first_two};
  for (int64_t i = 2; i < n_layers; ++i) result.push_back(i % 2 == 0 ? 4 : 128);
  return result;
}

ModelConfig flash() {
  ModelConfig c = common();
  c.hidden_size = 4096;
  c.n_layers = 43;
  c.n_heads = 64;
  c.q_lora_rank = 1024;
  c.o_groups = 8;
  c.index_topk = 512;
  c.n_experts = 256;
  c.expert_dim = 2048;
  c.routed_scaling = 1.5;
  c.compress_ratios = ratios(c.n_layers, 0);
  return c;
}

ModelConfig pro() {
  ModelConfig c = common();
  c.hidden_size = 7168;
  c.n_layers = 61;
  c.n_heads = 128;
  c.q_lora_rank = 1536;
  c.o_groups = 16;
  c.index_topk = 1024;
  c.n_experts = 384;
  c.expert_dim = 3072;
  c.routed_scaling = 2.5;
  c.compress_ratios = ratios(c.n_layers, 128);
  return c;
}

ModelConfig size_745b() {
  ModelConfig c = pro();
  c.hidden_size = 6144;
  c.n_layers = 49;
  c.n_experts = 224;
  c.expert_dim = 3584;
  c.compress_ratios = ratios(c.n_layers, 128);
  return c;
}

// Every kind of layer at a size that tests can run.
ModelConfig tiny() {
  ModelConfig c = common();
  c.vocab_size = 1280;
  c.hidden_size = 256;
  c.n_layers = 4;
  c.n_heads = 4;
  c.head_dim = 128;
  c.q_lora_rank = 128;
  c.o_groups = 2;
  c.o_lora_rank = 128;
  c.window = 32;
  c.n_index_heads = 4;
  c.index_topk = 16;
  c.n_experts = 8;
  c.n_active_experts = 2;
  c.expert_dim = 128;
  c.n_hash_layers = 1;
  c.routed_scaling = 1.5;
  c.max_position_embeddings = 4096;
  c.compress_ratios = {0, 4, 128, 4};
  return c;
}

}  // namespace

ModelConfig preset_config(std::string_view name) {
  if (name == "flash") return flash();
  if (name == "pro") return pro();
  if (name == "745b") return size_745b();
  if (name == "tiny") return tiny();
  throw Error(ErrorCode::kNotFound, "",
              fmt::format("there is no preset '{}'; the presets are flash, pro, 745b, tiny", name));
}

}  // namespace dsv4
