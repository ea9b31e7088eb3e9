// Weights in INT4: the values that were encoded, the logits of the decoded model, and every kind of
// damage named.
#include "model/int4_weights.h"

#include "base/error.h"
#include "base/json.h"
#include "base/mapped_file.h"
#include "base/thread_pool.h"
#include "kernels/cpu/cpu_ops.h"
#include "model/int4_testing.h"
#include "model/model.h"
#include "model/names.h"

#include <filesystem>
#include <fstream>
#include <numeric>

#include <gtest/gtest.h>
#include <unistd.h>
#include <nlohmann/json.hpp>

namespace dsv4 {
namespace {

namespace fs = std::filesystem;

// small_config() with widths that the formats can have.
ModelConfig int4_config(const Int4Config& int4) {
  ModelConfig c = small_config();
  c.n_heads = 4;
  c.head_dim = 48;
  c.q_lora_rank = 32;
  c.o_lora_rank = 16;
  c.int4 = int4;
  return c;
}

class Int4Weights : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / fmt::format("dsv4-int4-{}", ::getpid());
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  void write(const fs::path& file, const Tensors& tensors) const {
    std::vector<SafetensorsWriter::Declaration> declarations;
    for (const auto& [name, tensor] : tensors) {
      declarations.push_back({name, tensor.dtype, tensor.shape});
    }
    SafetensorsWriter writer(file, declarations);
    for (const auto& [name, tensor] : tensors) writer.append(tensor.data);
    writer.finish();
  }

  Checkpoint open(const Tensors& tensors) const {
    write(folder_ / "model.safetensors", tensors);
    return open_checkpoint(folder_);
  }

  void expect_refused(const Tensors& tensors, const Int4Config& int4,
                      const std::vector<std::string>& parts) const {
    const Checkpoint checkpoint = open(tensors);
    try {
      load_weights(checkpoint, int4_config(int4));
      ADD_FAILURE() << "accepted, expected: " << parts.front();
    } catch (const Error& error) {
      const std::string message = error.what();
      EXPECT_NE(message.find((folder_ / "model.safetensors").string()), std::string::npos)
          << message;
      for (const std::string& part : parts) {
        EXPECT_NE(message.find(part), std::string::npos) << "no '" << part << "' in: " << message;
      }
    }
  }

  fs::path folder_;
};

// The spec's example in bits: a word of AWQ and one of compressed-tensors, by hand.
TEST_F(Int4Weights, words_by_hand) {
  // 8 outputs, 8 inputs in one group. AWQ: column i of the inputs is a row of one word, whose
  // nibbles from the lowest hold outputs 0 2 4 6 1 3 5 7.
  uint32_t qweight[8] = {0x75316420};     // output j has the integer j at input 0
  const uint32_t qzeros = 0x00000003;     // 3 for output 0
  uint16_t scales[8] = {0x3C00, 0x4000};  // 1, 2, 0, ...
  scales[7] = 0xB800;                     // -0.5
  const QuantMatrix awq{.data = reinterpret_cast<const std::byte*>(qweight),
                        .scales = reinterpret_cast<const std::byte*>(scales),
                        .zeros = reinterpret_cast<const std::byte*>(&qzeros),
                        .rows = 8,
                        .cols = 8,
                        .block_cols = 8,
                        .scale_cols = 8,
                        .format = WeightFormat::kAwqInt4,
                        .scale_format = ScaleFormat::kF16};
  for (const auto& [row, expected] :
       std::vector<std::pair<int64_t, float>>{{0, -3.0f}, {1, 2.0f}, {2, 0.0f}, {7, -3.5f}}) {
    float value = 0;
    awq.decode(row, 0, 1, &value);
    EXPECT_EQ(value, expected) << row;
  }
  // compressed-tensors: inputs from the lowest nibble, 8 more than they are.
  const uint32_t packed = 0xF0A98761;
  const uint32_t zero_point = 0x0000000A;  // 2
  const float scale = 0.25f;
  QuantMatrix m{.data = reinterpret_cast<const std::byte*>(&packed),
                .scales = reinterpret_cast<const std::byte*>(&scale),
                .rows = 1,
                .cols = 8,
                .block_cols = 8,
                .scale_cols = 1,
                .format = WeightFormat::kPackedInt4,
                .scale_format = ScaleFormat::kF32};
  const float symmetric[8] = {-1.75f, -0.5f, -0.25f, 0, 0.25f, 0.5f, -2, 1.75f};
  for (const float zero : {0.0f, 0.5f}) {
    if (zero != 0) m.zeros = reinterpret_cast<const std::byte*>(&zero_point);
    float values[8];
    m.decode(0, 0, 8, values);
    for (size_t i = 0; i < 8; ++i) EXPECT_EQ(values[i], symmetric[i] - zero) << i;
  }
}

// Every weight that may be INT4 is, every second one, or only the experts.
bool always(const TensorSpec&) { return true; }
bool expert(const TensorSpec& spec) { return spec.cls == TensorClass::kRoutedExpert; }
bool attention(const TensorSpec& spec) { return spec.cls == TensorClass::kAttention; }

bool can_be_int4(const TensorSpec& spec) {
  return spec.shape.size() == 2 && spec.name.ends_with(".weight") && spec.shape[0] % 8 == 0 &&
         spec.cls != TensorClass::kEmbedding;
}

// What weights mean, by name, where they are INT4.
using Decoded = std::map<std::string, std::vector<float>>;

Decoded encode_some(Tensors& tensors, const ModelConfig& config, const Int4Style& style,
                    bool (*wanted)(const TensorSpec&)) {
  Decoded decoded;
  for (const TensorSpec& spec : all_specs(config)) {
    if (!can_be_int4(spec) || !wanted(spec) || !tensors.contains(spec.name)) continue;
    decoded[spec.name] = to_int4(tensors, spec.name, style);
  }
  return decoded;
}

Tensors int4_checkpoint(const ModelConfig& config, const Int4Style& style, Decoded* decoded) {
  Tensors tensors = random_checkpoint(config, kStyles[5]);
  Decoded values = encode_some(tensors, config, style, always);
  if (decoded != nullptr) *decoded = std::move(values);
  return tensors;
}

TEST_F(Int4Weights, hold_the_values_that_were_encoded) {
  for (Int4Style style : kInt4Styles) {
    SCOPED_TRACE(style.name);
    if (style.config.group_size != 0) style.config.group_size = 16;
    const ModelConfig config = int4_config(style.config);
    Decoded decoded;
    const Checkpoint checkpoint = open(int4_checkpoint(config, style, &decoded));
    const ModelWeights weights = load_weights(checkpoint, config);
    const Loaded loaded(weights, config);
    EXPECT_GT(decoded.size(), 60u);
    for (const auto& [name, values] : decoded) {
      const QuantMatrix& m = *loaded.matrices().at(name);
      ASSERT_EQ(m.rows * m.cols, static_cast<int64_t>(values.size())) << name;
      std::vector<float> row(static_cast<size_t>(m.cols));
      for (int64_t r = 0; r < m.rows; ++r) {
        m.decode(r, 0, m.cols, row.data());
        for (int64_t c = 0; c < m.cols; ++c) {
          ASSERT_EQ(row[static_cast<size_t>(c)], values[static_cast<size_t>(r * m.cols + c)])
              << name << " row " << r << " column " << c;
        }
      }
    }
  }
}

TEST_F(Int4Weights, missing_misshaped_and_mistyped_tensors_are_named) {
  const std::string stem = "layers.1.ffn.experts.2.w3.";
  for (const Int4Style& style : {kInt4Styles[0], kInt4Styles[3]}) {
    const Int4Config int4 = {style.config.method, 16, false};
    const Tensors tensors =
        int4_checkpoint(int4_config(int4), {"", int4, style.scale, style.shape}, nullptr);
    int n_tensors = 0;
    for (const std::string& suffix : int4_suffixes()) {
      const std::string name = stem + suffix;
      if (!tensors.contains(name)) continue;
      ++n_tensors;
      Tensors damaged = tensors;
      damaged.erase(name);
      const bool codes = suffix == "qweight" || suffix == "weight_packed";
      expect_refused(damaged, int4, {codes ? stem + "weight" : name, "missing"});
      for (const size_t axis : {size_t{0}, tensors.at(name).shape.size() - 1}) {
        std::vector<int64_t> shape = tensors.at(name).shape;
        ++shape[axis];
        damaged[name] = random_tensor(name, tensors.at(name).dtype, shape);
        expect_refused(damaged, int4, {fmt::format("tensor {} at byte", name), "has shape"});
      }
      damaged[name] = random_tensor(name, DType::kU8, tensors.at(name).shape);
      expect_refused(damaged, int4, {fmt::format("tensor {} at byte", name), "of type U8"});
    }
    EXPECT_EQ(n_tensors, style.config.method == Int4Method::kAwq ? 3 : 4);
  }
}

TEST_F(Int4Weights, what_does_not_fit_the_configuration_is_refused) {
  const Int4Config awq = {Int4Method::kAwq, 16, false};
  const Int4Config packed = {Int4Method::kCompressedTensors, 16, true};
  const Tensors awq_tensors = int4_checkpoint(int4_config(awq), {"", awq}, nullptr);
  const Tensors tensors = int4_checkpoint(int4_config(packed), {"", packed}, nullptr);
  // Other methods than the configuration's.
  expect_refused(awq_tensors, {}, {"qweight at byte", "quantization_config"});
  expect_refused(awq_tensors, packed, {"qweight at byte", "\"awq\""});
  expect_refused(tensors, awq, {"weight_packed at byte", "\"compressed-tensors\""});
  // Other groups.
  expect_refused(tensors, {Int4Method::kCompressedTensors, 32, true}, {"weight_scale", "shape"});
  expect_refused(tensors, {Int4Method::kCompressedTensors, 7, true},
                 {"groups of 7 do not divide its"});
  expect_refused(awq_tensors, {Int4Method::kAwq, 1 << 18, false}, {"groups of 262144"});
  // Zero points where there should be none, and the other way round.
  const std::string stem = "layers.0.attn.wq_a.";
  Tensors damaged = tensors;
  damaged[stem + "weight_zero_point"] = random_tensor("x", DType::kI32, {4, 10});
  expect_refused(damaged, packed, {stem + "weight_zero_point", "no such tensor"});
  expect_refused(tensors, {Int4Method::kCompressedTensors, 16, false},
                 {"weight_zero_point", "missing"});
  // A weight twice, an order of columns, another size before packing.
  damaged = tensors;
  damaged[stem + "weight"] = random_tensor("x", DType::kBF16, {32, 160});
  expect_refused(damaged, packed, {stem + "weight_packed", "no such tensor"});
  damaged = tensors;
  damaged[stem + "weight_g_idx"] = random_tensor("x", DType::kI32, {160});
  expect_refused(damaged, packed, {stem + "weight_g_idx", "order"});
  for (const int64_t size : {int64_t{-160}, int64_t{0}, int64_t{1} << 62, int64_t{161}}) {
    damaged = tensors;
    std::memcpy(damaged[stem + "weight_shape"].data.data() + 8, &size, 8);
    expect_refused(damaged, packed, {stem + "weight_shape", fmt::format("entry 1 is {}", size)});
  }
  // The embedding, whose rows are read one at a time.
  damaged = tensors;
  to_int4(damaged, "embed.weight", {"", packed});
  expect_refused(damaged, packed, {"embed.weight", "missing"});
}

TEST_F(Int4Weights, awq_needs_whole_words_of_outputs) {
  const Int4Config awq = {Int4Method::kAwq, 16, false};
  Tensors tensors = int4_checkpoint(int4_config(awq), {"", awq}, nullptr);
  const std::string stem = "layers.1.attn.indexer.weights_proj.";  // 2 outputs
  tensors.erase(stem + "weight");
  tensors[stem + "qweight"] = random_tensor("x", DType::kI32, {160, 1});
  expect_refused(tensors, awq, {stem + "qweight", "multiple of 8 outputs, this has 2"});
}

// The names that transformers gives: pairs of released and its own, applied in order.
std::string hugging_face_name(std::string name) {
  static const std::vector<std::pair<std::string, std::string>> kPairs = {
      {".ffn.shared_experts.w1", ".mlp.shared_experts.gate_proj"},
      {".ffn.shared_experts.w2", ".mlp.shared_experts.down_proj"},
      {".ffn.shared_experts.w3", ".mlp.shared_experts.up_proj"},
      {".w1.", ".gate_proj."},
      {".w2.", ".down_proj."},
      {".w3.", ".up_proj."},
      {".ffn.experts.", ".mlp.experts."},
      {".ffn.gate.bias", ".mlp.gate.e_score_correction_bias"},
      {".ffn.gate.", ".mlp.gate."},
      {".attn_norm.", ".input_layernorm."},
      {".ffn_norm.", ".post_attention_layernorm."},
      {".hc_attn_", ".attn_hc."},
      {".hc_ffn_", ".ffn_hc."},
      {".attn.indexer.compressor.wkv.", ".self_attn.compressor.indexer.kv_proj."},
      {".attn.indexer.compressor.wgate.", ".self_attn.compressor.indexer.gate_proj."},
      {".attn.indexer.compressor.ape", ".self_attn.compressor.indexer.position_bias"},
      {".attn.indexer.compressor.norm.", ".self_attn.compressor.indexer.kv_norm."},
      {".attn.indexer.wq_b.", ".self_attn.compressor.indexer.q_b_proj."},
      {".attn.indexer.weights_proj.", ".self_attn.compressor.indexer.scorer.weights_proj."},
      {".attn.compressor.wkv.", ".self_attn.compressor.kv_proj."},
      {".attn.compressor.wgate.", ".self_attn.compressor.gate_proj."},
      {".attn.compressor.ape", ".self_attn.compressor.position_bias"},
      {".attn.compressor.norm.", ".self_attn.compressor.kv_norm."},
      {".attn.wq_a.", ".self_attn.q_a_proj."},
      {".attn.q_norm.", ".self_attn.q_a_norm."},
      {".attn.wq_b.", ".self_attn.q_b_proj."},
      {".attn.wkv.", ".self_attn.kv_proj."},
      {".attn.kv_norm.", ".self_attn.kv_norm."},
      {".attn.attn_sink", ".self_attn.sinks"},
      {".attn.wo_a.", ".self_attn.o_a_proj."},
      {".attn.wo_b.", ".self_attn.o_b_proj."}};
  if (name == "hc_head_fn" || name == "hc_head_base" || name == "hc_head_scale") {
    return "model.hc_head." + name.substr(0, 3) + name.substr(8);
  }
  if (name.starts_with("head.")) return "lm_" + name;
  if (name.starts_with("embed.")) return "model.embed_tokens" + name.substr(5);
  for (const auto& [from, to] : kPairs) {
    if (const size_t at = name.find(from); at != std::string::npos)
      name.replace(at, from.size(), to);
  }
  return "model." + name;
}

TEST_F(Int4Weights, are_found_under_the_names_of_hugging_face) {
  for (const Int4Style& style : {kInt4Styles[1], kInt4Styles[4]}) {
    const ModelConfig config = int4_config(style.config);
    const Tensors released = int4_checkpoint(config, style, nullptr);
    Tensors renamed;
    for (const auto& [name, tensor] : released) {
      if (!name.starts_with("mtp.")) renamed[hugging_face_name(name)] = tensor;
    }
    ASSERT_TRUE(renamed.contains(style.config.method == Int4Method::kAwq
                                     ? "model.layers.1.self_attn.q_a_proj.qzeros"
                                     : "model.layers.1.self_attn.q_a_proj.weight_zero_point"));
    const Checkpoint checkpoint = open(renamed);
    EXPECT_NO_THROW(load_weights(checkpoint, config));
    for (const auto& [name, tensor] : released) {
      if (name.starts_with("mtp.")) continue;
      const StoredTensor* found = checkpoint.find(name);
      ASSERT_NE(found, nullptr) << name;
      EXPECT_TRUE(std::ranges::equal(found->data, tensor.data)) << name;
    }
  }
}

// The golden model t1 with some of its weights in INT4, and the same decoded to F32: the logits are
// the same bits.
class Int4Model : public Int4Weights {
 protected:
  Int4Model() : pool_(2), ops_(make_cpu_ops(pool_)) {}

  void write_model(const std::string& name, const Tensors& tensors,
                   const nlohmann::json& quantization) const {
    const fs::path path = folder_ / name;
    fs::create_directories(path);
    write(path / "model.safetensors", tensors);
    nlohmann::json config = parse_json(read_file(golden() + "/config.json"), "config.json");
    if (!quantization.is_null()) config["quantization_config"] = quantization;
    std::ofstream(path / "config.json") << config.dump();
  }

  // State in float32: weights are what is looked at.
  std::vector<float> logits(const fs::path& path, Numerics numerics = Numerics::kExact) {
    Model model(path, *ops_, {.numerics = numerics, .kv = KvStorage::kF32, .max_batch_tokens = 64});
    SequenceState state(model.state_layout());
    std::vector<int32_t> ids(48);
    for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<int32_t>(i * 37 % 512);
    Batch batch;
    batch.add(state, ids);
    Tensor<float, 2> out({batch.n_tokens(), model.config().vocab_size});
    model.logits(model.forward(batch), out.view());
    return {out.view().data(), out.view().data() + out.view().count()};
  }

  static std::string golden() { return std::string(DSV4_SOURCE_DIR) + "/tests/golden/t1"; }

  static Tensors golden_tensors() {
    const Checkpoint checkpoint = Checkpoint::open(golden());
    Tensors tensors;
    for (const StoredTensor& t : checkpoint.tensors()) {
      tensors[t.name] = {t.dtype, t.shape, {t.data.begin(), t.data.end()}};
    }
    return tensors;
  }

  ThreadPool pool_;
  std::unique_ptr<Ops> ops_;
};

double rms(const std::vector<float>& a, const std::vector<float>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += std::pow(double{a[i]} - double{b[i]}, 2);
  return std::sqrt(sum / static_cast<double>(a.size()));
}

nlohmann::json quantization(const Int4Config& int4) {
  const int64_t size = int4.group_size == 0 ? -1 : int4.group_size;
  if (int4.method == Int4Method::kAwq) {
    return {{"quant_method", "awq"}, {"bits", 4},         {"group_size", size},
            {"zero_point", true},    {"version", "gemm"}, {"modules_to_not_convert", {"lm_head"}}};
  }
  nlohmann::json weights = {{"num_bits", 4},      {"type", "int"},
                            {"dynamic", false},   {"symmetric", int4.symmetric},
                            {"group_size", size}, {"strategy", size < 0 ? "channel" : "group"}};
  if (size < 0) weights["group_size"] = nullptr;
  const nlohmann::json group = {
      {"weights", weights}, {"targets", {"Linear"}}, {"input_activations", nullptr}};
  return {{"quant_method", "compressed-tensors"},
          {"format", "pack-quantized"},
          {"config_groups", {{"group_0", group}}},
          {"ignore", {"lm_head", "re:.*gate$"}}};
}

TEST_F(Int4Model, has_the_logits_of_the_decoded_weights) {
  const ModelConfig config = load_config(golden());
  const std::vector<float> original = logits(golden());
  bool (*const choices[])(const TensorSpec&) = {always, expert, attention};
  for (size_t i = 0; i < kInt4Styles.size(); ++i) {
    const Int4Style& style = kInt4Styles[i];
    SCOPED_TRACE(style.name);
    Tensors int4 = golden_tensors();
    const Decoded decoded = encode_some(int4, config, style, choices[i % 3]);
    ASSERT_GT(decoded.size(), 20u);
    Tensors plain = golden_tensors();
    for (const auto& [name, values] : decoded) {
      StoredWriter writer(DType::kF32, plain.at(name).shape);
      for (size_t k = 0; k < values.size(); ++k) {
        writer.put(static_cast<int64_t>(k), std::bit_cast<uint32_t>(values[k]));
      }
      plain[name] = writer.get();
    }
    write_model("int4", int4, quantization(style.config));
    write_model("plain", plain, nullptr);
    const std::vector<float> expected = logits(folder_ / "plain");
    EXPECT_EQ(logits(folder_ / "int4"), expected);
    EXPECT_GT(rms(expected, original), 1e-3) << "nothing was quantised";
    // int8 activations: the kernels of these formats are near, and not the float ones.
    const std::vector<float> fast = logits(folder_ / "int4", Numerics::kFast);
    EXPECT_NE(fast, expected);
    EXPECT_LT(rms(fast, expected), 0.1 * rms(expected, std::vector<float>(expected.size())));
    fs::remove_all(folder_ / "int4");
    fs::remove_all(folder_ / "plain");
  }
}

}  // namespace
}  // namespace dsv4
