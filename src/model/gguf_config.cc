#include "model/gguf_config.h"

#include "base/error.h"

#include <algorithm>
#include <cmath>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

namespace dsv4 {
namespace {

using Json = nlohmann::json;

// Keys of whole numbers, and the member of config.json that each becomes.
struct KeyName {
  const char* key;  // behind "deepseek4."
  const char* member;
};
constexpr KeyName kIntegers[] = {
    {"context_length", "max_position_embeddings"},
    {"embedding_length", "hidden_size"},
    {"vocab_size", "vocab_size"},
    {"attention.head_count", "num_attention_heads"},
    {"attention.head_count_kv", "num_key_value_heads"},
    {"attention.key_length", "head_dim"},
    {"attention.q_lora_rank", "q_lora_rank"},
    {"attention.output_lora_rank", "o_lora_rank"},
    {"attention.output_group_count", "o_groups"},
    {"attention.sliding_window", "sliding_window"},
    {"attention.indexer.head_count", "index_n_heads"},
    {"attention.indexer.key_length", "index_head_dim"},
    {"attention.indexer.top_k", "index_topk"},
    {"rope.dimension_count", "qk_rope_head_dim"},
    {"expert_count", "n_routed_experts"},
    {"expert_used_count", "num_experts_per_tok"},
    {"expert_shared_count", "n_shared_experts"},
    {"expert_feed_forward_length", "moe_intermediate_size"},
    {"num_hash_layers", "num_hash_layers"},
    {"hash_layer_count", "num_hash_layers"},
    {"hyper_connection.count", "hc_mult"},
    {"hyper_connection.sinkhorn_iterations", "hc_sinkhorn_iters"},
    {"nextn_predict_layers", "num_nextn_predict_layers"},
};
constexpr KeyName kNumbers[] = {
    {"attention.layer_norm_rms_epsilon", "rms_norm_eps"},
    {"attention.compress_rope_freq_base", "compress_rope_theta"},
    {"rope.freq_base", "rope_theta"},
    {"expert_weights_scale", "routed_scaling_factor"},
    {"hyper_connection.epsilon", "hc_eps"},
};
constexpr KeyName kYarnNumbers[] = {
    {"rope.scaling.factor", "factor"},
    {"rope.scaling.yarn_beta_fast", "beta_fast"},
    {"rope.scaling.yarn_beta_slow", "beta_slow"},
};

bool is_finite(double value) { return std::isfinite(static_cast<float>(value)); }

// Floats are stored in 32 bits: 1e-6 comes back as the shortest number that rounds to it.
double shortest(double value) { return std::stod(fmt::format("{}", static_cast<float>(value))); }

class ConfigKeys {
 public:
  ConfigKeys(const GgufMetadata& metadata, bool has_nextn, const std::string& where)
      : metadata_(metadata), has_nextn_(has_nextn), where_(where) {}

  ModelConfig read() {
    check_architecture();
    const int64_t n_layers = count_layers();
    json_ = start_from_release(n_layers);
    json_["num_hidden_layers"] = n_layers;
    for (const auto& [key, member] : kIntegers) {
      if (const auto value = integer(prefixed(key))) json_[member] = *value;
    }
    for (const auto& [key, member] : kNumbers) {
      if (const auto value = number(prefixed(key))) json_[member] = shortest(*value);
    }
    if (json_.contains("head_dim")) {
      expect("attention.value_length", json_["head_dim"].get<int64_t>());  // keys are values
    }
    read_yarn();
    read_ratios();
    read_limits();
    read_tokens();
    return parse_config(json_.dump(), where_);
  }

 private:
  static std::string prefixed(const char* key) { return fmt::format("deepseek4.{}", key); }
  const GgufValue* find(const std::string& key) const { return metadata_.find(key); }

  [[noreturn]] void refuse(const std::string& key, const std::string& message) const {
    throw Error(ErrorCode::kInvalidInput, where_, fmt::format("key {}: {}", key, message));
  }

  std::optional<int64_t> integer(const std::string& key) const {
    const GgufValue* value = find(key);
    if (value == nullptr) return std::nullopt;
    const auto result = value->as_integer();
    if (!result) refuse(key, "expected a whole number");
    return result;
  }

  std::optional<double> number(const std::string& key) const {
    const GgufValue* value = find(key);
    if (value == nullptr) return std::nullopt;
    const auto result = value->as_number();
    if (!result || !is_finite(*result)) refuse(key, "expected a number");
    return result;
  }

  void check_architecture() const {
    const GgufValue* value = find("general.architecture");
    const auto name = value == nullptr ? std::nullopt : value->as_string();
    if (!name || *name != "deepseek4") {
      throw Error(
          ErrorCode::kUnsupported, where_,
          fmt::format("key general.architecture is {}, expected \"deepseek4\"",
                      name ? Json(*name).dump(-1, ' ', false, Json::error_handler_t::replace)
                           : std::string("missing")));
    }
    expect("expert_gating_func", 4);  // sqrt(softplus)
    expect("expert_weights_norm", 1);
    expect("expert_group_count", 0);
  }

  void expect(const char* key, int64_t only) const {
    const auto value = integer(prefixed(key));
    if (!value || *value == only) return;
    throw Error(ErrorCode::kUnsupported, where_,
                fmt::format("key {} is {}, only {} is implemented", prefixed(key), *value, only));
  }

  // Blocks behind the main layers that hold MTP tensors as "blk.N.nextn.*" are counted too.
  int64_t count_layers() const {
    constexpr const char* kKey = "deepseek4.block_count";
    const auto n_blocks = integer(kKey);
    if (!n_blocks) refuse(kKey, "is missing");
    const int64_t n_nextn =
        has_nextn_ ? integer("deepseek4.nextn_predict_layers").value_or(0) : int64_t{0};
    if (*n_blocks < 1 || n_nextn < 0 || n_nextn >= *n_blocks) {
      refuse(kKey, fmt::format("there are no layers in {} blocks, {} of them for drafts", *n_blocks,
                               n_nextn));
    }
    return *n_blocks - n_nextn;
  }

  static Json start_from_release(int64_t n_layers) {
    for (const char* name : {"flash", "pro", "745b"}) {
      const ModelConfig release = preset_config(name);
      if (release.n_layers == n_layers) return Json::parse(config_to_json(release));
    }
    Json json;  // what GGUF files leave out
    json["hc_eps"] = 1e-6;
    json["rms_norm_eps"] = 1e-6;
    json["rope_scaling"] = nullptr;
    return json;
  }

  void read_yarn() {
    if (const GgufValue* type = find("deepseek4.rope.scaling.type")) {
      const auto name = type->as_string();
      if (name == "none") {
        json_["rope_scaling"] = nullptr;
        return;
      }
      if (name != "yarn") {
        throw Error(ErrorCode::kUnsupported, where_,
                    "key deepseek4.rope.scaling.type: only \"yarn\" and \"none\" are implemented");
      }
    }
    Json yarn = json_["rope_scaling"].is_object() ? json_["rope_scaling"]
                                                  : Json::object({{"type", "yarn"}});
    bool given = false;
    for (const auto& [key, member] : kYarnNumbers) {
      const auto value = number(prefixed(key));
      if (!value) continue;
      yarn[member] = shortest(*value);
      given = true;
    }
    constexpr const char* kOriginal = "rope.scaling.original_context_length";
    if (const auto original = integer(prefixed(kOriginal))) {
      yarn["original_max_position_embeddings"] = *original;
      given = true;
    }
    if (!given) return;
    if (!yarn.contains("factor")) refuse(prefixed("rope.scaling.factor"), "is missing");
    if (!yarn.contains("original_max_position_embeddings")) {
      refuse(prefixed(kOriginal), "is missing");
    }
    json_["rope_scaling"] = yarn;
  }

  void read_ratios() {
    const std::string key = "deepseek4.attention.compress_ratios";
    const GgufValue* value = find(key);
    if (value == nullptr) return;
    const auto ratios = value->as_integers();
    if (!ratios) refuse(key, "expected a list of whole numbers");
    json_["compress_ratios"] = *ratios;
  }

  // One limit per layer, which must be equal; or one for all.
  void read_limits() {
    for (const char* name : {"swiglu_limit", "swiglu_clamp_shexp", "swiglu_clamp_exp"}) {
      const std::string key = prefixed(name);
      const GgufValue* value = find(key);
      if (value == nullptr) continue;
      const auto limits = value->as_numbers();
      if (!limits || limits->empty() || !is_finite(limits->front())) {
        refuse(key, "expected numbers");
      }
      const double limit = shortest(limits->front());
      const bool equal = std::ranges::count(*limits, limits->front()) == std::ssize(*limits);
      if (!equal ||
          (json_.contains("swiglu_limit") && find("deepseek4.swiglu_clamp_shexp") &&
           std::string_view(name) == "swiglu_clamp_exp" && json_["swiglu_limit"] != limit)) {
        throw Error(ErrorCode::kUnsupported, where_,
                    fmt::format("key {}: limits that differ are not implemented", key));
      }
      json_["swiglu_limit"] = limit;
    }
  }

  void read_tokens() {
    const GgufValue* tokens = find("tokenizer.ggml.tokens");
    if (!json_.contains("vocab_size") && tokens != nullptr) json_["vocab_size"] = tokens->count;
    if (const auto id = integer("tokenizer.ggml.bos_token_id")) json_["bos_token_id"] = *id;
    if (const auto id = integer("tokenizer.ggml.eos_token_id")) json_["eos_token_id"] = *id;
  }

  const GgufMetadata& metadata_;
  bool has_nextn_;
  const std::string& where_;
  Json json_;
};

}  // namespace

ModelConfig config_from_gguf(const GgufMetadata& metadata, bool has_nextn,
                             const std::string& where) {
  return ConfigKeys(metadata, has_nextn, where).read();
}

void add_config(const ModelConfig& config, GgufBuilder& metadata) {
  const Json json = Json::parse(config_to_json(config));
  metadata.add_string("general.architecture", "deepseek4");
  const auto key = [](const char* name) { return fmt::format("deepseek4.{}", name); };
  metadata.add_u32(key("block_count"), static_cast<uint32_t>(config.n_layers));
  for (const auto& [name, member] : kIntegers) {
    if (std::string_view(name) == member) continue;  // an alias
    metadata.add_u32(key(name), json.at(member).get<uint32_t>());
  }
  metadata.add_u32(key("vocab_size"), static_cast<uint32_t>(config.vocab_size));
  metadata.add_u32(key("attention.value_length"), static_cast<uint32_t>(config.head_dim));
  for (const auto& [name, member] : kNumbers) {
    metadata.add_f32(key(name), json.at(member).get<float>());
  }
  metadata.add_string(key("rope.scaling.type"), "yarn");
  metadata.add_u32(key("rope.scaling.original_context_length"),
                   static_cast<uint32_t>(config.yarn.original_max_position_embeddings));
  for (const auto& [name, member] : kYarnNumbers) {
    metadata.add_f32(key(name), json.at("rope_scaling").at(member).get<float>());
  }
  metadata.add_u32(key("expert_gating_func"), 4);
  metadata.add_bool(key("expert_weights_norm"), true);
  const std::vector<int32_t> ratios(config.compress_ratios.begin(), config.compress_ratios.end());
  metadata.add_i32s(key("attention.compress_ratios"), ratios);
  const std::vector<float> limits(ratios.size(), static_cast<float>(config.swiglu_limit));
  metadata.add_f32s(key("swiglu_clamp_exp"), limits);
}

}  // namespace dsv4
