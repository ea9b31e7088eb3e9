// The names of tensors in the three kinds of files. The table below is that of the format's
// description, written out again; the models are one and the same under each of its columns.
#include "model/names.h"

#include "base/error.h"
#include "formats/gguf_testing.h"
#include "model/weights_testing.h"

#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>
#include <unistd.h>

namespace dsv4 {
namespace {

namespace fs = std::filesystem;

struct Row {
  const char* released;
  const char* hugging_face;
  const char* gguf;
};

const Row kGlobal[] = {
    {"embed.weight", "embed_tokens.weight", "token_embd.weight"},
    {"head.weight", "lm_head.weight", "output.weight"},
    {"norm.weight", "norm.weight", "output_norm.weight"},
    {"hc_head_fn", "hc_head.hc_fn", "output_hc_fn.weight"},
    {"hc_head_base", "hc_head.hc_base", "output_hc_base.weight"},
    {"hc_head_scale", "hc_head.hc_scale", "output_hc_scale.weight"},
};

// Behind layers.N., layers.N. and blk.N.
const Row kLayer[] = {
    {"attn_norm.weight", "input_layernorm.weight", "attn_norm.weight"},
    {"ffn_norm.weight", "post_attention_layernorm.weight", "ffn_norm.weight"},
    {"hc_attn_fn", "attn_hc.fn", "hc_attn_fn.weight"},
    {"hc_attn_base", "attn_hc.base", "hc_attn_base.weight"},
    {"hc_attn_scale", "attn_hc.scale", "hc_attn_scale.weight"},
    {"hc_ffn_fn", "ffn_hc.fn", "hc_ffn_fn.weight"},
    {"hc_ffn_base", "ffn_hc.base", "hc_ffn_base.weight"},
    {"hc_ffn_scale", "ffn_hc.scale", "hc_ffn_scale.weight"},
    {"attn.wq_a.weight", "self_attn.q_a_proj.weight", "attn_q_a.weight"},
    {"attn.q_norm.weight", "self_attn.q_a_norm.weight", "attn_q_a_norm.weight"},
    {"attn.wq_b.weight", "self_attn.q_b_proj.weight", "attn_q_b.weight"},
    {"attn.wkv.weight", "self_attn.kv_proj.weight", "attn_kv.weight"},
    {"attn.kv_norm.weight", "self_attn.kv_norm.weight", "attn_kv_a_norm.weight"},
    {"attn.attn_sink", "self_attn.sinks", "attn_sinks.weight"},
    {"attn.wo_a.weight", "self_attn.o_a_proj.weight", "attn_output_a.weight"},
    {"attn.wo_b.weight", "self_attn.o_b_proj.weight", "attn_output_b.weight"},
    {"ffn.gate.weight", "mlp.gate.weight", "ffn_gate_inp.weight"},
    {"ffn.shared_experts.w1.weight", "mlp.shared_experts.gate_proj.weight",
     "ffn_gate_shexp.weight"},
    {"ffn.shared_experts.w3.weight", "mlp.shared_experts.up_proj.weight", "ffn_up_shexp.weight"},
    {"ffn.shared_experts.w2.weight", "mlp.shared_experts.down_proj.weight",
     "ffn_down_shexp.weight"},
    {"ffn.gate.tid2eid", "mlp.gate.tid2eid", "ffn_gate_tid2eid.weight"},
    {"ffn.gate.bias", "mlp.gate.e_score_correction_bias", "exp_probs_b.bias"},
    {"attn.compressor.wkv.weight", "self_attn.compressor.kv_proj.weight",
     "attn_compressor_kv.weight"},
    {"attn.compressor.wgate.weight", "self_attn.compressor.gate_proj.weight",
     "attn_compressor_gate.weight"},
    {"attn.compressor.ape", "self_attn.compressor.position_bias", "attn_compressor_ape.weight"},
    {"attn.compressor.norm.weight", "self_attn.compressor.kv_norm.weight",
     "attn_compressor_norm.weight"},
    {"attn.indexer.wq_b.weight", "self_attn.compressor.indexer.q_b_proj.weight",
     "indexer.attn_q_b.weight"},
    {"attn.indexer.weights_proj.weight", "self_attn.compressor.indexer.scorer.weights_proj.weight",
     "indexer.proj.weight"},
    {"attn.indexer.compressor.wkv.weight", "self_attn.compressor.indexer.kv_proj.weight",
     "indexer_compressor_kv.weight"},
    {"attn.indexer.compressor.wgate.weight", "self_attn.compressor.indexer.gate_proj.weight",
     "indexer_compressor_gate.weight"},
    {"attn.indexer.compressor.ape", "self_attn.compressor.indexer.position_bias",
     "indexer_compressor_ape.weight"},
    {"attn.indexer.compressor.norm.weight", "self_attn.compressor.indexer.kv_norm.weight",
     "indexer_compressor_norm.weight"},
};

// Of an expert: behind ffn.experts.E. and mlp.experts.E., and the stack of all in GGUF.
const Row kExpert[] = {
    {"w1.weight", "gate_proj.weight", "ffn_gate_exps.weight"},
    {"w2.weight", "down_proj.weight", "ffn_down_exps.weight"},
    {"w3.weight", "up_proj.weight", "ffn_up_exps.weight"},
};

// The name of a released tensor in another column; of experts that in front of "E." is given too.
std::string translated(const std::string& name, const char* Row::*column,
                       const std::string& layer) {
  for (const Row& row : kGlobal) {
    if (name == row.released) return row.*column;
  }
  for (const char* prefix : {"layers.0.", "layers.1.", "layers.2."}) {
    if (!name.starts_with(prefix)) continue;
    const std::string rest = name.substr(9);
    for (const Row& row : kLayer) {
      if (rest == row.released) return layer + name.substr(7, 2) + row.*column;
    }
    for (const Row& row : kExpert) {
      if (!rest.starts_with("ffn.experts.") || !rest.ends_with(row.released)) continue;
      const std::string number = rest.substr(12, rest.find('.', 12) - 11);  // "E."
      const bool stack = column == &Row::gguf;
      return layer + name.substr(7, 2) + (stack ? "" : "mlp.experts." + number) + row.*column;
    }
  }
  return name;  // of the MTP block
}

class NamesTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / fmt::format("dsv4-names-{}", ::getpid());
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  fs::path write(const char* name, const Tensors& tensors) const {
    std::vector<SafetensorsWriter::Declaration> declarations;
    for (const auto& [key, tensor] : tensors) {
      declarations.push_back({key, tensor.dtype, tensor.shape});
    }
    SafetensorsWriter writer(folder_ / name, declarations);
    for (const auto& [key, tensor] : tensors) writer.append(tensor.data);
    writer.finish();
    return folder_ / name;
  }

  static std::string file_of_gguf(const std::vector<std::pair<std::string, Stored>>& tensors) {
    std::vector<std::string> infos;
    std::string data;
    for (const auto& [name, tensor] : tensors) {
      data.resize((data.size() + 31) / 32 * 32);
      const uint32_t type = tensor.dtype == DType::kF32    ? 0
                            : tensor.dtype == DType::kF16  ? 1
                            : tensor.dtype == DType::kBF16 ? 30
                                                           : 26;
      const std::vector<int64_t> ne(tensor.shape.rbegin(), tensor.shape.rend());
      infos.push_back(gguf_tensor(name, ne, type, data.size()));
      data.append(reinterpret_cast<const char*>(tensor.data.data()), tensor.data.size());
    }
    return gguf_file({}, infos, data);
  }

  fs::path write_gguf(const std::string& bytes) const {
    std::ofstream(folder_ / "model.gguf", std::ios::binary) << bytes;
    return folder_ / "model.gguf";
  }

  fs::path folder_;
};

// Every weight of two models is the same number.
void expect_same(const Checkpoint& expected, const Checkpoint& actual, const ModelConfig& config) {
  const ModelWeights expected_weights = load_weights(expected, config);
  const ModelWeights actual_weights = load_weights(actual, config);
  const Loaded a(expected_weights, config);
  const Loaded b(actual_weights, config);
  ASSERT_EQ(a.matrices().size(), b.matrices().size());
  for (const auto& [name, matrix] : a.matrices()) {
    const QuantMatrix& other = *b.matrices().at(name);
    ASSERT_EQ(matrix->rows, other.rows) << name;
    ASSERT_EQ(matrix->cols, other.cols) << name;
    std::vector<float> row(static_cast<size_t>(matrix->cols));
    std::vector<float> other_row(row.size());
    for (int64_t i = 0; i < matrix->rows; ++i) {
      matrix->decode(i, 0, matrix->cols, row.data());
      other.decode(i, 0, matrix->cols, other_row.data());
      ASSERT_EQ(row, other_row) << name << " row " << i;
    }
  }
  ASSERT_EQ(a.vectors().size(), b.vectors().size());
  for (const auto& [name, vector] : a.vectors()) EXPECT_EQ(*vector, *b.vectors().at(name)) << name;
  ASSERT_EQ(a.maps().size(), b.maps().size());
  for (const auto& [name, map] : a.maps()) EXPECT_EQ(*map, *b.maps().at(name)) << name;
}

TEST_F(NamesTest, translates_released_names_to_gguf) {
  for (const Row& row : kGlobal) EXPECT_EQ(gguf_name(row.released), row.gguf);
  for (const Row& row : kLayer) {
    for (const int layer : {0, 9, 60}) {
      EXPECT_EQ(gguf_name(fmt::format("layers.{}.{}", layer, row.released)),
                fmt::format("blk.{}.{}", layer, row.gguf));
    }
    EXPECT_EQ(gguf_name(fmt::format("mtp.0.{}", row.released)), fmt::format("mtp.0.{}", row.gguf));
  }
  for (const Row& row : kExpert) {
    EXPECT_EQ(gguf_name(fmt::format("layers.7.ffn.experts.255.{}", row.released)),
              fmt::format("blk.7.{}", row.gguf));
  }
  for (const char* name : {"e_proj.weight", "h_proj.weight", "enorm.weight", "hnorm.weight",
                           "norm.weight", "hc_head_fn", "hc_head_base", "hc_head_scale"}) {
    EXPECT_EQ(gguf_name(fmt::format("mtp.0.{}", name)), fmt::format("mtp.0.{}", name));
  }
  for (const char* name : {"", "embed", "layers.0.", "layers..attn_norm.weight", "layers.0.attn",
                           "layers.-1.attn_norm.weight", "layers.0.ffn.experts.w1.weight",
                           "layers.99999999999999999999.attn_norm.weight", "mtp.1.enorm.weight"}) {
    EXPECT_EQ(gguf_name(name), std::nullopt) << name;
  }
}

// The table has a name for every tensor that a model may have.
TEST_F(NamesTest, knows_every_tensor_of_a_model) {
  for (const TensorSpec& spec : all_specs(small_config())) {
    EXPECT_TRUE(gguf_name(spec.name).has_value()) << spec.name;
    if (spec.name.starts_with("mtp.")) continue;
    EXPECT_NE(translated(spec.name, &Row::gguf, "blk."), spec.name);
  }
}

TEST_F(NamesTest, hugging_face_names_give_the_same_model) {
  const Tensors released = random_checkpoint(small_config(), kNative);
  for (const std::string prefix : {"model.", ""}) {
    Tensors renamed;
    for (const auto& [name, tensor] : released) {
      const bool scale = name.ends_with(".scale");
      const std::string weight = scale ? name.substr(0, name.size() - 5) + "weight" : name;
      std::string other = translated(weight, &Row::hugging_face, "layers.");
      if (scale) other += "_scale_inv";
      const bool prefixed = other != "lm_head.weight" && !other.starts_with("mtp.");
      renamed[(prefixed ? prefix : "") + other] = tensor;
    }
    ASSERT_EQ(renamed.size(), released.size());
    const Checkpoint checkpoint = open_checkpoint(write("hugging_face", renamed));
    for (const auto& [name, tensor] : released) {
      const StoredTensor* found = checkpoint.find(name);
      if (name.starts_with("mtp.")) continue;
      ASSERT_NE(found, nullptr) << name;
      EXPECT_TRUE(std::ranges::equal(found->data, tensor.data)) << name;
    }
    expect_same(Checkpoint::open(write("released", released)), checkpoint, small_config());
  }
}

TEST_F(NamesTest, older_hugging_face_releases_call_the_scorer_otherwise) {
  const Stored tensor = random_tensor("x", DType::kBF16, {2, 3});
  const std::string name = "model.layers.3.self_attn.compressor.indexer.weights_proj.weight";
  const Checkpoint checkpoint = open_checkpoint(write("old", {{name, tensor}}));
  EXPECT_NE(checkpoint.find("layers.3.attn.indexer.weights_proj.weight"), nullptr);
}

// transformers' own layout: [E, 2 fe, d] with the gate's rows first, and [E, d, fe].
TEST_F(NamesTest, packed_experts_are_taken_apart) {
  const Style style = {.name = "", .linear = DType::kBF16, .expert = DType::kBF16};
  const ModelConfig config = small_config();
  const Tensors released = random_checkpoint(config, style);
  Tensors renamed;
  for (const auto& [name, tensor] : released) {
    if (name.find("ffn.experts.") != std::string::npos && name.starts_with("layers.")) continue;
    renamed[translated(name, &Row::hugging_face, "layers.")] = tensor;
  }
  for (int64_t layer = 0; layer < config.n_layers; ++layer) {
    Stored gate_up{DType::kBF16, {config.n_experts, 2 * config.expert_dim, config.hidden_size}, {}};
    Stored down{DType::kBF16, {config.n_experts, config.hidden_size, config.expert_dim}, {}};
    for (int64_t e = 0; e < config.n_experts; ++e) {
      const std::string expert = fmt::format("layers.{}.ffn.experts.{}.", layer, e);
      const auto append = [&](Stored& stack, const char* part) {
        const auto& data = released.at(expert + part).data;
        stack.data.insert(stack.data.end(), data.begin(), data.end());
      };
      append(gate_up, "w1.weight");
      append(gate_up, "w3.weight");
      append(down, "w2.weight");
    }
    renamed[fmt::format("model.layers.{}.mlp.experts.gate_up_proj", layer)] = gate_up;
    renamed[fmt::format("model.layers.{}.mlp.experts.down_proj", layer)] = down;
  }
  expect_same(Checkpoint::open(write("released", released)),
              open_checkpoint(write("packed", renamed)), config);
}

TEST_F(NamesTest, gguf_names_give_the_same_model) {
  const Style style = {
      .name = "", .linear = DType::kBF16, .expert = DType::kF16, .matrix = DType::kF16};
  const ModelConfig config = small_config();
  const Tensors released = random_checkpoint(config, style);
  std::vector<std::pair<std::string, Stored>> tensors;
  for (auto [name, tensor] : released) {
    if (name.starts_with("mtp.")) continue;
    if (name.ends_with("tid2eid")) {  // I32 in GGUF
      Stored ids{DType::kI32, tensor.shape, {}};
      for (size_t i = 0; i < tensor.data.size(); i += 8) {
        ids.data.insert(ids.data.end(), tensor.data.begin() + static_cast<long>(i),
                        tensor.data.begin() + static_cast<long>(i + 4));
      }
      tensor = ids;
    }
    const std::string other = translated(name, &Row::gguf, "blk.");
    if (!other.ends_with("_exps.weight")) {
      tensors.push_back({other, tensor});
    } else if (name.find(".experts.0.") != std::string::npos) {
      Stored stack{tensor.dtype, {config.n_experts, tensor.shape[0], tensor.shape[1]}, {}};
      for (int64_t e = 0; e < config.n_experts; ++e) {
        std::string of_e = name;
        of_e.replace(of_e.find(".experts.0."), 11, fmt::format(".experts.{}.", e));
        const auto& data = released.at(of_e).data;
        stack.data.insert(stack.data.end(), data.begin(), data.end());
      }
      tensors.push_back({other, stack});
    }
  }
  Tensors without_mtp = released;
  std::erase_if(without_mtp, [](const auto& item) { return item.first.starts_with("mtp."); });
  expect_same(Checkpoint::open(write("released", without_mtp)),
              open_checkpoint(write_gguf(file_of_gguf(tensors))), config);
}

TEST_F(NamesTest, gguf_files_may_have_the_mtp_block_as_ds4_names_it) {
  const Stored tensor = random_tensor("x", DType::kF32, {2, 2});
  const Stored stack = random_tensor("y", DType::kF32, {3, 2, 2});
  const Checkpoint checkpoint =
      open_checkpoint(write_gguf(file_of_gguf({{"mtp.0.attn_q_a.weight", tensor},
                                               {"mtp.0.ffn_up_exps.weight", stack},
                                               {"mtp.0.e_proj.weight", tensor},
                                               {"mtp.0.norm.weight", tensor}})));
  EXPECT_EQ(checkpoint.tensors().size(), 6u);
  for (const char* name : {"mtp.0.attn.wq_a.weight", "mtp.0.e_proj.weight", "mtp.0.norm.weight",
                           "mtp.0.ffn.experts.0.w3.weight", "mtp.0.ffn.experts.2.w3.weight"}) {
    EXPECT_NE(checkpoint.find(name), nullptr) << name;
  }
}

// llama.cpp puts a drafter behind the last block, in a layout that is not specified.
TEST_F(NamesTest, leaves_out_the_blocks_of_another_drafter) {
  const Stored tensor = random_tensor("x", DType::kF32, {2});
  const Checkpoint checkpoint =
      open_checkpoint(write_gguf(file_of_gguf({{"blk.0.attn_norm.weight", tensor},
                                               {"blk.1.attn_norm.weight", tensor},
                                               {"blk.1.nextn.enorm.weight", tensor}})));
  ASSERT_EQ(checkpoint.tensors().size(), 1u);
  EXPECT_EQ(checkpoint.tensors()[0].name, "layers.0.attn_norm.weight");
}

TEST_F(NamesTest, keeps_names_that_it_does_not_know) {
  const Stored tensor = random_tensor("x", DType::kF32, {2});
  for (const std::string name :
       {"x", "scale", "weight", "model.x.scale", "layers.0.x.weight", "layers.x.attn_hc.fn",
        "layers.0.mlp.experts.x.gate_proj.weight"}) {
    const Checkpoint checkpoint = open_checkpoint(write("unknown", {{name, tensor}}));
    EXPECT_NE(checkpoint.find(name), nullptr) << name;
  }
}

TEST_F(NamesTest, refuses_two_names_of_one_tensor) {
  const Stored tensor = random_tensor("x", DType::kF32, {2});
  try {
    open_checkpoint(write("doubled", {{"model.norm.weight", tensor}, {"norm.weight", tensor}}));
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_NE(std::string_view(error.what()).find("tensor norm.weight"), std::string_view::npos);
  }
}

// Shapes of stacks that cannot be taken apart: no experts, an odd number of rows, and 2^40 experts
// without a byte.
TEST_F(NamesTest, refuses_stacks_of_impossible_shapes) {
  for (const std::vector<int64_t>& shape :
       {std::vector<int64_t>{0, 4, 4}, {int64_t{1} << 40, 0, 4}, {2, 3, 4}, {2, 4, 0}}) {
    int64_t n_bytes = count(shape) * 4;
    const Stored stack{DType::kF32, shape, std::vector<std::byte>(static_cast<size_t>(n_bytes))};
    const std::string name = "model.layers.0.mlp.experts.gate_up_proj";
    try {
      open_checkpoint(write("stack", {{name, stack}}));
      ADD_FAILURE() << fmt::format("{} x {} x {}", shape[0], shape[1], shape[2]);
    } catch (const Error& error) {
      EXPECT_NE(std::string_view(error.what()).find("stack: tensor " + name),
                std::string_view::npos)
          << error.what();
    }
  }
}

}  // namespace
}  // namespace dsv4
