// The geometry that the fuzz targets of weights use: few and small tensors of every kind.
#pragma once

#include "model/config.h"

namespace dsv4 {

inline ModelConfig fuzz_model() {
  ModelConfig c = preset_config("tiny");
  c.vocab_size = 4;
  c.hidden_size = 32;
  c.n_layers = 1;
  c.n_heads = 2;
  c.head_dim = 8;
  c.rope_dim = 4;
  c.q_lora_rank = 4;
  c.o_groups = 2;
  c.o_lora_rank = 4;
  c.n_index_heads = 1;
  c.index_head_dim = 4;
  c.n_experts = 1;
  c.n_active_experts = 1;
  c.expert_dim = 32;
  c.hc_mult = 1;
  c.n_hash_layers = 1;
  c.compress_ratios = {4};
  c.fp8_block = {16, 20};
  return c;
}

inline Int4Config fuzz_int4(Int4Method method) { return {method, 16, /*symmetric=*/false}; }

}  // namespace dsv4
