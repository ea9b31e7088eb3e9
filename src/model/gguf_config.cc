#include "model/gguf_config.h"

#include "base/error.h"

#include <algorithm>
#include <initializer_list>

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

// Floats are stored in 32 bits: 1e-6 comes back as the shortest number that rounds to it.
double shortest(double value) { return std::stod(fmt::format("{}", static_cast<float>(value))); }

class ConfigKeys {
 public:
  ConfigKeys(const GgufHeader& header, const std::string& where) : header_(header), where_(where) {}

  ModelConfig read() {
    check_architecture();
    const int64_t n_layers = integer("deepseek4.block_count").value_or(0) - count_nextn_blocks();
    json_ = start_from_release(n_layers);
    json_["num_hidden_layers"] = n_layers;
    for (const auto& [key, member] : kIntegers) {
      if (const auto value = integer(prefixed(key))) json_[member] = *value;
    }
    for (const auto& [key, member] : kNumbers) {
      if (const auto value = number(prefixed(key))) json_[member] = shortest(*value);
    }
    read_yarn();
    read_ratios();
    read_limits();
    read_tokens();
    return parse_config(json_.dump(), where_);
  }

 private:
  static std::string prefixed(const char* key) { return fmt::format("deepseek4.{}", key); }
  const GgufValue* find(const std::string& key) const { return header_.metadata.find(key); }

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
    if (!result) refuse(key, "expected a number");
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

  // Blocks behind the main layers that hold MTP tensors as "blk.N.nextn.*".
  int64_t count_nextn_blocks() const {
    const bool stored = std::ranges::any_of(header_.tensors, [](const GgufTensor& tensor) {
      return tensor.name.find(".nextn.") != std::string_view::npos;
    });
    return stored ? integer("deepseek4.nextn_predict_layers").value_or(0) : 0;
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
    const auto original = integer("deepseek4.rope.scaling.original_context_length");
    if (!original) return;
    Json yarn = {{"type", "yarn"}, {"original_max_position_embeddings", *original}};
    for (const auto& [key, member] : kYarnNumbers) {
      if (const auto value = number(prefixed(key))) yarn[member] = shortest(*value);
    }
    if (!yarn.contains("factor")) refuse("deepseek4.rope.scaling.factor", "is missing");
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
      if (!limits || limits->empty()) refuse(key, "expected numbers");
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

  const GgufHeader& header_;
  const std::string& where_;
  Json json_;
};

}  // namespace

ModelConfig config_from_gguf(const GgufHeader& header, const std::string& where) {
  return ConfigKeys(header, where).read();
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
