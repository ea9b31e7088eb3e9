// The geometry of a DeepSeek V4 model as plain, validated data. docs/glossary.md maps each field to
// the report's symbol, the config.json keys of every dialect and the tensors that depend on it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace dsv4 {

// What a layer attends to besides the sliding window (report, section on hybrid attention).
enum class LayerKind {
  kSwa,  // ratio 0: the window only
  kCsa,  // ratio 4: overlapping compressed entries, the top-k that the lightning indexer selects
  kHca,  // any other ratio: plain compressed entries, all of them
};

// YaRN interpolation of the rotary frequencies of layers with compression.
struct YarnConfig {
  double factor = 1;  // 1: no interpolation
  int64_t original_max_position_embeddings = 0;
  double beta_fast = 32;
  double beta_slow = 1;

  bool operator==(const YarnConfig&) const = default;
};

// Block scales of FP8 weights: `rows` x `cols` weights share one scale.
struct ScaleBlock {
  int64_t rows = 128;
  int64_t cols = 128;

  bool operator==(const ScaleBlock&) const = default;
};

// Weights in 4-bit integers, in tensors of their own (docs/formats.md).
enum class Int4Method { kNone, kAwq, kCompressedTensors };

struct Int4Config {
  Int4Method method = Int4Method::kNone;
  int64_t group_size = 0;  // columns that share a scale; 0: the whole row
  bool symmetric = true;   // without zero points

  bool operator==(const Int4Config&) const = default;
};

struct ModelConfig {
  int64_t vocab_size = 0;        // V
  int64_t hidden_size = 0;       // d
  int64_t n_layers = 0;          // L, main layers
  int64_t n_mtp_layers = 0;      // as declared; the tensors decide what is loaded
  int64_t n_heads = 0;           // H
  int64_t head_dim = 0;          // c, of the queries and of the one shared key/value head
  int64_t rope_dim = 0;          // rd, the last entries of a head
  int64_t q_lora_rank = 0;       // rq
  int64_t o_groups = 0;          // G
  int64_t o_lora_rank = 0;       // ro
  int64_t window = 0;            // W, includes the current token
  int64_t n_index_heads = 0;     // Hi
  int64_t index_head_dim = 0;    // ci
  int64_t index_topk = 0;        // Ki
  int64_t n_experts = 0;         // E, routed
  int64_t n_active_experts = 0;  // k
  int64_t n_shared_experts = 1;
  int64_t expert_dim = 0;     // fe, routed and shared
  int64_t n_hash_layers = 0;  // the first layers route by token id
  double routed_scaling = 1;  // sigma_r
  double swiglu_limit = 0;    // 0: no clamp
  int64_t hc_mult = 0;        // n, hyper-connection streams
  int64_t hc_sinkhorn_iters = 0;
  double hc_eps = 0;
  double rms_norm_eps = 0;
  double rope_theta = 0;           // SWA layers and MTP
  double compress_rope_theta = 0;  // CSA and HCA layers
  YarnConfig yarn;                 // CSA and HCA layers
  int64_t max_position_embeddings = 0;
  int64_t bos_token_id = 0;
  int64_t eos_token_id = 1;
  ScaleBlock fp8_block;
  Int4Config int4;  // of the weights that are not stored plainly
  // r_l, one per main layer. Entries after n_layers belong to MTP or DSpark stages and are dropped.
  std::vector<int64_t> compress_ratios;
  bool has_dspark = false;  // dspark_* keys: the 0731 release

  int64_t ratio(int64_t layer) const { return compress_ratios[static_cast<size_t>(layer)]; }
  LayerKind kind(int64_t layer) const { return kind_of_ratio(ratio(layer)); }
  bool is_hash_layer(int64_t layer) const { return layer < n_hash_layers; }

  bool operator==(const ModelConfig&) const = default;

  static LayerKind kind_of_ratio(int64_t ratio) {
    return ratio == 0 ? LayerKind::kSwa : ratio == 4 ? LayerKind::kCsa : LayerKind::kHca;
  }
};

// Reads config.json text in any dialect: released (Hugging Face) names, names of the official
// inference code, or the newer spelling with layer_types (docs/formats.md). `where` names the
// source in errors. Throws Error(kInvalidInput or kUnsupported) naming the key.
ModelConfig parse_config(std::string_view json, const std::string& where);

// parse_config of a file, or of config.json in a folder; of a GGUF model what its metadata say.
ModelConfig load_config(const std::filesystem::path& path);

// config.json text with the released names; parse_config of it gives the same config.
std::string config_to_json(const ModelConfig& config);

// Geometry by name: "flash", "pro", "745b", "tiny". Throws Error(kNotFound) listing the names.
ModelConfig preset_config(std::string_view name);

}  // namespace dsv4
