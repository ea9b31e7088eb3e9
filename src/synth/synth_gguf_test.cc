// Synthetic GGUF files of every mix: what was to be written is what the loader finds.
#include "synth/synth.h"

#include "model/gguf_tokenizer.h"
#include "model/names.h"
#include "model/weights.h"
#include "synth/byte_tokenizer.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <set>

#include <fmt/core.h>
#include <gtest/gtest.h>
#include <unistd.h>

namespace dsv4 {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kSeed = 5;

// One layer of each kind; rows of 256, so that every block type fits.
ModelConfig small_model() {
  ModelConfig c = select_layers(preset_config("tiny"), {0, 1, 2});
  c.n_experts = 3;
  c.expert_dim = 256;
  c.q_lora_rank = 256;
  return c;
}

class SynthGguf : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    folder_ =
        fs::temp_directory_path() / fmt::format("dsv4-synth-gguf-{}-{}", GetParam(), ::getpid());
    fs::remove_all(folder_);
    ThreadPool pool(2);
    SynthOptions options{.folder = folder_, .format = SynthFormat::kGguf};
    options.mix = mix_of_name(GetParam());
    options.seed = kSeed;
    synthesize(config_, options, pool);
  }
  void TearDown() override { fs::remove_all(folder_); }

  ModelConfig config_ = small_model();
  fs::path folder_;
};

INSTANTIATE_TEST_SUITE_P(Every, SynthGguf, testing::ValuesIn(mix_names(Container::kGguf)),
                         [](const auto& test) { return test.param; });

double std_dev_of(const QuantMatrix& matrix) {
  std::vector<float> row(static_cast<size_t>(matrix.cols));
  double squares = 0;
  for (int64_t i = 0; i < matrix.rows; ++i) {
    matrix.decode(i, 0, matrix.cols, row.data());
    for (const float value : row) squares += static_cast<double>(value) * value;
  }
  return std::sqrt(squares / static_cast<double>(matrix.rows * matrix.cols));
}

TEST_P(SynthGguf, loads_with_its_configuration_and_tokenizer) {
  EXPECT_EQ(load_config(folder_), config_);
  const Tokenizer original = Tokenizer::parse(*byte_tokenizer_json(config_.vocab_size), "bytes");
  const Tokenizer tokenizer = load_tokenizer(folder_);
  const std::string text = "Hi <｜User｜> 你好\n<think> x";
  EXPECT_EQ(tokenizer.encode(text, ParseSpecial::kYes), original.encode(text, ParseSpecial::kYes));
  const Checkpoint checkpoint = open_checkpoint(folder_);
  const ModelWeights weights = load_weights(checkpoint, config_);
  ASSERT_EQ(weights.layers.size(), 3u);
  // Rows of 256 with a standard deviation of 1 / 16. Few levels are near it, and the nearest power
  // of two, the scale of MXFP4, can be off by the root of two.
  const double tolerance = GetParam() == "MXFP4" ? 0.42 : 0.15;
  const MoeWeights& moe = weights.layers[1].moe;
  for (const QuantMatrix* matrix : {&moe.experts[0].w1, &moe.experts[2].w2, &moe.shared.w3,
                                    &weights.layers[1].attention.wq_a, &weights.output}) {
    EXPECT_NEAR(std_dev_of(*matrix), 1. / 16, tolerance / 16);
  }
}

// Every byte of every tensor under its released name, and no others.
TEST_P(SynthGguf, holds_the_bytes_of_the_plan) {
  const SynthPlan plan = plan_gguf(config_, mix_of_name(GetParam()));
  const Checkpoint checkpoint = open_checkpoint(folder_);
  std::set<std::string> expected;
  for (const PlannedTensor& planned : plan.tensors) {
    std::vector<std::byte> bytes(static_cast<size_t>(planned.bytes()));
    tensor_bytes(plan, planned, kSeed).fill(0, bytes);
    const bool is_stack = planned.shape.size() == 3;
    const size_t n = is_stack ? static_cast<size_t>(config_.n_experts) : 1;
    for (size_t e = 0; e < n; ++e) {
      std::string name = plan.specs[planned.spec].name;
      if (is_stack) name.replace(name.find(".0.w"), 3, fmt::format(".{}.", e));
      expected.insert(name);
      const StoredTensor* tensor = checkpoint.find(name);
      ASSERT_NE(tensor, nullptr) << name;
      EXPECT_EQ(tensor->dtype, planned.dtype) << name;
      EXPECT_EQ(tensor->shape, plan.specs[planned.spec].shape) << name;
      const auto part = std::span(bytes).subspan(e * bytes.size() / n, bytes.size() / n);
      EXPECT_TRUE(std::ranges::equal(tensor->data, part)) << name;
    }
  }
  EXPECT_EQ(checkpoint.tensors().size(), expected.size());
}

// Types that the names of mixes promise, for a model whose rows fill all blocks.
TEST(Mix, gives_each_tensor_the_type_of_its_name) {
  ModelConfig config = small_model();
  config.n_layers = 16;
  config.compress_ratios.assign(16, 4);
  const auto type = [&](const char* mix, const std::string& suffix, int64_t layer) {
    for (const TensorSpec& spec : layer_specs(config, layer)) {
      if (spec.name.ends_with(suffix)) return mixed_type(mix_of_name(mix), spec, layer, config);
    }
    for (const TensorSpec& spec : global_specs(config)) {
      if (spec.name == suffix) return mixed_type(mix_of_name(mix), spec, layer, config);
    }
    throw std::runtime_error(suffix);
  };
  struct Case {
    const char* mix;
    const char* tensor;
    int64_t layer;
    DType expected;
  };
  for (const Case& c :
       std::vector<Case>{{"Q4_K_M", "experts.0.w1.weight", 9, DType::kQ4_K},
                         {"Q4_K_M", "experts.0.w2.weight", 0, DType::kQ6_K},  // the first eighth
                         {"Q4_K_M", "experts.0.w2.weight", 2, DType::kQ4_K},
                         {"Q4_K_M", "experts.0.w2.weight", 4, DType::kQ6_K},  // every third between
                         {"Q4_K_M", "experts.0.w2.weight", 5, DType::kQ4_K},
                         {"Q4_K_M", "experts.0.w2.weight", 14, DType::kQ6_K},  // the last eighth
                         {"Q4_K_M", "head.weight", 0, DType::kQ6_K},
                         {"IQ2_XXS", "experts.0.w3.weight", 9, DType::kIQ2_XXS},
                         {"IQ2_XXS", "experts.0.w2.weight", 9, DType::kQ2_K},
                         {"IQ2_XXS", "attn.wq_a.weight", 9, DType::kQ8_0},
                         {"IQ2_XXS", "shared_experts.w1.weight", 9, DType::kQ8_0},
                         {"MXFP4", "experts.0.w2.weight", 9, DType::kMXFP4},
                         {"MXFP4", "head.weight", 0, DType::kQ8_0},
                         {"Q8_0", "embed.weight", 0, DType::kF16},
                         {"Q4_0", "attn.indexer.wq_b.weight", 9, DType::kQ4_0},
                         {"Q4_0", "attn.compressor.wkv.weight", 9, DType::kF16},
                         {"Q4_0", "ffn.gate.weight", 9, DType::kF16},
                         {"Q4_0", "ffn.gate.tid2eid", 0, DType::kI32},
                         {"Q4_0", "attn_norm.weight", 9, DType::kF32},
                         {"Q4_0", "hc_attn_base", 9, DType::kF32},
                         {"F32", "embed.weight", 0, DType::kF32}}) {
    EXPECT_EQ(dtype_name(type(c.mix, c.tensor, c.layer)), dtype_name(c.expected))
        << c.mix << " " << c.tensor << " " << c.layer;
  }
}

TEST(Mix, takes_another_type_where_rows_do_not_fill_blocks) {
  const ModelConfig config = small_model();
  TensorSpec spec{
      "layers.0.attn.wq_a.weight", {4, 320}, TensorKind::kLinear, TensorClass::kAttention};
  EXPECT_EQ(mixed_type(mix_of_name("Q4_K"), spec, 0, config), DType::kQ8_0);
  EXPECT_EQ(mixed_type(mix_of_name("Q4_0"), spec, 0, config), DType::kQ4_0);
  EXPECT_EQ(mixed_type(mix_of_name("BF16"), spec, 0, config), DType::kBF16);
  spec.shape[1] = 328;
  EXPECT_EQ(mixed_type(mix_of_name("Q4_K"), spec, 0, config), DType::kF16);
  EXPECT_EQ(mixed_type(mix_of_name("Q4_0"), spec, 0, config), DType::kF16);
}

}  // namespace
}  // namespace dsv4
