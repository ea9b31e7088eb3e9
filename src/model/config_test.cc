#include "model/config.h"

#include "base/error.h"
#include "base/json.h"
#include "base/mapped_file.h"
#include "base/rng.h"

#include <fmt/core.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace dsv4 {
namespace {

using Json = nlohmann::json;

Json golden_json(const std::string& name) {
  const std::string path = fmt::format("{}/tests/golden/{}", DSV4_SOURCE_DIR, name);
  return parse_json(read_file(path), path);
}

ModelConfig parse(const Json& json) { return parse_config(json.dump(), "config.json"); }

std::string error_of(const std::string& text) {
  try {
    parse_config(text, "config.json");
    return "";
  } catch (const Error& error) {
    return error.what();
  }
}

// The error of the golden config t1 with `key` set to `value`.
std::string error_with(const std::string& key, const Json& value) {
  Json json = golden_json("t1/config.json");
  json[key] = value;
  return error_of(json.dump());
}

std::string error_without(const std::string& file, const std::string& key) {
  Json json = golden_json(file);
  json.erase(key);
  return error_of(json.dump());
}

void expect_part(const std::string& message, const std::string& part) {
  EXPECT_NE(message.find(part), std::string::npos) << "no '" << part << "' in: " << message;
}

TEST(Config, reads_the_released_dialect) {
  const ModelConfig c = parse(golden_json("t1/config.json"));
  ModelConfig expected;  // by hand from the file
  expected.vocab_size = 512;
  expected.hidden_size = 256;
  expected.n_layers = 5;
  expected.n_mtp_layers = 1;
  expected.n_heads = 4;
  expected.head_dim = 96;
  expected.rope_dim = 32;
  expected.q_lora_rank = 64;
  expected.o_groups = 2;
  expected.o_lora_rank = 64;
  expected.window = 32;
  expected.n_index_heads = 4;
  expected.index_head_dim = 64;
  expected.index_topk = 8;
  expected.n_experts = 8;
  expected.n_active_experts = 2;
  expected.expert_dim = 32;
  expected.n_hash_layers = 2;
  expected.routed_scaling = 1.5;
  expected.swiglu_limit = 2;
  expected.hc_mult = 4;
  expected.hc_sinkhorn_iters = 20;
  expected.hc_eps = 1e-6;
  expected.rms_norm_eps = 1e-6;
  expected.rope_theta = 10000;
  expected.compress_rope_theta = 160000;
  expected.yarn = {16, 1024, 32, 1};
  expected.max_position_embeddings = 512;
  expected.compress_ratios = {0, 4, 128, 4, 16};
  EXPECT_EQ(c, expected);
  EXPECT_EQ(c.kind(0), LayerKind::kSwa);
  EXPECT_EQ(c.kind(1), LayerKind::kCsa);
  EXPECT_EQ(c.kind(4), LayerKind::kHca);
  EXPECT_TRUE(c.is_hash_layer(1));
  EXPECT_FALSE(c.is_hash_layer(2));
}

TEST(Config, the_inference_dialect_says_the_same) {
  for (const char* model : {"t1", "t2", "t3"}) {
    const ModelConfig released = parse(golden_json(fmt::format("{}/config.json", model)));
    ModelConfig inference = parse(golden_json(fmt::format("{}/inference/config.json", model)));
    EXPECT_EQ(inference.max_position_embeddings, 1 << 20);  // that dialect has no such key
    inference.max_position_embeddings = released.max_position_embeddings;
    EXPECT_EQ(inference, released) << model;
  }
}

// The golden config t1, its ratio of 16 changed to 128, in the spelling with layer types.
Json newer_spelling() {
  Json json = golden_json("t1/config.json");
  for (const char* key : {"compress_ratios", "num_hash_layers", "qk_rope_head_dim", "rope_scaling",
                          "rope_theta", "compress_rope_theta"}) {
    json.erase(key);
  }
  json["layer_types"] = {"sliding_attention", "compressed_sparse_attention",
                         "heavily_compressed_attention", "compressed_sparse_attention",
                         "heavily_compressed_attention"};
  json["mlp_layer_types"] = {"hash_moe", "hash_moe", "moe", "moe", "moe"};
  json["partial_rotary_factor"] = 32.0 / 96;
  json["rope_parameters"] = {{"main", {{"rope_type", "default"}, {"rope_theta", 10000.0}}},
                             {"compress",
                              {{"rope_type", "yarn"},
                               {"rope_theta", 160000.0},
                               {"factor", 16.0},
                               {"original_max_position_embeddings", 1024},
                               {"beta_fast", 32.0},
                               {"beta_slow", 1.0}}}};
  return json;
}

TEST(Config, the_newer_spelling_says_the_same) {
  ModelConfig expected = parse(golden_json("t1/config.json"));
  expected.compress_ratios[4] = 128;
  EXPECT_EQ(parse(newer_spelling()), expected);

  Json with_thetas = newer_spelling();  // as written beside the nested form
  with_thetas["rope_theta"] = 10000.0;
  with_thetas["compress_rope_theta"] = 160000.0;
  EXPECT_EQ(parse(with_thetas), expected);

  Json flat = with_thetas;
  flat["rope_parameters"] = {
      {"rope_type", "yarn"}, {"factor", 16}, {"original_max_position_embeddings", 1024}};
  EXPECT_EQ(parse(flat), expected);

  Json rates = newer_spelling();
  rates["compress_rates"] = {{"compressed_sparse_attention", 4},
                             {"heavily_compressed_attention", 16}};
  expected.compress_ratios[2] = expected.compress_ratios[4] = 16;
  EXPECT_EQ(parse(rates), expected);
  rates["compress_rates"]["compressed_sparse_attention"] = 8;
  expect_part(error_of(rates.dump()), "compressed_sparse_attention is 8");
}

// Rotations that the model does not have are refused, not left out.
TEST(Config, the_newer_spelling_is_refused_where_it_says_something_else) {
  Json main_yarn = newer_spelling();
  main_yarn["rope_parameters"]["main"]["rope_type"] = "yarn";
  expect_part(error_of(main_yarn.dump()), "main: rope_type is \"yarn\"");
  Json scaled = newer_spelling();
  scaled["rope_parameters"]["compress"]["attention_factor"] = 1.0;  // as the library writes it
  parse(scaled);
  scaled["rope_parameters"]["compress"]["attention_factor"] = 1.27;
  expect_part(error_of(scaled.dump()), "attention_factor is 1.27");
  Json half = newer_spelling();
  half["rope_parameters"].erase("compress");
  half["compress_rope_theta"] = 160000.0;
  expect_part(error_of(half.dump()), "compress");
}

TEST(Config, refuses_layer_types_that_do_not_exist) {
  Json json = newer_spelling();
  json["layer_types"][1] = "full_attention";
  expect_part(error_of(json.dump()), "layer_types: \"full_attention\"");
  json = newer_spelling();
  json["mlp_layer_types"] = {"moe", "hash_moe", "moe", "moe", "moe"};
  expect_part(error_of(json.dump()), "hash layers must come first");
  json["mlp_layer_types"] = {"hash_moe", "moe"};
  expect_part(error_of(json.dump()), "at least 5 layers");
}

TEST(Config, numbers_may_be_written_with_a_point) {
  Json json = golden_json("t1/config.json");
  const ModelConfig expected = parse(json);
  json["vocab_size"] = 512.0;
  json["rope_scaling"]["factor"] = 16.0;
  json["compress_ratios"][1] = 4.0;
  json["n_shared_experts"] = 1.0;
  EXPECT_EQ(parse(json), expected);
  expect_part(error_with("vocab_size", 512.5), "vocab_size: 512.5 is not a whole number");
}

TEST(Config, extra_ratios_belong_to_drafters) {
  Json json = golden_json("t1/config.json");
  const ModelConfig expected = parse(json);
  json["compress_ratios"].insert(json["compress_ratios"].end(), {0, 0});
  EXPECT_EQ(parse(json), expected);
  json["dspark_block_size"] = 5;
  EXPECT_TRUE(parse(json).has_dspark);
  expect_part(error_with("compress_ratios", {0, 4}), "at least 5 layers");
  expect_part(error_with("compress_ratios", {0, 4, -128, 4, 16}), "compress_ratios: -128");
}

TEST(Config, names_missing_keys_in_both_dialects) {
  for (const auto& [key, other] :
       std::vector<std::pair<const char*, const char*>>{{"hidden_size", "dim"},
                                                        {"num_hidden_layers", "n_layers"},
                                                        {"num_attention_heads", "n_heads"},
                                                        {"sliding_window", "window_size"},
                                                        {"moe_intermediate_size", "moe_inter_dim"},
                                                        {"num_hash_layers", "n_hash_layers"},
                                                        {"routed_scaling_factor", "route_scale"},
                                                        {"qk_rope_head_dim", "rope_head_dim"},
                                                        {"compress_ratios", "layer_types"},
                                                        {"rope_scaling", "rope_factor"}}) {
    const std::string message = error_without("t1/config.json", key);
    expect_part(message, fmt::format("config.json: {}: is missing", key));
    expect_part(message, other);
  }
  // Values that matter are never made up.
  for (const char* key :
       {"vocab_size", "head_dim", "q_lora_rank", "o_groups", "o_lora_rank", "index_n_heads",
        "index_head_dim", "index_topk", "n_routed_experts", "num_experts_per_tok", "swiglu_limit",
        "hc_mult", "hc_sinkhorn_iters", "rope_theta", "compress_rope_theta"}) {
    expect_part(error_without("t1/config.json", key), fmt::format("{}: is missing", key));
  }
  expect_part(error_without("t1/inference/config.json", "rope_factor"), "factor: is missing");
  expect_part(error_without("t1/inference/config.json", "original_seq_len"), "is missing");
}

TEST(Config, keys_of_absent_kinds_of_layers_may_be_absent) {
  Json json = golden_json("t1/config.json");
  json["compress_ratios"] = {0, 0, 128, 0, 16};
  for (const char* key : {"index_n_heads", "index_head_dim", "index_topk"}) json.erase(key);
  parse(json);
  json["compress_ratios"] = {0, 0, 0, 0, 0};
  for (const char* key : {"rope_scaling", "compress_rope_theta"}) json.erase(key);
  parse(json);
}

TEST(Config, rope_scaling_may_be_off) {
  Json json = golden_json("t1/config.json");
  json["rope_scaling"] = nullptr;
  EXPECT_EQ(parse(json).yarn, YarnConfig());
  json["rope_scaling"] = {{"rope_type", "default"}};
  EXPECT_EQ(parse(json).yarn, YarnConfig());
  json["rope_scaling"] = {{"type", "linear"}, {"factor", 2}};
  expect_part(error_of(json.dump()), "is \"linear\", dsv4 supports \"yarn\" only");
}

TEST(Config, refuses_what_it_cannot_run_by_name) {
  for (const auto& [key, value] : std::vector<std::pair<const char*, Json>>{
           {"model_type", "deepseek_v3"},
           {"scoring_func", "sigmoid"},
           {"hidden_act", "gelu"},
           {"topk_method", "greedy"},
           {"norm_topk_prob", false},
           {"tie_word_embeddings", true},
           {"attention_bias", true},
           {"n_shared_experts", 2},
           {"num_key_value_heads", 4},
           {"text_config", Json::object()},
           {"engram_layer_ids", {1, 14}},
           {"quantization_config", {{"quant_method", "gptq"}}}}) {
    Json json = golden_json("t1/config.json");
    json[key] = value;
    try {
      parse(json);
      ADD_FAILURE() << key;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kUnsupported) << key;
      expect_part(error.what(), key);
    }
  }
  // A V4.1 file has its sizes elsewhere; that must not be what the message is about.
  expect_part(error_of(R"({"model_type":"deepseek_v41","text_config":{"hidden_size":5120}})"),
              "V4.1");
}

TEST(Config, refuses_values_out_of_range) {
  for (const auto& [key, value] : std::vector<std::pair<const char*, Json>>{
           {"vocab_size", 0},
           {"vocab_size", -1},
           {"vocab_size", 1e300},
           {"vocab_size", "512"},
           {"vocab_size", true},
           {"hidden_size", int64_t{1} << 40},
           {"num_hidden_layers", 0},
           {"num_hidden_layers", 100000},
           {"num_attention_heads", 3},  // not divisible into 2 groups
           {"head_dim", 300000},
           {"o_lora_rank", 0},
           {"sliding_window", 0},
           {"num_experts_per_tok", 9},
           {"num_experts_per_tok", 0},
           {"n_routed_experts", 1 << 20},
           {"moe_intermediate_size", 0},
           {"index_head_dim", 48},
           {"index_head_dim", 16},  // fewer than the rotary dimensions
           {"index_topk", 0},
           {"hc_mult", 0},
           {"hc_mult", 17},
           {"hc_sinkhorn_iters", 0},
           {"qk_rope_head_dim", 31},
           {"qk_rope_head_dim", 98},
           {"num_hash_layers", -1},
           {"rms_norm_eps", -1},
           {"rope_theta", 0},
           {"eos_token_id", 512},
           {"rope_scaling", 5},
           {"compress_ratios", 4}}) {
    EXPECT_NE(error_with(key, value), "") << key << " = " << value;
  }
}

TEST(Config, reads_the_block_size_of_the_scales) {
  Json json = golden_json("t1/config.json");
  EXPECT_EQ(parse(json).fp8_block, (ScaleBlock{128, 128}));
  json["quantization_config"] = {
      {"quant_method", "fp8"}, {"fmt", "e4m3"}, {"weight_block_size", {32, 64}}};
  EXPECT_EQ(parse(json).fp8_block, (ScaleBlock{32, 64}));
  json["quantization_config"]["weight_block_size"] = {0, 64};
  expect_part(error_of(json.dump()), "weight_block_size");
  json["quantization_config"]["weight_block_size"] = {64};
  expect_part(error_of(json.dump()), "weight_block_size");
}

// The config of t1 with this quantization_config.
ModelConfig parse_quantized(const Json& quantization) {
  Json json = golden_json("t1/config.json");
  json["quantization_config"] = quantization;
  return parse(json);
}

void expect_quantization_refused(const Json& quantization, const std::string& part) {
  try {
    parse_quantized(quantization);
    ADD_FAILURE() << quantization;
  } catch (const Error& error) {
    expect_part(error.what(), "config.json: quantization_config");
    expect_part(error.what(), part);
  }
}

TEST(Config, reads_the_groups_of_awq) {
  Json awq = {{"quant_method", "awq"}, {"bits", 4},
              {"group_size", 128},     {"zero_point", true},
              {"version", "gemm"},     {"modules_to_not_convert", {"lm_head"}}};
  EXPECT_EQ(parse_quantized(awq).int4, (Int4Config{Int4Method::kAwq, 128, false}));
  awq["group_size"] = -1;
  awq["version"] = "GEMM";
  EXPECT_EQ(parse_quantized(awq).int4, (Int4Config{Int4Method::kAwq, 0, false}));
  EXPECT_EQ(parse(golden_json("t1/config.json")).int4, Int4Config{});
  for (const auto& [key, value] : std::vector<std::pair<const char*, Json>>{{"bits", 8},
                                                                            {"bits", 0},
                                                                            {"bits", "4"},
                                                                            {"bits", nullptr},
                                                                            {"group_size", 0},
                                                                            {"group_size", -2},
                                                                            {"group_size", 1.5},
                                                                            {"group_size", 1e30},
                                                                            {"group_size", nullptr},
                                                                            {"version", "gemv"},
                                                                            {"version", 5}}) {
    Json damaged = awq;
    damaged[key] = value;
    expect_quantization_refused(damaged, key);
  }
}

TEST(Config, reads_the_scheme_of_compressed_tensors) {
  const Json weights = {{"num_bits", 4},       {"type", "int"},    {"symmetric", true},
                        {"strategy", "group"}, {"group_size", 32}, {"actorder", "weight"},
                        {"dynamic", false},    {"observer", "mse"}};
  const Json group = {
      {"weights", weights}, {"targets", {"Linear"}}, {"input_activations", nullptr}};
  const Json good = {{"quant_method", "compressed-tensors"},
                     {"format", "pack-quantized"},
                     {"quantization_status", "compressed"},
                     {"sparsity_config", Json::object()},
                     {"config_groups", {{"group_0", group}, {"group_1", group}}},
                     {"ignore", {"lm_head"}}};
  EXPECT_EQ(parse_quantized(good).int4, (Int4Config{Int4Method::kCompressedTensors, 32, true}));
  const auto with = [&](const char* key, const Json& value) {
    Json json = good;
    for (Json& other : json["config_groups"]) other["weights"][key] = value;
    return json;
  };
  EXPECT_EQ(parse_quantized(with("symmetric", false)).int4,
            (Int4Config{Int4Method::kCompressedTensors, 32, false}));
  EXPECT_EQ(parse_quantized(with("strategy", "channel")).int4,
            (Int4Config{Int4Method::kCompressedTensors, 0, true}));
  for (const auto& [key, value] : std::vector<std::pair<const char*, Json>>{{"num_bits", 8},
                                                                            {"num_bits", nullptr},
                                                                            {"type", "float"},
                                                                            {"symmetric", 1},
                                                                            {"strategy", "tensor"},
                                                                            {"group_size", 0},
                                                                            {"group_size", nullptr},
                                                                            {"actorder", "group"},
                                                                            {"dynamic", true}}) {
    expect_quantization_refused(with(key, value), key);
  }
  for (const auto& [key, value] : std::vector<std::pair<const char*, Json>>{
           {"format", "marlin-24"},
           {"format", "mixed-precision"},
           {"sparsity_config", {{"format", "sparse-24-bitmask"}}},
           {"config_groups", nullptr},
           {"config_groups", Json::object()},
           {"config_groups", {{"group_0", 5}}},
           {"config_groups", {{"group_0", {{"targets", {"Linear"}}}}}}}) {
    Json damaged = good;
    damaged[key] = value;
    expect_quantization_refused(damaged, key);
  }
  Json other = good;
  other["config_groups"]["group_1"]["weights"]["group_size"] = 64;
  expect_quantization_refused(other, "different schemes");
  other = good;
  other["config_groups"]["group_1"]["input_activations"] = {{"num_bits", 8}};
  expect_quantization_refused(other, "input_activations");
}

TEST(Config, writes_the_quantization_that_it_reads) {
  ModelConfig config = preset_config("tiny");
  for (const Int4Config& int4 :
       {Int4Config{Int4Method::kAwq, 128, false}, Int4Config{Int4Method::kAwq, 0, false},
        Int4Config{Int4Method::kCompressedTensors, 32, true},
        Int4Config{Int4Method::kCompressedTensors, 0, false}}) {
    config.int4 = int4;
    EXPECT_EQ(parse_config(config_to_json(config), "config.json"), config);
  }
}

TEST(Config, refuses_text_that_is_not_an_object) {
  for (const char* text : {"", "{", "[]", "5", "{\"vocab_size\":1e999}", "\xff"}) {
    expect_part(error_of(text), "config.json");
  }
  const std::string deep = "{\"a\":" + std::string(100000, '[') + std::string(100000, ']') + "}";
  expect_part(error_of(deep), "nested deeper");
  expect_part(error_with("hidden_act", std::string(5000, 'x')), "xxx...");
}

int64_t draw(uint64_t seed, uint64_t& index, int64_t low, int64_t high) {
  const auto range = static_cast<uint64_t>(high - low + 1);
  return low + static_cast<int64_t>(random_bits(seed, 7, index++) % range);
}

ModelConfig random_config(uint64_t seed) {
  uint64_t i = 0;
  ModelConfig c;
  c.vocab_size = draw(seed, i, 2, 200000);
  c.hidden_size = draw(seed, i, 1, 10000);
  c.n_layers = draw(seed, i, 1, 70);
  c.n_mtp_layers = draw(seed, i, 0, 3);
  c.o_groups = draw(seed, i, 1, 16);
  c.n_heads = c.o_groups * draw(seed, i, 1, 8);
  c.rope_dim = 2 * draw(seed, i, 1, 32);
  c.head_dim = c.rope_dim + draw(seed, i, 0, 400);
  c.q_lora_rank = draw(seed, i, 1, 2000);
  c.o_lora_rank = draw(seed, i, 1, 2000);
  c.window = draw(seed, i, 1, 4096);
  c.n_index_heads = draw(seed, i, 1, 64);
  c.index_head_dim = int64_t{64} << draw(seed, i, 0, 2);
  c.index_topk = draw(seed, i, 1, 2048);
  c.n_experts = draw(seed, i, 1, 500);
  c.n_active_experts = draw(seed, i, 1, c.n_experts);
  c.expert_dim = draw(seed, i, 1, 5000);
  c.n_hash_layers = draw(seed, i, 0, c.n_layers);
  c.routed_scaling = random_uniform(seed, 8, 0) * 3;
  c.swiglu_limit = random_uniform(seed, 8, 1) * 10;
  c.hc_mult = draw(seed, i, 1, 16);
  c.hc_sinkhorn_iters = draw(seed, i, 1, 40);
  c.hc_eps = random_uniform(seed, 8, 2) * 1e-5;
  c.rms_norm_eps = random_uniform(seed, 8, 3) * 1e-5;
  c.rope_theta = 10000 + random_uniform(seed, 8, 4);
  c.compress_rope_theta = 160000 + random_uniform(seed, 8, 5);
  c.yarn = {1 + random_uniform(seed, 8, 6) * 40, draw(seed, i, 0, 1 << 20),
            1 + random_uniform(seed, 8, 7), random_uniform(seed, 8, 8) + 0.01};
  c.max_position_embeddings = draw(seed, i, 1, 1 << 20);
  c.bos_token_id = draw(seed, i, 0, c.vocab_size - 1);
  c.eos_token_id = draw(seed, i, 0, c.vocab_size - 1);
  c.fp8_block = {draw(seed, i, 1, 256), draw(seed, i, 1, 256)};
  constexpr int64_t kRatios[] = {0, 4, 128, 12};
  for (int64_t l = 0; l < c.n_layers; ++l)
    c.compress_ratios.push_back(kRatios[draw(seed, i, 0, 3)]);
  c.compress_ratios[0] = 4;  // without any CSA layer the indexer's sizes are not kept
  c.has_dspark = draw(seed, i, 0, 1) == 1;
  return c;
}

TEST(Config, what_is_written_reads_back_the_same) {
  for (uint64_t seed = 0; seed < 200; ++seed) {
    const ModelConfig config = random_config(seed);
    EXPECT_EQ(parse_config(config_to_json(config), "x"), config) << "seed " << seed;
  }
  for (const char* name : {"flash", "pro", "745b", "tiny"}) {
    EXPECT_EQ(parse_config(config_to_json(preset_config(name)), "x"), preset_config(name)) << name;
  }
}

// Any damage to a config gives a config or an Error, nothing else.
TEST(Config, every_flipped_bit_and_every_truncation_is_handled) {
  const std::string text = golden_json("t3/config.json").dump();
  for (size_t size = 0; size < text.size(); ++size) {
    EXPECT_NE(error_of(text.substr(0, size)), "") << size;
  }
  size_t n_accepted = 0;
  for (size_t bit = 0; bit < 8 * text.size(); ++bit) {
    std::string flipped = text;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << bit % 8));
    n_accepted += error_of(flipped).empty() ? 1 : 0;
  }
  EXPECT_LT(n_accepted, 8 * text.size());
}

TEST(Config, presets_are_the_released_models) {
  const ModelConfig flash = preset_config("flash");
  EXPECT_EQ(flash.index_topk, 512);
  EXPECT_EQ(flash.n_active_experts, 6);
  EXPECT_EQ(flash.routed_scaling, 1.5);
  EXPECT_EQ(flash.compress_ratios.size(), 43u);
  EXPECT_EQ(std::ranges::count(flash.compress_ratios, 0), 2);
  EXPECT_EQ(std::ranges::count(flash.compress_ratios, 4), 21);
  EXPECT_EQ(std::ranges::count(flash.compress_ratios, 128), 20);
  const ModelConfig pro = preset_config("pro");
  EXPECT_EQ(pro.compress_ratios.size(), 61u);
  EXPECT_EQ(std::ranges::count(pro.compress_ratios, 4), 30);
  EXPECT_EQ(std::ranges::count(pro.compress_ratios, 128), 31);
  EXPECT_EQ(pro.index_topk, 1024);
  EXPECT_EQ(pro.routed_scaling, 2.5);
  for (const ModelConfig& c : {flash, pro, preset_config("745b")}) {
    EXPECT_EQ(c.window, 128);
    EXPECT_EQ(c.n_hash_layers, 3);
    EXPECT_EQ(c.n_mtp_layers, 1);
    EXPECT_EQ(c.swiglu_limit, 10);
    EXPECT_EQ(c.hc_sinkhorn_iters, 20);
    EXPECT_EQ(c.hc_eps, 1e-6);
    EXPECT_EQ(c.rms_norm_eps, 1e-6);
    EXPECT_EQ(c.rope_theta, 10000);
    EXPECT_EQ(c.compress_rope_theta, 160000);
    EXPECT_EQ(c.yarn, (YarnConfig{16, 65536, 32, 1}));
    EXPECT_EQ(c.max_position_embeddings, 1048576);
    EXPECT_EQ(c.bos_token_id, 0);
    EXPECT_EQ(c.eos_token_id, 1);
  }
  EXPECT_EQ(pro.compress_ratios[0], 128);
  EXPECT_EQ(pro.compress_ratios[2], 4);
  EXPECT_EQ(preset_config("745b").compress_ratios.size(), 49u);
  EXPECT_THROW(preset_config("huge"), Error);
}

}  // namespace
}  // namespace dsv4
