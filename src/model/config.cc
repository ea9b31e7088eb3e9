#include "model/config.h"

#include "base/error.h"
#include "base/json.h"
#include "base/mapped_file.h"
#include "formats/checkpoint.h"
#include "model/config_quantization.h"
#include "model/config_reader.h"
#include "model/gguf_config.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

namespace dsv4 {
namespace {

// Caps far above any model. The bytes of all weights of one class stay below 2^62: experts have
// 2^10 layers * 2^12 experts * 3 * 2^18 * 2^18 weights at most.
constexpr int64_t kMaxWidth = 1 << 18;
constexpr int64_t kMaxHeadsWidth = 1 << 20;  // H * c, Hi * ci, G * ro
constexpr int64_t kMaxVocab = 1 << 24;
constexpr int64_t kMaxLayers = 1 << 10;
constexpr int64_t kMaxExperts = 1 << 12;
constexpr int64_t kMaxContext = int64_t{1} << 30;
constexpr int64_t kMaxHcMult = 16;

void read_dimensions(const ConfigReader& r, ModelConfig& c) {
  c.vocab_size = r.integer({"vocab_size"}, 1, kMaxVocab);
  c.hidden_size = r.integer({"hidden_size", "dim"}, 1, kMaxWidth);
  c.n_layers = r.integer({"num_hidden_layers", "n_layers"}, 1, kMaxLayers);
  c.n_mtp_layers = r.integer_or({"num_nextn_predict_layers", "n_mtp_layers"}, 0, 0, kMaxLayers);
  c.n_heads = r.integer({"num_attention_heads", "n_heads"}, 1, kMaxWidth);
  c.head_dim = r.integer({"head_dim"}, 1, kMaxWidth);
  c.q_lora_rank = r.integer({"q_lora_rank"}, 1, kMaxWidth);
  c.o_groups = r.integer({"o_groups"}, 1, kMaxWidth);
  c.o_lora_rank = r.integer({"o_lora_rank"}, 1, kMaxWidth);
  c.window = r.integer({"sliding_window", "window_size"}, 1, kMaxWidth);
  c.n_experts = r.integer({"n_routed_experts"}, 1, kMaxExperts);
  c.n_active_experts = r.integer({"num_experts_per_tok", "n_activated_experts"}, 1, c.n_experts);
  c.n_shared_experts = r.integer_or({"n_shared_experts"}, 1, 0, kMaxExperts);
  c.expert_dim = r.integer({"moe_intermediate_size", "moe_inter_dim"}, 1, kMaxWidth);
  c.max_position_embeddings =
      r.integer_or({"max_position_embeddings", "max_seq_len"}, int64_t{1} << 20, 1, kMaxContext);
  c.bos_token_id = r.integer_or({"bos_token_id"}, 0, 0, kMaxVocab);
  c.eos_token_id = r.integer_or({"eos_token_id"}, 1, 0, kMaxVocab);
  if (c.n_heads * c.head_dim > kMaxHeadsWidth) {
    r.refuse("head_dim", "heads times head_dim is too large");
  }
  if (c.o_groups * c.o_lora_rank > kMaxHeadsWidth) {
    r.refuse("o_lora_rank", "o_groups times o_lora_rank is too large");
  }
  if (c.n_heads % c.o_groups != 0) r.refuse("o_groups", "must divide the number of heads");
  if (c.bos_token_id >= c.vocab_size || c.eos_token_id >= c.vocab_size) {
    r.refuse("eos_token_id", "bos and eos must be inside the vocabulary");
  }
}

void read_numbers(const ConfigReader& r, ModelConfig& c) {
  c.routed_scaling = r.number({"routed_scaling_factor", "route_scale"}, 0, 1e6);
  c.swiglu_limit = r.number({"swiglu_limit"}, 0, 1e30);
  c.hc_mult = r.integer({"hc_mult"}, 1, kMaxHcMult);
  c.hc_sinkhorn_iters = r.integer({"hc_sinkhorn_iters"}, 1, 10000);
  c.hc_eps = r.number_or({"hc_eps"}, 1e-6, 0, 1);
  c.rms_norm_eps = r.number_or({"rms_norm_eps", "norm_eps"}, 1e-6, 0, 1);
}

// rope_dim of the last entries of a head: by count, or as a share of head_dim.
void read_rope_dim(const ConfigReader& r, const ConfigReader& main, ModelConfig& c) {
  const ConfigReader& share = main.find({"partial_rotary_factor"}) != nullptr ? main : r;
  if (r.find({"qk_rope_head_dim", "rope_head_dim"}) == nullptr &&
      share.find({"partial_rotary_factor"}) != nullptr) {
    const double dims =
        share.number({"partial_rotary_factor"}, 0, 1) * static_cast<double>(c.head_dim);
    c.rope_dim = std::llround(dims);
  } else {
    c.rope_dim =
        r.integer({"qk_rope_head_dim", "rope_head_dim", "partial_rotary_factor"}, 2, c.head_dim);
  }
  if (c.rope_dim < 2 || c.rope_dim % 2 != 0) {
    r.refuse("qk_rope_head_dim", fmt::format("{} is not an even number from 2", c.rope_dim));
  }
}

constexpr double kMinTheta = 1.0001;
constexpr double kMaxTheta = 1e15;

// `r` is the object with the scaling keys: rope_scaling, rope_parameters.compress, or the whole
// config of the inference code.
void read_yarn(const ConfigReader& r, ModelConfig& c) {
  if (r.find({"rope_type", "type"}) != nullptr && *r.find({"rope_type", "type"}) == "default") {
    return;
  }
  r.expect({"rope_type", "type"}, "yarn");
  r.expect({"attention_factor"}, 1);  // cos and sin are not scaled
  c.yarn.factor = r.number({"factor", "rope_factor"}, 1, 1e6);
  c.yarn.original_max_position_embeddings =
      r.integer({"original_max_position_embeddings", "original_seq_len"}, 0, kMaxContext);
  c.yarn.beta_fast = r.number_or({"beta_fast"}, 32, 1e-6, 1e9);
  c.yarn.beta_slow = r.number_or({"beta_slow"}, 1, 1e-6, 1e9);
}

// Rotary keys: flat with rope_scaling (released), flat (inference code), or rope_parameters, in
// itself flat or with one object each for window-only layers and layers with compression (newer
// spelling). Without compression anywhere, only rope_theta matters.
void read_rope(const ConfigReader& r, ModelConfig& c) {
  const ConfigReader parameters = r.child("rope_parameters");
  const ConfigReader main = parameters.child("main");
  const ConfigReader compress = parameters.child("compress");
  read_rope_dim(r, main, c);
  main.expect({"rope_type", "type"}, "default");
  c.rope_theta = (main.find({"rope_theta"}) != nullptr ? main : r)
                     .number({"rope_theta"}, kMinTheta, kMaxTheta);
  const bool used = std::ranges::any_of(c.compress_ratios, [](int64_t ratio) { return ratio > 0; });
  if (compress.find({"rope_theta"}) != nullptr) {
    c.compress_rope_theta = compress.number({"rope_theta"}, kMinTheta, kMaxTheta);
  } else if (used) {
    c.compress_rope_theta = r.number({"compress_rope_theta"}, kMinTheta, kMaxTheta);
  } else {
    c.compress_rope_theta =
        r.number_or({"compress_rope_theta"}, c.rope_theta, kMinTheta, kMaxTheta);
  }
  if (parameters.find({"main", "compress"}) != nullptr) return read_yarn(compress, c);
  if (r.find({"rope_scaling"}) != nullptr) return read_yarn(r.child("rope_scaling"), c);
  if (r.find({"rope_parameters"}) != nullptr) return read_yarn(parameters, c);
  if (r.find({"rope_factor", "original_seq_len"}) != nullptr) return read_yarn(r, c);
  // A null says that there is no scaling; nothing at all is an omission.
  if (used && !r.contains("rope_scaling")) {
    r.refuse("rope_scaling", "is missing (also known as rope_parameters, or rope_factor)");
  }
}

// Newer spelling of a ratio: a name, whose ratio compress_rates may change.
int64_t ratio_of_type(const ConfigReader& r, const nlohmann::json& type) {
  const ConfigReader rates = r.child("compress_rates");
  if (type == "sliding_attention") return 0;
  if (type == "compressed_sparse_attention") {
    rates.expect({"compressed_sparse_attention"}, 4);
    return 4;
  }
  if (type == "heavily_compressed_attention") {
    const int64_t ratio = rates.integer_or({"heavily_compressed_attention"}, 128, 1, kMaxWidth);
    if (ratio == 4) rates.refuse("heavily_compressed_attention", "cannot have the ratio 4");
    return ratio;
  }
  r.refuse("layer_types", fmt::format("{} is not a kind of attention", r.shown(type)));
}

// One ratio per layer; what follows the main layers belongs to MTP or DSpark stages.
void read_layers(const ConfigReader& r, ModelConfig& c) {
  const bool ratios = r.find({"compress_ratios"}) != nullptr;
  const char* name = ratios ? "compress_ratios" : "layer_types";
  const nlohmann::json* layers = r.find({name});
  if (layers == nullptr) r.refuse("compress_ratios", "is missing (also known as layer_types)");
  if (!layers->is_array() || static_cast<int64_t>(layers->size()) < c.n_layers) {
    r.refuse(name, fmt::format("expected a list of at least {} layers", c.n_layers));
  }
  for (int64_t i = 0; i < c.n_layers; ++i) {
    const nlohmann::json& layer = (*layers)[static_cast<size_t>(i)];
    c.compress_ratios.push_back(ratios ? r.check_integer(layer, name, 0, kMaxWidth)
                                       : ratio_of_type(r, layer));
  }
}

// num_hash_layers, or in the newer spelling mlp_layer_types, whose hash layers come first.
void read_hash_layers(const ConfigReader& r, ModelConfig& c) {
  const nlohmann::json* types = r.find({"mlp_layer_types"});
  if (r.find({"num_hash_layers", "n_hash_layers"}) != nullptr || types == nullptr) {
    c.n_hash_layers =
        r.integer({"num_hash_layers", "n_hash_layers", "mlp_layer_types"}, 0, kMaxLayers);
    c.n_hash_layers = std::min(c.n_hash_layers, c.n_layers);
    return;
  }
  if (!types->is_array() || static_cast<int64_t>(types->size()) < c.n_layers) {
    r.refuse("mlp_layer_types", fmt::format("expected a list of at least {} layers", c.n_layers));
  }
  bool hash = true;
  for (int64_t i = 0; i < c.n_layers; ++i) {
    const nlohmann::json& type = (*types)[static_cast<size_t>(i)];
    if (type != "hash_moe" && type != "moe") {
      r.refuse("mlp_layer_types", fmt::format("{} is not a kind of layer", r.shown(type)));
    }
    if (type == "hash_moe" && !hash) r.refuse("mlp_layer_types", "hash layers must come first");
    hash = type == "hash_moe";
    c.n_hash_layers += hash ? 1 : 0;
  }
}

void read_indexer(const ConfigReader& r, ModelConfig& c) {
  const bool used = std::ranges::find(c.compress_ratios, 4) != c.compress_ratios.end();
  const bool given = r.find({"index_n_heads"}) != nullptr;
  if (!used && !given) {
    c.n_index_heads = c.index_head_dim = c.index_topk = 1;
    return;
  }
  c.n_index_heads = r.integer({"index_n_heads"}, 1, kMaxWidth);
  c.index_head_dim = r.integer({"index_head_dim"}, 1, kMaxWidth);
  c.index_topk = r.integer({"index_topk"}, 1, kMaxWidth);
  if (!used) return;
  if (!std::has_single_bit(static_cast<uint64_t>(c.index_head_dim))) {
    r.refuse("index_head_dim", "expected a power of two (for the Hadamard rotation)");
  }
  if (c.index_head_dim < c.rope_dim) {
    r.refuse("index_head_dim",
             fmt::format("expected at least the {} rotary dimensions", c.rope_dim));
  }
  if (c.n_index_heads * c.index_head_dim > kMaxHeadsWidth) {
    r.refuse("index_n_heads", "times index_head_dim is too large");
  }
}

// What other models of the name have and this program does not.
void refuse_unsupported(const ConfigReader& r) {
  for (const char* key : {"text_config", "vision_config", "engram_layer_ids", "kv_source_layer_ids",
                          "index_source_layer_ids", "candidate_source_layer_id"}) {
    if (r.contains(key)) {
      r.refuse_unsupported(key, "belongs to DeepSeek V4.1, another architecture");
    }
  }
  r.expect({"model_type"}, "deepseek_v4");
  r.expect({"scoring_func", "score_func"}, "sqrtsoftplus");
  r.expect({"hidden_act"}, "silu");
  r.expect({"topk_method"}, "noaux_tc");
  r.expect({"norm_topk_prob"}, true);
  r.expect({"tie_word_embeddings"}, false);
  r.expect({"attention_bias"}, false);
  r.expect({"mlp_bias"}, false);
  r.expect({"n_shared_experts"}, 1);
  r.expect({"num_key_value_heads"}, 1);
}

}  // namespace

ModelConfig parse_config(std::string_view json, const std::string& where) {
  const nlohmann::json object = parse_json(json, where);
  if (!object.is_object()) throw Error(ErrorCode::kInvalidInput, where, "expected a JSON object");
  const ConfigReader reader(object, where);
  ModelConfig config;
  refuse_unsupported(reader);
  read_dimensions(reader, config);
  read_numbers(reader, config);
  read_layers(reader, config);
  read_rope(reader, config);
  read_hash_layers(reader, config);
  read_indexer(reader, config);
  read_quantization(reader, config);
  config.has_dspark = reader.contains("dspark_block_size");
  return config;
}

ModelConfig load_config(const std::filesystem::path& path) {
  constexpr size_t kMaxBytes = 16 << 20;
  std::error_code ignored;
  const std::filesystem::path file =
      std::filesystem::is_directory(path, ignored) ? path / "config.json" : path;
  if (const auto gguf = find_gguf(path); gguf && (file == path || !std::filesystem::exists(file))) {
    // All parts of a split file: the drafter is in the last.
    const Checkpoint checkpoint = Checkpoint::open(*gguf);
    const bool has_nextn = std::ranges::any_of(checkpoint.tensors(), [](const StoredTensor& t) {
      return t.name.find(".nextn.") != std::string::npos;
    });
    return config_from_gguf(*checkpoint.gguf(), has_nextn, gguf->string());
  }
  return parse_config(read_file(file, kMaxBytes), file.string());
}

}  // namespace dsv4
