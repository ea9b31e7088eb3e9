// The configuration in the metadata of GGUF files; keys and types as the format's description has
// them.
#include "model/gguf_config.h"

#include "base/error.h"
#include "formats/gguf_testing.h"

#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>
#include <map>

#include <fmt/core.h>
#include <gtest/gtest.h>
#include <unistd.h>

namespace dsv4 {
namespace {

namespace fs = std::filesystem;

// Keys by name without "deepseek4.", each as the file has it.
using Keys = std::map<std::string, std::string>;

std::string full(const std::string& name) {
  return name.starts_with("general.") || name.starts_with("tokenizer.") ? name
                                                                        : "deepseek4." + name;
}

void set_u32(Keys& keys, const std::string& name, uint32_t value) {
  keys[name] = gguf_u32(full(name), value);
}
void set_f32(Keys& keys, const std::string& name, float value) {
  keys[name] = gguf_key(full(name), 6, raw(value));
}
void set_text(Keys& keys, const std::string& name, const std::string& value) {
  keys[name] = gguf_key(full(name), 8, gguf_text(value));
}

// A whole configuration in which no two numbers are equal where they could be mixed up.
Keys all_keys() {
  Keys keys;
  set_text(keys, "general.architecture", "deepseek4");
  for (const auto& [name, value] :
       std::vector<std::pair<const char*, uint32_t>>{{"block_count", 3},
                                                     {"context_length", 4000},
                                                     {"embedding_length", 160},
                                                     {"vocab_size", 300},
                                                     {"attention.head_count", 6},
                                                     {"attention.head_count_kv", 1},
                                                     {"attention.key_length", 40},
                                                     {"attention.value_length", 40},
                                                     {"attention.q_lora_rank", 36},
                                                     {"attention.output_lora_rank", 20},
                                                     {"attention.output_group_count", 2},
                                                     {"attention.sliding_window", 17},
                                                     {"attention.indexer.head_count", 5},
                                                     {"attention.indexer.key_length", 16},
                                                     {"attention.indexer.top_k", 7},
                                                     {"rope.dimension_count", 8},
                                                     {"rope.scaling.original_context_length", 1000},
                                                     {"expert_count", 9},
                                                     {"expert_used_count", 4},
                                                     {"expert_shared_count", 1},
                                                     {"expert_group_count", 0},
                                                     {"expert_group_used_count", 0},
                                                     {"expert_feed_forward_length", 96},
                                                     {"expert_gating_func", 4},
                                                     {"hash_layer_count", 2},
                                                     {"hyper_connection.count", 3},
                                                     {"hyper_connection.sinkhorn_iterations", 19},
                                                     {"nextn_predict_layers", 1},
                                                     {"tokenizer.ggml.bos_token_id", 11},
                                                     {"tokenizer.ggml.eos_token_id", 12}}) {
    set_u32(keys, name, value);
  }
  for (const auto& [name, value] :
       std::vector<std::pair<const char*, float>>{{"attention.layer_norm_rms_epsilon", 2e-6f},
                                                  {"attention.compress_rope_freq_base", 150000},
                                                  {"rope.freq_base", 20000},
                                                  {"rope.scaling.factor", 12},
                                                  {"rope.scaling.yarn_beta_fast", 31},
                                                  {"rope.scaling.yarn_beta_slow", 1.1f},
                                                  {"expert_weights_scale", 2.2f},
                                                  {"hyper_connection.epsilon", 3e-6f}}) {
    set_f32(keys, name, value);
  }
  set_text(keys, "rope.scaling.type", "yarn");
  keys["expert_weights_norm"] = gguf_key("deepseek4.expert_weights_norm", 7, "\1");
  keys["attention.compress_ratios"] =
      gguf_array("deepseek4.attention.compress_ratios", 5, 4, raws({0, 4, 12, 0}));
  keys["swiglu_clamp_exp"] =
      gguf_array("deepseek4.swiglu_clamp_exp", 6, 3, raws({7.7f, 7.7f, 7.7f}));
  return keys;
}

ModelConfig expected_config() {
  ModelConfig c;
  c.n_layers = 3;
  c.max_position_embeddings = 4000;
  c.hidden_size = 160;
  c.vocab_size = 300;
  c.n_heads = 6;
  c.head_dim = 40;
  c.q_lora_rank = 36;
  c.o_lora_rank = 20;
  c.o_groups = 2;
  c.window = 17;
  c.n_index_heads = 5;
  c.index_head_dim = 16;
  c.index_topk = 7;
  c.rope_dim = 8;
  c.n_experts = 9;
  c.n_active_experts = 4;
  c.n_shared_experts = 1;
  c.expert_dim = 96;
  c.n_hash_layers = 2;
  c.hc_mult = 3;
  c.hc_sinkhorn_iters = 19;
  c.n_mtp_layers = 1;
  c.bos_token_id = 11;
  c.eos_token_id = 12;
  // Not the nearest double of the float in the file, but the number that was meant.
  c.rms_norm_eps = 2e-6;
  c.compress_rope_theta = 150000;
  c.rope_theta = 20000;
  c.yarn = {12, 1000, 31, 1.1};
  c.routed_scaling = 2.2;
  c.hc_eps = 3e-6;
  c.compress_ratios = {0, 4, 12};
  c.swiglu_limit = 7.7;
  return c;
}

ModelConfig read(const Keys& keys, bool has_nextn = false) {
  std::vector<std::string> all;
  for (const auto& [name, bytes] : keys) all.push_back(bytes);
  const std::string file = gguf_file(all, {}, "");
  return config_from_gguf(parse_gguf(bytes_of(file), "a.gguf").metadata, has_nextn, "a.gguf");
}

void expect_error(const Keys& keys, const std::vector<std::string>& parts, bool has_nextn = false) {
  try {
    read(keys, has_nextn);
    ADD_FAILURE() << "no error; expected " << parts[0];
  } catch (const Error& error) {
    const std::string_view message = error.what();
    EXPECT_TRUE(message.starts_with("a.gguf: ")) << message;
    for (const std::string& part : parts) {
      EXPECT_NE(message.find(part), std::string_view::npos)
          << "no '" << part << "' in: " << message;
    }
  }
}

TEST(GgufConfig, reads_every_key) { EXPECT_EQ(read(all_keys()), expected_config()); }

TEST(GgufConfig, reads_whole_numbers_of_any_width) {
  const auto check = [](uint32_t type, const auto& convert) {
    Keys keys = all_keys();
    keys["attention.head_count"] = gguf_key("deepseek4.attention.head_count", type, convert(6));
    keys["expert_count"] = gguf_key("deepseek4.expert_count", type, convert(9));
    keys["attention.compress_ratios"] = gguf_array("deepseek4.attention.compress_ratios", type, 3,
                                                   convert(0) + convert(4) + convert(12));
    EXPECT_EQ(read(keys), expected_config()) << type;
  };
  check(0, [](int n) { return raw(static_cast<uint8_t>(n)); });
  check(1, [](int n) { return raw(static_cast<int8_t>(n)); });
  check(2, [](int n) { return raw(static_cast<uint16_t>(n)); });
  check(3, [](int n) { return raw(static_cast<int16_t>(n)); });
  check(4, [](int n) { return raw(static_cast<uint32_t>(n)); });
  check(5, [](int n) { return raw(n); });
  check(10, [](int n) { return raw(static_cast<uint64_t>(n)); });
  check(11, [](int n) { return raw(static_cast<int64_t>(n)); });
}

TEST(GgufConfig, reads_the_keys_of_other_converters) {
  Keys keys = all_keys();
  keys.erase("hash_layer_count");
  set_u32(keys, "num_hash_layers", 2);
  keys.erase("swiglu_clamp_exp");
  set_f32(keys, "swiglu_limit", 7.7f);
  EXPECT_EQ(read(keys), expected_config());
  keys.erase("swiglu_limit");
  set_f32(keys, "swiglu_clamp_exp", 7.7f);  // a scalar
  EXPECT_EQ(read(keys), expected_config());
  keys["swiglu_clamp_shexp"] = gguf_array("deepseek4.swiglu_clamp_shexp", 6, 1, raw(7.7f));
  EXPECT_EQ(read(keys), expected_config());
}

TEST(GgufConfig, takes_the_vocabulary_from_the_tokens) {
  Keys keys = all_keys();
  keys.erase("vocab_size");
  std::string tokens;
  for (int i = 0; i < 300; ++i) tokens += gguf_text(fmt::format("t{}", i));
  keys["tokenizer.ggml.tokens"] = gguf_array("tokenizer.ggml.tokens", 8, 300, tokens);
  EXPECT_EQ(read(keys), expected_config());
}

TEST(GgufConfig, fills_up_files_of_a_released_size) {
  for (const char* preset : {"flash", "pro", "745b"}) {
    const ModelConfig release = preset_config(preset);
    Keys keys;
    set_text(keys, "general.architecture", "deepseek4");
    set_u32(keys, "block_count", static_cast<uint32_t>(release.n_layers));
    EXPECT_EQ(read(keys), release) << preset;
    set_u32(keys, "context_length", 77);
    set_f32(keys, "rope.scaling.factor", 8);
    ModelConfig changed = release;
    changed.max_position_embeddings = 77;
    changed.yarn.factor = 8;
    EXPECT_EQ(read(keys), changed) << preset;
  }
  Keys keys;
  set_text(keys, "general.architecture", "deepseek4");
  set_u32(keys, "block_count", 5);
  expect_error(keys, {"is missing"});
}

TEST(GgufConfig, does_not_count_the_blocks_of_a_drafter) {
  Keys keys = all_keys();
  set_u32(keys, "block_count", 4);
  EXPECT_EQ(read(keys, /*has_nextn=*/true), expected_config());
  set_u32(keys, "nextn_predict_layers", 4);
  expect_error(keys, {"key deepseek4.block_count", "4 blocks, 4 of them"}, true);
  keys["nextn_predict_layers"] =
      gguf_key("deepseek4.nextn_predict_layers", 11, raw(std::numeric_limits<int64_t>::max()));
  keys["block_count"] =
      gguf_key("deepseek4.block_count", 11, raw(std::numeric_limits<int64_t>::min()));
  expect_error(keys, {"key deepseek4.block_count"}, true);
}

TEST(GgufConfig, has_no_yarn_without_scaling) {
  ModelConfig plain = expected_config();
  plain.yarn = {};
  Keys keys = all_keys();
  set_text(keys, "rope.scaling.type", "none");
  EXPECT_EQ(read(keys), plain);
  keys = all_keys();
  for (const char* name :
       {"type", "factor", "original_context_length", "yarn_beta_fast", "yarn_beta_slow"}) {
    keys.erase(std::string("rope.scaling.") + name);
  }
  EXPECT_EQ(read(keys), plain);
}

TEST(GgufConfig, says_which_key_is_wrong) {
  const auto with = [](const std::string& name, const std::string& bytes) {
    Keys keys = all_keys();
    keys[name] = bytes;
    return keys;
  };
  const auto without = [](const char* name) {
    Keys keys = all_keys();
    keys.erase(name);
    return keys;
  };
  const auto text = [](const std::string& name) {
    Keys keys = all_keys();
    set_text(keys, name, "x");
    return keys;
  };
  expect_error(without("general.architecture"), {"general.architecture is missing"});
  expect_error(text("general.architecture"), {"general.architecture is \"x\""});
  expect_error(with("general.architecture", gguf_u32("general.architecture", 4)), {"is missing"});
  for (const char* name :
       {"block_count", "embedding_length", "attention.compress_ratios", "expert_count",
        "hyper_connection.count", "rope.freq_base", "hash_layer_count"}) {
    expect_error(without(name), {"is missing"});
  }
  expect_error(without("rope.scaling.factor"), {"deepseek4.rope.scaling.factor: is missing"});
  expect_error(without("rope.scaling.original_context_length"),
               {"deepseek4.rope.scaling.original_context_length: is missing"});
  for (const char* name :
       {"block_count", "embedding_length", "expert_used_count", "rope.freq_base",
        "expert_weights_scale", "rope.scaling.factor", "attention.compress_ratios",
        "swiglu_clamp_exp", "tokenizer.ggml.eos_token_id", "rope.scaling.type"}) {
    expect_error(text(name), {"key " + full(name) + ":"});
  }
  for (const float bad : {NAN, INFINITY}) {
    for (const char* name : {"attention.layer_norm_rms_epsilon", "rope.freq_base",
                             "rope.scaling.yarn_beta_slow", "swiglu_clamp_exp"}) {
      Keys keys = all_keys();
      set_f32(keys, name, bad);
      expect_error(keys, {"key " + full(name) + ":"});
    }
  }
}

TEST(GgufConfig, refuses_doubles_beyond_floats) {
  Keys keys = all_keys();
  const std::string name = "deepseek4.attention.layer_norm_rms_epsilon";
  keys["attention.layer_norm_rms_epsilon"] = gguf_key(name, 12, raw(1e300));
  expect_error(keys, {"key " + name});
  keys["attention.layer_norm_rms_epsilon"] = gguf_key(name, 12, raw(2e-6));
  EXPECT_EQ(read(keys), expected_config());
}

TEST(GgufConfig, refuses_what_is_another_model) {
  for (const auto& [name, value] : std::vector<std::pair<const char*, uint32_t>>{
           {"expert_gating_func", 2}, {"expert_group_count", 8}, {"expert_weights_norm", 0}}) {
    Keys keys = all_keys();
    set_u32(keys, name, value);
    expect_error(keys, {full(name), fmt::format("is {}", value)});
  }
  Keys keys = all_keys();
  set_u32(keys, "attention.head_count_kv", 8);
  expect_error(keys, {"num_key_value_heads"});
  keys = all_keys();
  set_u32(keys, "attention.value_length", 41);
  expect_error(keys, {"deepseek4.attention.value_length"});
  keys = all_keys();
  keys["swiglu_clamp_exp"] = gguf_array("deepseek4.swiglu_clamp_exp", 6, 2, raws({7.f, 8.f}));
  expect_error(keys, {"deepseek4.swiglu_clamp_exp", "differ"});
  keys = all_keys();
  set_f32(keys, "swiglu_clamp_shexp", 8);
  expect_error(keys, {"deepseek4.swiglu_clamp_exp", "differ"});
  for (const char* architecture : {"deepseek41", "deepseek2", "llama", "\xFF"}) {
    set_text(keys, "general.architecture", architecture);
    expect_error(keys, {"general.architecture", "expected \"deepseek4\""});
  }
}

// What add_config() writes, as another reader looks for it.
TEST(GgufConfig, writes_the_keys_and_types_of_the_format) {
  GgufBuilder metadata;
  add_config(expected_config(), metadata);
  const std::string file =
      "GGUF" + raw(uint32_t{3}) + raw(uint64_t{0}) + raw(metadata.count()) + metadata.bytes();
  const GgufHeader header = parse_gguf(bytes_of(file), "written");
  Keys expected = all_keys();
  for (const char* name : {"tokenizer.ggml.bos_token_id", "tokenizer.ggml.eos_token_id",
                           "expert_group_count", "expert_group_used_count"}) {
    expected.erase(name);
  }
  expected["attention.compress_ratios"] =
      gguf_array("deepseek4.attention.compress_ratios", 5, 3, raws({0, 4, 12}));
  Keys written;
  for (const GgufKey& key : header.metadata.keys()) {
    GgufBuilder one;
    one.add(key.key, key.value);
    const std::string name(key.key);
    written[name.starts_with("deepseek4.") ? name.substr(10) : name] = one.bytes();
  }
  EXPECT_EQ(written, expected);
}

// config.json -> metadata -> configuration.
TEST(GgufConfig, keeps_the_configuration_of_known_models) {
  std::map<std::string, ModelConfig> configs;
  const fs::path source = DSV4_SOURCE_DIR;
  for (const char* folder :
       {"tests/golden/t1", "tests/golden/t2", "tests/golden/t3", "models/mini"}) {
    configs[folder] = load_config(source / folder);
  }
  for (const char* preset : {"flash", "pro", "745b", "tiny"}) {
    configs[preset] = preset_config(preset);
  }
  for (const auto& [name, config] : configs) {
    GgufBuilder metadata;
    add_config(config, metadata);
    metadata.add_u32("tokenizer.ggml.bos_token_id", static_cast<uint32_t>(config.bos_token_id));
    metadata.add_u32("tokenizer.ggml.eos_token_id", static_cast<uint32_t>(config.eos_token_id));
    const std::string file =
        "GGUF" + raw(uint32_t{3}) + raw(uint64_t{0}) + raw(metadata.count()) + metadata.bytes();
    ModelConfig expected = config;
    expected.fp8_block = {};  // GGUF has no FP8
    EXPECT_EQ(config_from_gguf(parse_gguf(bytes_of(file), name).metadata, false, name), expected)
        << name;
  }
}

TEST(GgufConfig, a_split_file_has_its_drafter_in_any_part) {
  const fs::path folder =
      fs::temp_directory_path() / fmt::format("dsv4-gguf-config-{}", ::getpid());
  fs::create_directories(folder);
  Keys keys = all_keys();
  set_u32(keys, "block_count", 4);
  keys["split.count"] = gguf_key("split.count", 2, raw(uint16_t{2}));
  keys["split.no"] = gguf_key("split.no", 2, raw(uint16_t{0}));
  std::vector<std::string> first;
  for (const auto& [name, bytes] : keys) first.push_back(bytes);
  const std::string tensor = gguf_tensor("blk.3.nextn.enorm.weight", {1}, 24, 0);
  std::ofstream(folder / "m-00001-of-00002.gguf", std::ios::binary) << gguf_file(first, {}, "");
  std::ofstream(folder / "m-00002-of-00002.gguf", std::ios::binary)
      << gguf_file({keys["split.count"], gguf_key("split.no", 2, raw(uint16_t{1}))}, {tensor}, "x");
  EXPECT_EQ(load_config(folder), expected_config());
  EXPECT_EQ(load_config(folder / "m-00001-of-00002.gguf"), expected_config());
  fs::remove_all(folder);
}

}  // namespace
}  // namespace dsv4
