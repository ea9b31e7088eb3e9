// Every number of a quality report against one worked out by hand or by other means.
#include "eval/quality.h"

#include "base/error.h"
#include "base/json.h"
#include "base/mapped_file.h"
#include "base/thread_pool.h"
#include "eval/model_hash.h"
#include "kernels/cpu/cpu_ops.h"
#include "model/trace.h"
#include "model/weights_testing.h"
#include "plan/footprint.h"

#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>
#include <numeric>

#include <gtest/gtest.h>
#include <unistd.h>
#include <xxhash.h>
#include <nlohmann/json.hpp>

namespace dsv4 {
namespace {

namespace fs = std::filesystem;

std::string golden(const std::string& name) {
  return fmt::format("{}/tests/golden/{}", DSV4_SOURCE_DIR, name);
}

std::vector<double> log_softmax_of(const std::vector<float>& logits) {
  std::vector<double> out(logits.size());
  log_softmax(logits, out);
  return out;
}

const float kLog3 = std::log(3.0f);

TEST(Quality, log_softmax_by_hand) {
  const std::vector<double> quarters = log_softmax_of({0, kLog3});
  EXPECT_NEAR(quarters[0], std::log(0.25), 1e-7);
  EXPECT_NEAR(quarters[1], std::log(0.75), 1e-7);
  // Nothing overflows, and a small probability keeps its logarithm.
  EXPECT_EQ(log_softmax_of({1000, 0}), (std::vector<double>{0, -1000}));
  EXPECT_EQ(log_softmax_of({-3e38f}), (std::vector<double>{0}));
  EXPECT_EQ(log_softmax_of({3e38f, -3e38f})[1], double{-3e38f} - double{3e38f});
}

TEST(Quality, kl_divergence_by_hand) {
  const std::vector<double> half = log_softmax_of({5, 5});
  const std::vector<double> quarters = log_softmax_of({0, kLog3});
  // 1/2 log(1/2 : 1/4) + 1/2 log(1/2 : 3/4), and the other way round.
  EXPECT_NEAR(kl_divergence(half, quarters), 0.5 * std::log(4.0 / 3), 1e-7);
  EXPECT_NEAR(kl_divergence(quarters, half), 0.25 * std::log(0.5) + 0.75 * std::log(1.5), 1e-7);
  EXPECT_EQ(kl_divergence(half, half), 0);
  EXPECT_EQ(kl_divergence(quarters, quarters), 0);
  // A probability of 0 in the reference counts nothing.
  EXPECT_NEAR(kl_divergence(log_softmax_of({1000, 0}), half), std::log(2.0), 1e-15);
}

TEST(Quality, summaries_by_hand) {
  std::vector<double> values(200);
  std::iota(values.begin(), values.end(), 1);
  std::swap(values[3], values[190]);
  const KlSummary many = summarize(values);
  EXPECT_EQ(many.mean, 100.5);
  EXPECT_EQ(many.median, 100.5);
  EXPECT_EQ(many.p99, 198);
  EXPECT_EQ(many.max, 200);
  const KlSummary three = summarize({4, 1, 2});
  EXPECT_EQ(three.median, 2);
  EXPECT_EQ(three.p99, 4);
  EXPECT_EQ(summarize({7}).p99, 7);
}

TEST(Quality, a_meter_adds_up_positions_and_layers) {
  const std::vector<double> half = log_softmax_of({5, 5});
  const std::vector<double> quarters = log_softmax_of({0, kLog3});
  QualityMeter meter;
  meter.add_position(half, quarters, 0);      // of equals the first: other top tokens
  meter.add_position(quarters, quarters, 1);  // the same
  meter.add_position(quarters, quarters, 1);
  meter.add_streams(1, std::vector<float>{3, 0}, std::vector<float>{3, 1});
  meter.add_streams(1, std::vector<float>{4, 0}, std::vector<float>{2, 2});
  const Quality quality = meter.result();
  EXPECT_EQ(meter.n_positions(), 3);
  EXPECT_NEAR(quality.perplexity, std::cbrt(4 * (4.0 / 3) * (4.0 / 3)), 1e-6);
  EXPECT_NEAR(quality.kl.mean, 0.5 * std::log(4.0 / 3) / 3, 1e-7);
  EXPECT_EQ(quality.kl.median, 0);
  EXPECT_NEAR(quality.top1_agreement, 2.0 / 3, 1e-15);
  EXPECT_EQ(quality.layer_errors, (std::vector<double>{0, std::sqrt(9.0 / 25)}));
}

TEST(Quality, chunks_predict_every_token_once) {
  const std::vector<int32_t> ids = {5, 6, 7, 8, 9};
  using Chunks = std::vector<std::vector<int32_t>>;
  EXPECT_EQ(cut_chunks(ids, 3, 0), (Chunks{{0, 5, 6}, {0, 7, 8}, {0, 9}}));
  EXPECT_EQ(cut_chunks(ids, 2, 1), (Chunks{{1, 5}, {1, 6}, {1, 7}, {1, 8}, {1, 9}}));
  EXPECT_EQ(cut_chunks(ids, 6, 0), (Chunks{{0, 5, 6, 7, 8, 9}}));
  EXPECT_TRUE(cut_chunks({}, 6, 0).empty());
}

// The golden models on random tokens.
class QualityOfModels : public testing::Test {
 protected:
  QualityOfModels() : pool_(2), ops_(make_cpu_ops(pool_)) {
    std::vector<int32_t> ids(90);
    for (size_t i = 0; i < ids.size(); ++i) {
      ids[i] = static_cast<int32_t>(random_bits(5, 0, i) % 512);
    }
    chunks_ = cut_chunks(ids, 41, 0);  // 40, 40 and 10 tokens
  }

  QualityReport measure(Ops& ops, const std::string& reference, const std::string& candidate,
                        Numerics numerics, int64_t piece = 64) const {
    Model a(reference, ops, {.numerics = Numerics::kExact, .max_batch_tokens = piece});
    Model b(candidate, ops, {.numerics = numerics, .max_batch_tokens = piece});
    Model* const candidates[] = {&b};
    return measure_quality(a, candidates, chunks_);
  }

  // Logits after each token but the last of a chunk, and the trace.
  Tensor<float, 2> logits_of(Model& model, const std::vector<int32_t>& chunk, Trace& trace) const {
    SequenceState state(model.state_layout());
    Batch batch;
    batch.add(state, std::span(chunk).first(chunk.size() - 1));
    Tensor<float, 2> logits({batch.n_tokens(), model.config().vocab_size});
    model.logits(model.forward(batch, &trace), logits.view());
    return logits;
  }

  ThreadPool pool_;
  std::unique_ptr<Ops> ops_;
  std::vector<std::vector<int32_t>> chunks_;
};

void expect_same_bits(const QualityReport& a, const QualityReport& b) {
  EXPECT_EQ(a.n_positions, b.n_positions);
  EXPECT_EQ(a.reference_perplexity, b.reference_perplexity);
  EXPECT_EQ(a.candidates[0].perplexity, b.candidates[0].perplexity);
  EXPECT_EQ(a.candidates[0].kl.mean, b.candidates[0].kl.mean);
  EXPECT_EQ(a.candidates[0].kl.p99, b.candidates[0].kl.p99);
  EXPECT_EQ(a.candidates[0].layer_errors, b.candidates[0].layer_errors);
}

TEST_F(QualityOfModels, a_model_agrees_with_itself) {
  const QualityReport report = measure(*ops_, golden("t3"), golden("t3"), Numerics::kExact);
  const Quality& quality = report.candidates[0];
  EXPECT_EQ(report.n_positions, 90);
  EXPECT_EQ(quality.perplexity, report.reference_perplexity);
  EXPECT_EQ(quality.kl.max, 0);
  EXPECT_EQ(quality.top1_agreement, 1);
  EXPECT_EQ(quality.layer_errors, std::vector<double>(5, 0.0));
}

// The definitions over all logits at once, in long double.
TEST_F(QualityOfModels, numbers_are_those_of_the_logits) {
  const QualityReport report = measure(*ops_, golden("t3"), golden("t3"), Numerics::kFast);
  Model exact(golden("t3"), *ops_, {.numerics = Numerics::kExact});
  Model fast(golden("t3"), *ops_, {.numerics = Numerics::kFast});
  long double log_likelihood[2] = {0, 0};
  std::vector<double> kl;
  double error = 0;
  double size = 0;
  for (const std::vector<int32_t>& chunk : chunks_) {
    Trace traces[2];
    const Tensor<float, 2> p = logits_of(exact, chunk, traces[0]);
    const Tensor<float, 2> q = logits_of(fast, chunk, traces[1]);
    for (int64_t t = 0; t < p.view().size(0); ++t) {
      long double sums[2] = {0, 0};
      for (const float x : p.view()[t].span()) sums[0] += std::exp(static_cast<long double>(x));
      for (const float x : q.view()[t].span()) sums[1] += std::exp(static_cast<long double>(x));
      long double divergence = 0;
      for (int64_t i = 0; i < p.view().size(1); ++i) {
        const long double share_p = std::exp(static_cast<long double>(p.view()(t, i))) / sums[0];
        const long double share_q = std::exp(static_cast<long double>(q.view()(t, i))) / sums[1];
        divergence += share_p * std::log(share_p / share_q);
        if (i != chunk[static_cast<size_t>(t + 1)]) continue;
        log_likelihood[0] += std::log(share_p);
        log_likelihood[1] += std::log(share_q);
      }
      kl.push_back(static_cast<double>(divergence));
    }
    const std::vector<float>& a = traces[0].find("layers.2.h_ffn")->floats;
    const std::vector<float>& b = traces[1].find("layers.2.h_ffn")->floats;
    for (size_t i = 0; i < a.size(); ++i) {
      error += std::pow(double{b[i]} - double{a[i]}, 2);
      size += std::pow(double{a[i]}, 2);
    }
  }
  const Quality& quality = report.candidates[0];
  ASSERT_EQ(kl.size(), 90u);
  std::ranges::sort(kl);
  const auto perplexity = [](long double sum) { return static_cast<double>(std::exp(-sum / 90)); };
  EXPECT_NEAR(report.reference_perplexity / perplexity(log_likelihood[0]), 1, 1e-12);
  EXPECT_NEAR(quality.perplexity / perplexity(log_likelihood[1]), 1, 1e-12);
  EXPECT_NE(quality.perplexity, report.reference_perplexity);
  EXPECT_NEAR(quality.kl.mean, std::accumulate(kl.begin(), kl.end(), 0.0) / 90, 1e-13);
  EXPECT_NEAR(quality.kl.median, (kl[44] + kl[45]) / 2, 1e-13);
  EXPECT_NEAR(quality.kl.p99, kl[89], 1e-13);
  EXPECT_GT(quality.kl.median, 1e-7);
  ASSERT_EQ(quality.layer_errors.size(), 5u);
  EXPECT_NEAR(quality.layer_errors[2] / std::sqrt(error / size), 1, 1e-12);
  EXPECT_GT(quality.layer_errors[2], 1e-4);
}

TEST_F(QualityOfModels, threads_and_pieces_change_no_bit) {
  const QualityReport whole = measure(*ops_, golden("t3"), golden("t3"), Numerics::kFast);
  ThreadPool one(1);
  const auto ops = make_cpu_ops(one);
  expect_same_bits(whole, measure(*ops, golden("t3"), golden("t3"), Numerics::kFast));
  expect_same_bits(whole, measure(*ops_, golden("t3"), golden("t3"), Numerics::kFast, 7));
}

TEST_F(QualityOfModels, several_candidates_are_measured_as_if_alone) {
  Model reference(golden("t3"), *ops_);
  Model fast(golden("t3"), *ops_, {.numerics = Numerics::kFast});
  Model official(golden("t3"), *ops_, {.numerics = Numerics::kOfficial});
  Model* const candidates[] = {&official, &fast};
  int64_t last = 0;
  const QualityReport report =
      measure_quality(reference, candidates, chunks_, [&](int64_t n_done, int64_t n_total) {
        EXPECT_GT(n_done, last);
        EXPECT_EQ(n_total, 3 * 90);
        last = n_done;
      });
  EXPECT_EQ(last, 3 * 90);
  const QualityReport alone = measure(*ops_, golden("t3"), golden("t3"), Numerics::kFast);
  EXPECT_EQ(report.candidates[1].kl.mean, alone.candidates[0].kl.mean);
  EXPECT_EQ(report.candidates[1].layer_errors, alone.candidates[0].layer_errors);
  EXPECT_NE(report.candidates[0].kl.mean, alone.candidates[0].kl.mean);
}

// t1 and t3 have the same shape and other weights: nearly nothing is shared.
TEST_F(QualityOfModels, other_weights_are_far_away) {
  const QualityReport report = measure(*ops_, golden("t1"), golden("t3"), Numerics::kExact);
  EXPECT_GT(report.candidates[0].kl.mean, 0.01);
  EXPECT_LT(report.candidates[0].top1_agreement, 0.2);
}

template <typename Body>
std::string error_of(const Body& body) {
  try {
    body();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

void expect_part(const std::string& message, const std::string& part) {
  EXPECT_NE(message.find(part), std::string::npos) << "no '" << part << "' in: " << message;
}

TEST_F(QualityOfModels, refuses_another_vocabulary) {
  const std::string message =
      error_of([&] { measure(*ops_, golden("t1"), golden("t2"), Numerics::kExact); });
  expect_part(message, "has a vocabulary of 777");
  expect_part(message, "has 512");
}

// A folder of its own, for files that a test changes.
class QualityOfFiles : public QualityOfModels {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / fmt::format("dsv4-quality-{}", ::getpid());
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  static Tensors read_tensors(const std::string& path) {
    const Checkpoint checkpoint = Checkpoint::open(path);
    Tensors tensors;
    for (const StoredTensor& t : checkpoint.tensors()) {
      tensors[t.name] = {t.dtype, t.shape, {t.data.begin(), t.data.end()}};
    }
    return tensors;
  }

  template <typename Keep>
  void write(const std::string& file, const Tensors& tensors, const Keep& keep) const {
    std::vector<SafetensorsWriter::Declaration> declarations;
    for (const auto& [name, t] : tensors) {
      if (keep(name)) declarations.push_back({name, t.dtype, t.shape});
    }
    SafetensorsWriter writer(folder_ / file, declarations);
    for (const auto& declaration : declarations) writer.append(tensors.at(declaration.name).data);
    writer.finish();
  }
  void write(const std::string& file, const Tensors& tensors) const {
    write(file, tensors, [](const std::string&) { return true; });
  }

  fs::path folder_;
};

TEST_F(QualityOfFiles, logits_that_are_not_finite_name_the_model) {
  Tensors tensors = read_tensors(golden("t1"));
  const uint16_t infinity = 0x7F80;  // BF16
  ASSERT_EQ(tensors.at("head.weight").dtype, DType::kBF16);
  std::memcpy(tensors["head.weight"].data.data(), &infinity, sizeof(infinity));
  write("model.safetensors", tensors);
  fs::copy(golden("t1") + "/config.json", folder_);
  const std::string message =
      error_of([&] { measure(*ops_, golden("t1"), folder_.string(), Numerics::kExact); });
  expect_part(message, folder_.string());
  expect_part(message, "not finite after token 1");
}

TEST_F(QualityOfFiles, a_hash_says_which_weights_and_not_which_files) {
  const ModelConfig config = load_config(golden("t1"));
  Tensors tensors = read_tensors(golden("t1"));
  const Checkpoint original = Checkpoint::open(golden("t1"));
  const std::string hash = hash_model(original, config);
  // The definition, over one string.
  std::string all = config_to_json(config);
  int64_t n_bytes = 0;
  for (const auto& [name, t] : tensors) {
    std::string shape;
    for (const int64_t n : t.shape) shape += (shape.empty() ? "" : ", ") + std::to_string(n);
    all += "\n" + name + " " + std::string(dtype_name(t.dtype)) + " [" + shape + "]\n";
    all.append(reinterpret_cast<const char*>(t.data.data()), t.data.size());
    n_bytes += std::ssize(t.data);
  }
  const XXH128_hash_t expected = XXH3_128bits(all.data(), all.size());
  EXPECT_EQ(hash, fmt::format("{:016x}{:016x}", expected.high64, expected.low64));
  // Two shards.
  const auto is_norm = [](const std::string& name) { return name.ends_with("norm.weight"); };
  write("b.safetensors", tensors, [&](const std::string& name) { return !is_norm(name); });
  write("a.safetensors", tensors, is_norm);
  nlohmann::json map;
  for (const auto& [name, t] : tensors) {
    map[name] = is_norm(name) ? "a.safetensors" : "b.safetensors";
  }
  std::ofstream(folder_ / "model.safetensors.index.json")
      << nlohmann::json{{"weight_map", map}}.dump();
  int64_t last = 0;
  EXPECT_EQ(hash_model(Checkpoint::open(folder_), config,
                       [&](int64_t n_done, int64_t n_total) {
                         EXPECT_EQ(n_total, n_bytes);
                         last = n_done;
                       }),
            hash);
  EXPECT_EQ(last, n_bytes);
  // A bit of a weight, and a number of the configuration.
  tensors["layers.2.attn.wkv.weight"].data.back() ^= std::byte{1};
  write("b.safetensors", tensors, [&](const std::string& name) { return !is_norm(name); });
  EXPECT_NE(hash_model(Checkpoint::open(folder_), config), hash);
  ModelConfig other = config;
  other.rope_theta += 1;
  EXPECT_NE(hash_model(original, other), hash);
}

TEST_F(QualityOfFiles, bits_per_weight_of_a_model_in_bf16) {
  Style style = kStyles[5];
  ASSERT_EQ(style.linear, DType::kBF16);
  ModelConfig config = small_config();
  config.n_mtp_layers = 1;
  write("model.safetensors", random_checkpoint(config, style));
  const Checkpoint checkpoint = Checkpoint::open(folder_);
  EXPECT_EQ(bits_per_weight(stored_groups(checkpoint, config), config), 16);
  // Released FP4 and FP8 with one E8M0 for 32 or for 128 x 128 weights.
  const ModelConfig flash = preset_config("flash");
  const double bits = bits_per_weight(released_groups(flash), flash);
  EXPECT_GT(bits, 4.25);
  EXPECT_LT(bits, 4.5);
}

class Tokenizers : public testing::Test {
 protected:
  Tokenizers() {
    const std::string path = std::string(DSV4_SOURCE_DIR) + "/models/mini/tokenizer.json";
    json_ = nlohmann::ordered_json::parse(read_file(path));
  }
  Tokenizer load() const { return Tokenizer::parse(json_.dump(), "tokenizer.json"); }

  nlohmann::ordered_json json_;
};

TEST_F(Tokenizers, that_are_the_same_give_the_ids) {
  const std::string text = "Lily lives near the market. <｜User｜>";
  const Tokenizer tokenizer = load();
  // Special tokens in a text are text.
  EXPECT_EQ(encode_for_both(text, tokenizer, load(), "m"),
            tokenizer.encode(text, ParseSpecial::kNo));
}

TEST_F(Tokenizers, with_other_tokens_are_refused) {
  const Tokenizer reference = load();
  auto& vocab = json_["model"]["vocab"];
  std::swap(vocab["a"], vocab["b"]);
  const std::string message =
      error_of([&] { encode_for_both("no such letters", reference, load(), "candidate"); });
  expect_part(message, "candidate: has another tokenizer");
  expect_part(message, "differs");
}

TEST_F(Tokenizers, that_cut_the_text_otherwise_are_refused) {
  const Tokenizer reference = load();
  json_["model"]["merges"].erase(0);
  const Tokenizer other = load();
  expect_part(error_of([&] {
                encode_for_both("Lily lives near the market, in the old house.", reference, other,
                                "candidate");
              }),
              "candidate: has another tokenizer than the reference: it cuts");
  EXPECT_EQ(encode_for_both("x", reference, other, "candidate").size(), 1u);
}

}  // namespace
}  // namespace dsv4
