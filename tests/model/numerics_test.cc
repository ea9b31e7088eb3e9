// The default numerics is at least as near to the model as its weights define it (exact) as the
// released implementation (official) is: rms of the logits over every position of every prompt.
#include "golden_measure.h"

#include "base/json.h"
#include "base/mapped_file.h"
#include "base/thread_pool.h"
#include "kernels/cpu/cpu_ops.h"
#include "text/tokenizer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <sstream>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

namespace dsv4::golden {
namespace {

using Prompts = std::vector<std::vector<int32_t>>;

Prompts golden_prompts(const std::string& name) {
  const Checkpoint vectors = Checkpoint::open(folder(name) + "/vectors.safetensors");
  Prompts prompts;
  for (const int n : {1, 3, 7, 33, 130, 300}) {
    const StoredTensor* ids = vectors.find(fmt::format("prompt.p{}.ids", n));
    prompts.emplace_back(ids->data.size() / sizeof(int32_t));
    std::memcpy(prompts.back().data(), ids->data.data(), ids->data.size());
  }
  return prompts;
}

template <typename Use>
void for_each_line(const std::string& path, const Use& use) {
  std::istringstream lines(read_file(path));
  for (std::string line; std::getline(lines, line);) use(parse_json(line, path));
}

// Conversations of the bundled model, with what it answers, and the prompts of its skills. Many,
// since most of the difference lies in the few at which a router chooses another expert.
Prompts mini_prompts(const std::string& path) {
  Prompts prompts;
  for_each_line(path + "/golden.jsonl", [&](const nlohmann::json& golden) {
    prompts.push_back(golden["prompt_ids"]);
    for (const int32_t id : golden["reference_ids"]) prompts.back().push_back(id);
  });
  const Tokenizer tokenizer = Tokenizer::load(path);
  for_each_line(path + "/eval.jsonl", [&](const nlohmann::json& skill) {
    prompts.push_back(tokenizer.encode(skill["prompt"].get<std::string>(), ParseSpecial::kYes));
  });
  return prompts;
}

std::vector<float> logits(const std::string& path, const ModelOptions& options,
                          const Prompts& prompts, Ops& ops) {
  Model model(path, ops, options);
  std::vector<float> all;
  for (const std::vector<int32_t>& ids : prompts) {
    SequenceState state(model.state_layout());
    Batch batch;
    batch.add(state, ids);
    Tensor<float, 2> rows({batch.n_tokens(), model.config().vocab_size});
    model.logits(model.forward(batch), rows.view());
    all.insert(all.end(), rows.view().data(), rows.view().data() + rows.view().count());
  }
  return all;
}

double rms_difference(const std::vector<float>& a, const std::vector<float>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += std::pow(double{a[i]} - double{b[i]}, 2);
  return std::sqrt(sum / static_cast<double>(a.size()));
}

class NumericsOf : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(All, NumericsOf, testing::Values("t1", "t2", "t3", "mini"));

TEST_P(NumericsOf, fast_is_as_near_to_exact_as_official_is) {
  const std::string name = GetParam();
  const bool mini = name == "mini";
  const std::string path = mini ? std::string(DSV4_SOURCE_DIR) + "/models/mini" : folder(name);
  const Prompts prompts = mini ? mini_prompts(path) : golden_prompts(name);
  ThreadPool pool(2);
  const auto ops = make_cpu_ops(pool);
  const auto of = [&](const ModelOptions& options) { return logits(path, options, prompts, *ops); };
  const std::vector<float> exact = of({.numerics = Numerics::kExact});
  const auto fast = [&](KvStorage kv) {
    return rms_difference(of({.numerics = Numerics::kFast, .kv = kv}), exact);
  };
  const double native = fast(KvStorage::kNative);
  const double bf16 = fast(KvStorage::kBf16);
  const double f32 = fast(KvStorage::kF32);
  const double official = rms_difference(of({.numerics = Numerics::kOfficial}), exact);
  for (const auto& [what, rms] : {std::pair("native", native), std::pair("bf16", bf16),
                                  std::pair("f32", f32), std::pair("official", official)}) {
    RecordProperty(what, fmt::format("{:.3g}", rms));
  }
  EXPECT_LE(native, official);
  EXPECT_LT(bf16, native);
  EXPECT_GT(native, 1e-3) << "entries were not stored in FP8";
  if (name == "t3") {
    EXPECT_GT(f32, 1e-3) << "int8 products were not used";
  } else {
    EXPECT_EQ(f32, 0) << "weights in BF16 have no int8 products";
  }
  EXPECT_GT(official, 0.01) << "official rounds nothing";
}

}  // namespace
}  // namespace dsv4::golden
