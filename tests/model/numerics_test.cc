// The default numerics is nearer to the model as its weights define it (exact) than the released
// implementation (official) is: rms of the logits over every position of every prompt.
#include "golden_measure.h"

#include "base/json.h"
#include "base/mapped_file.h"
#include "base/thread_pool.h"
#include "kernels/cpu/cpu_ops.h"

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

// Conversations of the bundled model, with what it answers.
Prompts mini_prompts(const std::string& path) {
  std::istringstream lines(read_file(path + "/golden.jsonl"));
  Prompts prompts;
  for (std::string line; std::getline(lines, line);) {
    const nlohmann::json golden = parse_json(line, "golden.jsonl");
    prompts.push_back(golden["prompt_ids"]);
    for (const int32_t id : golden["reference_ids"]) prompts.back().push_back(id);
  }
  return prompts;
}

std::vector<float> logits(const std::string& path, Numerics numerics, const Prompts& prompts,
                          Ops& ops) {
  Model model(path, ops, {.numerics = numerics});
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

TEST_P(NumericsOf, fast_is_nearer_to_exact_than_official_is) {
  const std::string name = GetParam();
  const bool mini = name == "mini";
  const std::string path = mini ? std::string(DSV4_SOURCE_DIR) + "/models/mini" : folder(name);
  const Prompts prompts = mini ? mini_prompts(path) : golden_prompts(name);
  ThreadPool pool(2);
  const auto ops = make_cpu_ops(pool);
  const std::vector<float> exact = logits(path, Numerics::kExact, prompts, *ops);
  const double fast = rms_difference(logits(path, Numerics::kFast, prompts, *ops), exact);
  const double official = rms_difference(logits(path, Numerics::kOfficial, prompts, *ops), exact);
  RecordProperty("fast", fmt::format("{:.3g}", fast));
  RecordProperty("official", fmt::format("{:.3g}", official));
  EXPECT_LE(fast, official);
  if (name == "t3") {
    EXPECT_GT(fast, 1e-3) << "int8 products were not used";
  } else {
    EXPECT_EQ(fast, 0) << "weights in BF16 have no int8 products";
  }
  EXPECT_GT(official, 0.01) << "official rounds nothing";
}

}  // namespace
}  // namespace dsv4::golden
