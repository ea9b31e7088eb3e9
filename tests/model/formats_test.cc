// The promise of the engine for every stored format in fast numerics: the logits of a token are the
// same bits one at a time and in chunks, alone and in a batch, on any number of threads and with
// every instruction set of this machine.
#include "base/rng.h"
#include "base/thread_pool.h"
#include "kernels/cpu/cpu_ops.h"
#include "model/model.h"
#include "synth/synth.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include <fmt/core.h>
#include <unistd.h>

namespace dsv4 {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kTokens = 90;
constexpr const char* kNative = "native";

// One layer of each kind; rows of 256, so that every block type fits.
ModelConfig small_model() {
  ModelConfig c = select_layers(preset_config("tiny"), {0, 1, 2});
  c.n_experts = 8;
  c.expert_dim = 256;
  c.q_lora_rank = 256;
  return c;
}

std::vector<std::string> all_types() {
  std::vector<std::string> types = mix_names(Container::kGguf);
  types.emplace_back(kNative);
  return types;
}

struct Engine {
  Engine(const fs::path& path, int n_threads, Isa isa)
      : pool(n_threads), ops(make_cpu_ops(pool, isa)), model(path, *ops, {}) {}

  // Logits of all positions, fed in chunks of this size; beside another sequence if there is one.
  std::vector<float> logits(const std::vector<int32_t>& ids, size_t chunk,
                            const std::vector<int32_t>& beside = {}) {
    SequenceState state(model.state_layout());
    SequenceState other(model.state_layout());
    const auto n_vocab = static_cast<size_t>(model.config().vocab_size);
    std::vector<float> all(ids.size() * n_vocab);
    for (size_t begin = 0; begin < ids.size(); begin += chunk) {
      const auto part = std::span(ids).subspan(begin, std::min(chunk, ids.size() - begin));
      Batch batch;
      if (begin < beside.size()) {
        batch.add(other, std::span(beside).subspan(begin, std::min(chunk, beside.size() - begin)));
      }
      batch.add(state, part);
      const View<const float, 3> streams = model.forward(batch);
      const auto n = static_cast<int64_t>(part.size());
      const Matrix<float> out(all.data() + begin * n_vocab, {n, static_cast<int64_t>(n_vocab)},
                              {static_cast<int64_t>(n_vocab), 1});
      model.logits(streams.slice(batch.n_tokens() - n, n), out);
    }
    return all;
  }

  ThreadPool pool;
  std::unique_ptr<Ops> ops;
  Model model;
};

class EveryFormat : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / fmt::format("dsv4-formats-{}-{}", GetParam(), ::getpid());
    fs::remove_all(folder_);
    ThreadPool pool(2);
    SynthOptions options{.folder = folder_, .format = SynthFormat::kNative};
    if (GetParam() != kNative) {
      options.format = SynthFormat::kGguf;
      options.mix = mix_of_name(GetParam());
    }
    synthesize(small_model(), options, pool);
  }
  void TearDown() override { fs::remove_all(folder_); }

  std::vector<int32_t> ids(uint64_t stream, int64_t n) const {
    const auto n_vocab = static_cast<uint64_t>(small_model().vocab_size);
    std::vector<int32_t> result;
    for (uint64_t i = 0; std::ssize(result) < n; ++i) {
      result.push_back(static_cast<int32_t>(random_bits(7, stream, i) % n_vocab));
    }
    return result;
  }

  fs::path folder_;
};
INSTANTIATE_TEST_SUITE_P(Every, EveryFormat, testing::ValuesIn(all_types()),
                         [](const auto& test) { return test.param; });

TEST_P(EveryFormat, gives_the_same_bits_however_it_is_run) {
  const std::vector<int32_t> tokens = ids(1, kTokens);
  Engine engine(folder_, 2, best_isa());
  const std::vector<float> whole = engine.logits(tokens, tokens.size());
  ASSERT_TRUE(std::ranges::all_of(whole, [](float x) { return std::isfinite(x); }));
  for (const size_t chunk : {1, 2, 7, 30}) {
    EXPECT_EQ(engine.logits(tokens, chunk), whole) << "chunks of " << chunk;
  }
  EXPECT_EQ(engine.logits(tokens, 11, ids(2, 60)), whole) << "in a batch";
  for (const int n_threads : {1, 3}) {
    EXPECT_EQ(Engine(folder_, n_threads, best_isa()).logits(tokens, 40), whole)
        << n_threads << " threads";
  }
  for (const Isa isa : kAllIsas) {
    if (!isa_supported(isa)) continue;
    Engine other(folder_, 2, isa);
    EXPECT_EQ(other.logits(tokens, tokens.size()), whole) << isa_name(isa);
    EXPECT_EQ(other.logits(tokens, 1), whole) << isa_name(isa) << ", one at a time";
  }
}

}  // namespace
}  // namespace dsv4
