// Every form in which a checkpoint stores weights is loaded with the values that were written, and
// every kind of damage is named.
#include "model/weights.h"

#include "base/error.h"
#include "model/weights_testing.h"

#include <cctype>
#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>
#include <unistd.h>

namespace dsv4 {
namespace {

namespace fs = std::filesystem;

class WeightsTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / fmt::format("dsv4-weights-{}", ::getpid());
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  // Writes the tensors that `keep` accepts.
  void write(const std::string& file, const Tensors& tensors,
             const std::function<bool(const std::string&)>& keep) const {
    std::vector<SafetensorsWriter::Declaration> declarations;
    for (const auto& [name, tensor] : tensors) {
      if (keep(name)) declarations.push_back({name, tensor.dtype, tensor.shape});
    }
    SafetensorsWriter writer(folder_ / file, declarations);
    for (const auto& declaration : declarations) writer.append(tensors.at(declaration.name).data);
    writer.finish();
  }

  Checkpoint open(const Tensors& tensors) const {
    write("model.safetensors", tensors, [](const std::string&) { return true; });
    return Checkpoint::open(folder_);
  }

  // The Error that loading ends in names the file and all the parts.
  void expect_refused(const Tensors& tensors, const std::vector<std::string>& parts,
                      const ModelConfig& config = small_config()) const {
    const Checkpoint checkpoint = open(tensors);
    try {
      load_weights(checkpoint, config);
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

void expect_matrix(const std::string& name, const QuantMatrix& m, const Tensors& tensors,
                   const Style& style) {
  const Stored& stored = tensors.at(name);
  const bool fp4 = stored.dtype == DType::kI8 || stored.dtype == DType::kU8;
  ASSERT_EQ(m.rows, stored.shape[0]) << name;
  ASSERT_EQ(m.cols, stored.shape[1] * (fp4 ? 2 : 1)) << name;
  const bool scaled = fp4 || stored.dtype == DType::kF8E4M3;
  EXPECT_EQ(m.is_quantized(), scaled) << name;
  const ScaleBlock block = fp4 ? ScaleBlock{1, 32} : style.block;
  std::vector<float> row(static_cast<size_t>(m.cols));
  for (int64_t i = 0; i < m.rows; ++i) {
    m.decode(i, 0, m.cols, row.data());
    for (int64_t j = 0; j < m.cols; ++j) {
      double expected = fp4 ? fp4_element(stored, i * m.cols + j) : element(stored, i * m.cols + j);
      if (scaled) {
        const Stored& scale = tensors.at(scale_of(name, style));
        expected *= element(scale, i / block.rows * scale.shape[1] + j / block.cols);
      }
      ASSERT_EQ(row[static_cast<size_t>(j)], static_cast<float>(expected))
          << name << " row " << i << " column " << j;
    }
  }
}

TEST_F(WeightsTest, hold_the_values_of_the_file_in_every_stored_form) {
  for (const Style& style : kStyles) {
    SCOPED_TRACE(style.name);
    ModelConfig config = small_config();
    config.fp8_block = style.block;
    const Tensors tensors = random_checkpoint(config, style);
    const Checkpoint checkpoint = open(tensors);
    const ModelWeights weights = load_weights(checkpoint, config);
    ASSERT_TRUE(weights.mtp.has_value());
    const Loaded loaded(weights, config);
    EXPECT_EQ(loaded.matrices().size() + loaded.vectors().size() + loaded.maps().size(),
              all_specs(config).size());
    for (const auto& [name, matrix] : loaded.matrices()) {
      expect_matrix(name, *matrix, tensors, style);
    }
    for (const auto& [name, values] : loaded.vectors()) {
      const Stored& stored = tensors.at(name);
      ASSERT_EQ(static_cast<int64_t>(values->size()), count(stored.shape)) << name;
      for (size_t i = 0; i < values->size(); ++i) {
        ASSERT_EQ((*values)[i], element(stored, static_cast<int64_t>(i))) << name << " " << i;
      }
    }
    for (const auto& [name, ids] : loaded.maps()) {
      ASSERT_EQ(static_cast<int64_t>(ids->size()), count(tensors.at(name).shape));
      for (size_t i = 0; i < ids->size(); ++i) {
        ASSERT_EQ((*ids)[i], element(tensors.at(name), static_cast<int64_t>(i)));
      }
    }
  }
}

TEST_F(WeightsTest, may_have_a_weight_and_its_scale_in_different_shards) {
  const Tensors tensors = random_checkpoint(small_config(), kNative);
  const auto is_scale = [](const std::string& name) { return name.ends_with(".scale"); };
  write("weights.safetensors", tensors, std::not_fn(is_scale));
  write("scales.safetensors", tensors, is_scale);
  std::string map;
  for (const auto& [name, tensor] : tensors) {
    map += fmt::format(R"({}"{}":"{}.safetensors")", map.empty() ? "" : ",", name,
                       is_scale(name) ? "scales" : "weights");
  }
  std::ofstream(folder_ / "model.safetensors.index.json") << R"({"weight_map":{)" << map << "}}";
  const Checkpoint checkpoint = Checkpoint::open(folder_);
  ASSERT_EQ(checkpoint.files().size(), 2u);
  const ModelWeights weights = load_weights(checkpoint, small_config());
  const Loaded loaded(weights, small_config());
  for (const auto& [name, matrix] : loaded.matrices()) {
    expect_matrix(name, *matrix, tensors, kNative);
  }
}

// One tensor of each name but for numbers of layers and experts: all would take long.
std::vector<std::string> one_of_each(const Tensors& tensors) {
  std::map<std::string, std::string> found;
  for (const auto& [name, tensor] : tensors) {
    std::string kind = name;
    if (kind.starts_with("layers.")) kind = kind.substr(kind.find('.', std::strlen("layers.")));
    if (kind.starts_with("mtp.0")) kind = kind.substr(std::strlen("mtp.0"));
    std::erase_if(kind, [](unsigned char c) { return std::isdigit(c); });
    found.emplace(kind, name);
  }
  std::vector<std::string> names;
  for (const auto& [kind, name] : found) names.push_back(name);
  return names;
}

TEST_F(WeightsTest, every_missing_tensor_is_named) {
  const Tensors tensors = random_checkpoint(small_config(), kNative);
  for (const std::string& name : one_of_each(tensors)) {
    Tensors damaged = tensors;
    damaged.erase(name);
    expect_refused(damaged, {name, "missing"});
    if (HasFailure()) return;
  }
}

TEST_F(WeightsTest, every_wrong_shape_is_named) {
  const Tensors tensors = random_checkpoint(small_config(), kNative);
  size_t turn = 0;
  for (const std::string& name : one_of_each(tensors)) {
    std::vector<int64_t> shape = tensors.at(name).shape;
    const size_t axis = turn % shape.size();
    switch (turn++ % 4) {
      case 0:
        shape.push_back(1);
        break;
      case 1:
        ++shape[axis];
        break;
      case 2:
        --shape[axis];
        break;
      default:
        shape.insert(shape.begin(), shape.back());  // transposed, where it is a matrix
        shape.pop_back();
        if (shape == tensors.at(name).shape) shape.clear();
    }
    Tensors damaged = tensors;
    damaged[name] = random_tensor(name, tensors.at(name).dtype, shape);
    expect_refused(damaged, {fmt::format("tensor {} at byte", name), "has shape"});
    if (HasFailure()) return;
  }
}

TEST_F(WeightsTest, wrong_types_are_named) {
  const Tensors tensors = random_checkpoint(small_config(), kNative);
  for (const auto& [name, dtype] : std::vector<std::pair<const char*, DType>>{
           {"embed.weight", DType::kF8E4M3},
           {"norm.weight", DType::kI32},
           {"layers.0.attn.wq_a.weight", DType::kI64},
           {"layers.0.attn.wq_a.weight", DType::kI8},  // FP4 is for experts
           {"layers.0.ffn.shared_experts.w1.weight", DType::kI8},
           {"layers.0.ffn.gate.weight", DType::kF8E4M3},
           {"layers.0.ffn.gate.tid2eid", DType::kF32},
           {"layers.0.ffn.gate.tid2eid", DType::kBool},
           {"layers.1.ffn.gate.bias", DType::kF8E8M0},
           {"layers.1.ffn.experts.2.w3.weight", DType::kF8E8M0},
           {"layers.1.ffn.experts.2.w3.scale", DType::kU8},
           {"layers.2.attn.compressor.wkv.weight", DType::kF8E4M3}}) {
    Tensors damaged = tensors;
    damaged[name] = random_tensor(name, dtype, tensors.at(name).shape);
    expect_refused(damaged, {fmt::format("tensor {} at byte", name), "of type",
                             std::string(dtype_name(dtype))});
  }
}

TEST_F(WeightsTest, tensors_that_belong_to_no_model_are_named) {
  for (const char* name :
       {"layers.0.attn.extra", "layers.3.attn_norm.weight", "layers.1.ffn.experts.3.w1.weight",
        "layers.0.attn.compressor.ape", "model.embed.weight", "embed.scale", ""}) {
    Tensors damaged = random_checkpoint(small_config(), kNative);
    damaged[name] = random_tensor(name, DType::kBF16, {2});
    expect_refused(damaged, {fmt::format("tensor {} at byte", name), "no such tensor"});
  }
  Tensors plain = random_checkpoint(small_config(), kStyles[5]);
  plain["layers.0.attn.wq_a.scale"] = random_tensor("x", DType::kF8E8M0, {1, 2});
  expect_refused(plain, {"tensor layers.0.attn.wq_a.scale at byte", "no such tensor"});
  Tensors twice = random_checkpoint(small_config(), kNative);
  twice["layers.0.attn.wq_a.weight_scale_inv"] = random_tensor("x", DType::kF32, {1, 2});
  expect_refused(twice, {"tensor layers.0.attn.wq_a.weight_scale_inv", "no such tensor"});
}

TEST_F(WeightsTest, missing_block_scales_name_their_weight) {
  Tensors damaged = random_checkpoint(small_config(), kNative);
  damaged.erase("layers.2.attn.wo_a.scale");
  expect_refused(damaged, {"tensor layers.2.attn.wo_a.weight at byte", "layers.2.attn.wo_a.scale"});
}

TEST_F(WeightsTest, fp4_needs_whole_blocks) {
  ModelConfig config = small_config();
  config.hidden_size = 144;
  expect_refused(random_checkpoint(config, kNative),
                 {"tensor layers.0.ffn.experts.0.w1.weight at byte", "multiples of 32"}, config);
}

TEST_F(WeightsTest, expert_ids_are_inside_the_model) {
  const std::string name = "layers.0.ffn.gate.tid2eid";
  const int64_t n_experts = small_config().n_experts;
  for (const int64_t id : {int64_t{-1}, n_experts, int64_t{1} << 32, int64_t{-1} << 63}) {
    Tensors damaged = random_checkpoint(small_config(), kNative);
    std::memcpy(damaged[name].data.data() + 5 * 8, &id, 8);
    expect_refused(damaged, {fmt::format("tensor {} at byte", name),
                             fmt::format("entry 5 is {}, expected an expert below 3", id)});
  }
  Tensors narrow = random_checkpoint(small_config(), kNative);
  narrow[name] = random_tensor(name, DType::kI32, narrow[name].shape);
  const Checkpoint checkpoint = open(narrow);
  const ModelWeights weights = load_weights(checkpoint, small_config());
  for (size_t i = 0; i < weights.layers[0].moe.token_experts.size(); ++i) {
    EXPECT_EQ(weights.layers[0].moe.token_experts[i],
              element(narrow[name], static_cast<int64_t>(i)));
  }
  const int32_t negative = -2;
  std::memcpy(narrow[name].data.data(), &negative, 4);
  expect_refused(narrow, {name, "entry 0 is -2"});
}

TEST_F(WeightsTest, other_drafters_are_left_alone) {
  Tensors tensors = random_checkpoint(small_config(), kNative);
  tensors["mtp.0.emb.tok_emb.weight"] = random_tensor("x", DType::kBF16, {3});
  tensors["mtp.0.head.weight"] = random_tensor("x", DType::kBF16, {3});
  {
    const Checkpoint checkpoint = open(tensors);
    EXPECT_TRUE(load_weights(checkpoint, small_config()).mtp.has_value());
  }
  for (const char* name : {"e_proj.weight", "e_proj.scale", "h_proj.weight", "h_proj.scale",
                           "enorm.weight", "hnorm.weight"}) {
    tensors.erase(fmt::format("mtp.0.{}", name));
  }
  tensors["mtp.2.markov_head.markov_w1.weight"] = random_tensor("x", DType::kBF16, {3});
  const Checkpoint checkpoint = open(tensors);
  EXPECT_FALSE(load_weights(checkpoint, small_config()).mtp.has_value());
}

}  // namespace
}  // namespace dsv4
