#include "synth/synth.h"

#include "base/error.h"
#include "base/mapped_file.h"
#include "base/rng.h"
#include "kernels/cpu/cpu_ops.h"
#include "model/model.h"
#include "quant/float_formats.h"
#include "synth/byte_tokenizer.h"
#include "synth/normal_values.h"
#include "text/tokenizer.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <map>
#include <memory>
#include <set>

#include <fmt/core.h>
#include <gtest/gtest.h>
#include <unistd.h>

namespace dsv4 {
namespace {

namespace fs = std::filesystem;

class SynthTest : public testing::Test {
 protected:
  void SetUp() override {
    const std::string test = testing::UnitTest::GetInstance()->current_test_info()->name();
    root_ = fs::temp_directory_path() / fmt::format("dsv4-synth-{}-{}", test, ::getpid());
    fs::remove_all(root_);
  }
  void TearDown() override { fs::remove_all(root_); }

  fs::path make(const std::string& name, const ModelConfig& config, SynthOptions options = {},
                int n_threads = 2) {
    options.folder = root_ / name;
    ThreadPool pool(n_threads);
    report_ = synthesize(config, options, pool);
    return options.folder;
  }

  static std::map<std::string, std::string> contents(const fs::path& folder) {
    std::map<std::string, std::string> files;
    for (const auto& entry : fs::directory_iterator(folder)) {
      files[entry.path().filename().string()] = read_file(entry.path());
    }
    return files;
  }

  std::string error_of(const ModelConfig& config, const SynthOptions& options) {
    try {
      make(options.folder.string(), config, options);
    } catch (const Error& error) {
      return error.what();
    }
    return "none";
  }

  fs::path root_;
  SynthReport report_;
};

double std_dev_of(const QuantMatrix& matrix) {
  std::vector<float> row(static_cast<size_t>(matrix.cols));
  double squares = 0;
  for (int64_t i = 0; i < matrix.rows; ++i) {
    matrix.decode(i, 0, matrix.cols, row.data());
    for (const float value : row) squares += static_cast<double>(value) * value;
  }
  return std::sqrt(squares / static_cast<double>(matrix.rows * matrix.cols));
}

TEST_F(SynthTest, IsACheckpointThatLoads) {
  const ModelConfig config = preset_config("tiny");
  const fs::path folder = make("m", config);
  EXPECT_EQ(load_config(folder), config);
  const Checkpoint checkpoint = Checkpoint::open(folder);
  const ModelWeights weights = load_weights(checkpoint, config);
  EXPECT_TRUE(weights.mtp.has_value());
  EXPECT_EQ(static_cast<int64_t>(checkpoint.tensors().size()), report_.n_tensors);
  int64_t n_bytes = 0;
  for (const StoredTensor& tensor : checkpoint.tensors()) n_bytes += std::ssize(tensor.data);
  EXPECT_EQ(n_bytes, report_.n_bytes);
  EXPECT_EQ(checkpoint.find("layers.0.attn.wq_a.weight")->dtype, DType::kF8E4M3);
  EXPECT_EQ(checkpoint.find("layers.0.ffn.experts.0.w1.weight")->dtype, DType::kI8);
  EXPECT_EQ(checkpoint.find("layers.0.ffn.gate.tid2eid")->dtype, DType::kI64);
  EXPECT_EQ(checkpoint.find("layers.1.attn.compressor.ape")->dtype, DType::kF32);
  EXPECT_EQ(checkpoint.find("head.weight")->dtype, DType::kBF16);
}

TEST_F(SynthTest, BytesDependOnTheSeedAndNotOnThreads) {
  const ModelConfig config = preset_config("tiny");
  const auto one = contents(make("one", config, {.seed = 7}, 1));
  EXPECT_EQ(one, contents(make("again", config, {.seed = 7}, 1)));
  EXPECT_EQ(one, contents(make("three", config, {.seed = 7}, 3)));
  const auto other = contents(make("other", config, {.seed = 8}, 3));
  const std::string shard = "model-00001-of-00001.safetensors";
  EXPECT_EQ(one.at("config.json"), other.at("config.json"));
  EXPECT_NE(one.at(shard), other.at(shard));
  EXPECT_EQ(one.at(shard).size(), other.at(shard).size());
}

// The definition of a draw, written out again.
TEST_F(SynthTest, NormalIsTheSumOfFourParts) {
  const RandomStream stream{1, 2};
  // Sum of the four 16-bit parts of one draw of base/rng.h, standardised.
  const uint64_t draw = random_bits(1, 2, 3);
  double sum = 0;
  for (int part = 0; part < 4; ++part) sum += static_cast<double>((draw >> (16 * part)) & 0xFFFF);
  EXPECT_NEAR(stream.normal(3), (sum - 131070) / std::sqrt((65536.0 * 65536.0 - 1) / 3), 1e-12);
}

TEST_F(SynthTest, WeightsKeepTheSizeOfTheirInput) {
  const ModelConfig config = preset_config("tiny");
  for (const SynthFormat format : {SynthFormat::kNative, SynthFormat::kBf16}) {
    const fs::path folder =
        make(format == SynthFormat::kNative ? "n" : "b", config, {.format = format});
    const Checkpoint checkpoint = Checkpoint::open(folder);
    const ModelWeights weights = load_weights(checkpoint, config);
    const BlockWeights& block = weights.layers[1];
    for (const QuantMatrix& matrix :
         {block.attention.wq_a, block.attention.wo_b, block.attention.indexer.wq_b,
          block.attention.compressor.wkv, block.moe.gate, block.moe.experts[3].w1,
          block.moe.experts[3].w2, block.moe.shared.w3, weights.output, weights.mtp->e_proj}) {
      const double expected = 1 / std::sqrt(static_cast<double>(matrix.cols));
      EXPECT_NEAR(std_dev_of(matrix) / expected, 1, 0.05);
    }
    EXPECT_NEAR(std_dev_of(weights.embed), 1, 0.05);
  }
}

// Codes for the widths of the presets: deviation right, mean zero, shape of a normal distribution.
TEST_F(SynthTest, CodesAreCloseToNormal) {
  for (const double width : {64.0, 256.0, 1024.0, 2048.0, 3072.0, 4096.0, 7168.0}) {
    const double target = 1 / std::sqrt(width);
    for (const bool fp4 : {false, true}) {
      const CodeTable table = fp4 ? e2m1_table(target) : e4m3_table(target);
      double sum = 0, squares = 0, within = 0;
      for (const uint8_t code : table.codes) {
        const double value = static_cast<double>(fp4 ? kE2m1Values[code] : e4m3_to_float(code)) *
                             static_cast<double>(e8m0_to_float(table.scale));
        sum += value;
        squares += value * value;
        within += std::abs(value) < 2 * target ? 1 : 0;
      }
      EXPECT_NEAR(std::sqrt(squares / 256) / target, 1, 0.02) << width;
      EXPECT_NEAR(sum / 256 / target, 0, 0.01) << width;
      EXPECT_NEAR(within / 256, 0.954, 0.04) << width;
    }
  }
}

TEST_F(SynthTest, HashTablesNameDifferentExperts) {
  ModelConfig config = preset_config("tiny");
  config.n_active_experts = 5;
  const fs::path folder = make("m", config);
  const Checkpoint checkpoint = Checkpoint::open(folder);
  const auto experts = load_weights(checkpoint, config).layers[0].moe.token_experts;
  std::vector<int64_t> uses(static_cast<size_t>(config.n_experts));
  for (int64_t token = 0; token < config.vocab_size; ++token) {
    std::set<int32_t> different;
    for (int64_t i = 0; i < 5; ++i) different.insert(experts[static_cast<size_t>(token * 5 + i)]);
    EXPECT_EQ(different.size(), 5u) << token;
    for (const int32_t expert : different) ++uses[static_cast<size_t>(expert)];
  }
  for (const int64_t n : uses) EXPECT_NEAR(static_cast<double>(n) / 1280, 5.0 / 8, 0.06);
}

TEST_F(SynthTest, RunsWithLivelyLogitsAndEvenRouting) {
  const ModelConfig config = preset_config("tiny");
  const fs::path folder = make("m", config);
  ThreadPool pool(2);
  const std::unique_ptr<Ops> ops = make_cpu_ops(pool);
  Model model(folder, *ops);
  SequenceState state(model.state_layout());
  std::vector<int32_t> ids;
  for (uint64_t i = 0; i < 40; ++i)
    ids.push_back(static_cast<int32_t>(random_bits(5, 0, i) % 1280));
  Batch batch;
  batch.add(state, ids);
  Trace trace;
  Tensor<float, 2> logits({40, config.vocab_size});
  model.logits(model.forward(batch, &trace), logits.view(), &trace);

  double sum = 0, squares = 0;
  for (int64_t i = 0; i < logits.view().count(); ++i) {
    const auto value = static_cast<double>(logits.view().data()[i]);
    ASSERT_TRUE(std::isfinite(value));
    sum += value;
    squares += value * value;
  }
  const auto n = static_cast<double>(logits.view().count());
  const double std_dev = std::sqrt(squares / n - sum / n * (sum / n));
  EXPECT_GT(std_dev, 0.1);
  EXPECT_LT(std_dev, 100);
  for (int64_t layer = 0; layer < config.n_layers; ++layer) {
    const auto& stage = trace.stages().at(fmt::format("layers.{}.ffn.router.ids", layer));
    const std::set<int32_t> used(stage.ints.begin(), stage.ints.end());
    EXPECT_GT(used.size(), static_cast<size_t>(config.n_experts / 2)) << layer;
  }
}

// Streams must not stay copies of each other, or an error in the mixing would not show.
TEST_F(SynthTest, StreamsAndMapsVary) {
  const fs::path folder = make("m", preset_config("tiny"));
  ThreadPool pool(1);
  const std::unique_ptr<Ops> ops = make_cpu_ops(pool);
  Model model(folder, *ops);
  SequenceState state(model.state_layout());
  Batch batch;
  batch.add(state, std::vector<int32_t>{5, 900, 31, 77});
  Trace trace;
  model.forward(batch, &trace);
  const auto& streams = trace.stages().at("layers.3.h_ffn");
  double apart = 0, size = 0;
  for (size_t i = 0; i < 256; ++i) {
    apart += std::pow(streams.floats[i] - streams.floats[256 + i], 2);
    size += std::pow(streams.floats[i], 2);
  }
  EXPECT_GT(apart / size, 0.001);
  const auto& mix = trace.stages().at("layers.2.hc_ffn.comb").floats;
  for (size_t i = 0; i < 4; ++i) EXPECT_GT(mix[i * 5], 0.6f);  // near the identity
  EXPECT_GT(std::abs(mix[0] - mix[16]), 1e-4f);                // another token, another map
}

TEST_F(SynthTest, ChoosesLayersByNumberOrList) {
  using List = std::vector<int64_t>;
  EXPECT_EQ(parse_layers("4", 43), (List{0, 1, 2, 3}));
  EXPECT_EQ(parse_layers("0,2,3", 43), (List{0, 2, 3}));
  EXPECT_EQ(parse_layers("42,", 43), (List{42}));
  for (const char* bad : {"", ",", "x", "0", "44", "0,43", "1,,2", "-1", "1,-1", "2 ,3", "9e9",
                          "99999999999999999999"}) {
    EXPECT_THROW(parse_layers(bad, 43), Error) << bad;
  }

  const ModelConfig flash = preset_config("flash");
  const ModelConfig four = select_layers(flash, {0, 2, 3, 4});
  EXPECT_EQ(four.compress_ratios, (List{0, 4, 128, 4}));
  EXPECT_EQ(four.n_layers, 4);
  EXPECT_EQ(four.n_hash_layers, 2);
  EXPECT_EQ(four.n_mtp_layers, 0);
  EXPECT_EQ(select_layers(flash, parse_layers("43", 43)), flash);
  EXPECT_EQ(select_layers(flash, {7, 8}).n_hash_layers, 0);
  EXPECT_THROW(select_layers(flash, {3, 1}), Error);
}

TEST_F(SynthTest, ChosenLayersAreWhatIsWritten) {
  const ModelConfig config = select_layers(preset_config("tiny"), {0, 2});
  const fs::path folder = make("m", config);
  EXPECT_EQ(load_config(folder), config);
  const Checkpoint checkpoint = Checkpoint::open(folder);
  EXPECT_FALSE(load_weights(checkpoint, config).mtp.has_value());
  EXPECT_NE(checkpoint.find("layers.1.attn.compressor.wkv.weight"), nullptr);
  EXPECT_EQ(checkpoint.find("layers.1.attn.indexer.wq_b.weight"), nullptr);  // was layer 2: HCA
}

TEST_F(SynthTest, SplitsIntoShardsWithTheSameBytes) {
  const ModelConfig config = preset_config("tiny");
  const Checkpoint whole = Checkpoint::open(make("whole", config));
  const Checkpoint shards = Checkpoint::open(make("shards", config, {.shard_bytes = 1'000'000}));
  EXPECT_EQ(std::ssize(shards.files()), report_.n_files);
  EXPECT_GT(report_.n_files, 3);
  for (const MappedFile& file : shards.files()) {
    EXPECT_LT(file.bytes().size(), 1'100'000u) << file.path();
  }
  ASSERT_EQ(whole.tensors().size(), shards.tensors().size());
  for (const StoredTensor& tensor : whole.tensors()) {
    const StoredTensor* other = shards.find(tensor.name);
    ASSERT_NE(other, nullptr);
    EXPECT_TRUE(std::ranges::equal(tensor.data, other->data)) << tensor.name;
  }
}

TEST_F(SynthTest, Bf16NamesNoQuantization) {
  const auto native = contents(make("n", preset_config("tiny")));
  const auto bf16 = contents(make("b", preset_config("tiny"), {.format = SynthFormat::kBf16}));
  EXPECT_NE(native.at("config.json").find("quantization_config"), std::string::npos);
  EXPECT_EQ(bf16.at("config.json").find("quantization_config"), std::string::npos);
  const Checkpoint checkpoint = Checkpoint::open(root_ / "b");
  for (const StoredTensor& tensor : checkpoint.tensors()) {
    EXPECT_FALSE(tensor.name.ends_with(".scale")) << tensor.name;
    EXPECT_NE(tensor.dtype, DType::kF8E4M3);
    EXPECT_NE(tensor.dtype, DType::kI8);
  }
}

TEST_F(SynthTest, KeepsWhatIsInTheFolderUnlessToldToReplaceIt) {
  const ModelConfig config = preset_config("tiny");
  const fs::path folder = make("m", config, {.shard_bytes = 1'000'000});
  std::ofstream(folder / "notes.txt") << "mine";
  EXPECT_NE(error_of(config, {.folder = "m"}).find("--force"), std::string::npos);
  make("m", config, {.replace = true});
  EXPECT_EQ(read_file(folder / "notes.txt"), "mine");
  EXPECT_EQ(contents(folder).size(), 6u);  // notes, three JSON files, index, one shard
  EXPECT_EQ(Checkpoint::open(folder).files().size(), 1u);
}

TEST_F(SynthTest, RefusesWhatCannotBeStored) {
  ModelConfig narrow = preset_config("tiny");
  narrow.expert_dim = 48;
  EXPECT_NE(error_of(narrow, {.folder = "a"}).find("multiples of 32"), std::string::npos);
  EXPECT_EQ(error_of(narrow, {.folder = "b", .format = SynthFormat::kBf16}), "none");
  ModelConfig huge = preset_config("pro");
  huge.n_layers = 1000;
  huge.compress_ratios.assign(1000, 0);
  huge.n_experts = 4096;
  EXPECT_NE(error_of(huge, {.folder = "c"}).find("GB free"), std::string::npos);
  EXPECT_FALSE(fs::exists(root_ / "c"));
  ModelConfig bad = preset_config("tiny");
  bad.rope_dim = 3;
  EXPECT_NE(error_of(bad, {.folder = "d"}).find("qk_rope_head_dim"), std::string::npos);
}

TEST_F(SynthTest, TokenizerKnowsBytesAndMarkers) {
  const Tokenizer released = Tokenizer::parse(*byte_tokenizer_json(129280), "released");
  EXPECT_EQ(released.id_of("<｜User｜>"), 128803);
  EXPECT_EQ(released.id_of("<think>"), 128821);
  EXPECT_EQ(released.id_of("｜DSML｜"), 128825);
  EXPECT_EQ(released.id_of("<｜read_url｜>"), 128845);
  EXPECT_EQ(released.bos_id(), 0);
  EXPECT_EQ(released.eos_id(), 1);
  const std::string text = "Hi <｜User｜>, ünï 你\n\t";
  EXPECT_EQ(released.decode(released.encode(text, ParseSpecial::kYes), SkipSpecial::kNo), text);
  EXPECT_EQ(released.encode("!", ParseSpecial::kNo), (std::vector<int32_t>{3}));

  const Tokenizer tiny = Tokenizer::parse(*byte_tokenizer_json(1280), "tiny");
  EXPECT_EQ(tiny.vocab_size(), 1280);
  EXPECT_EQ(tiny.id_of("<｜read_url｜>"), 1279);
  EXPECT_EQ(byte_tokenizer_json(300), std::nullopt);
}

// Contents of the released list of added tokens, where it is at hand in the repository.
TEST_F(SynthTest, MarkersAreThoseOfTheMiniModelToo) {
  const Tokenizer mini = Tokenizer::load(fs::path(DSV4_SOURCE_DIR) / "models/mini");
  const Tokenizer ours = Tokenizer::parse(*byte_tokenizer_json(1280), "ours");
  for (int32_t id = 1247; id < 1280; ++id) {
    const std::string content(mini.token_bytes(id));
    EXPECT_TRUE(ours.id_of(content).has_value()) << content;
  }
}

}  // namespace
}  // namespace dsv4
