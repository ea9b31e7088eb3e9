// The replay of a recorded trace counts what the model that recorded it has counted.
#include "base/rng.h"
#include "base/thread_pool.h"
#include "kernels/cpu/cpu_ops.h"
#include "model/model.h"
#include "plan/expert_replay.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <memory>

#include <fmt/core.h>

namespace dsv4 {
namespace {

namespace fs = std::filesystem;

class RecordedModel : public testing::TestWithParam<const char*> {
 protected:
  RecordedModel()
      : path_(fs::temp_directory_path() / fmt::format("dsv4-recorded-{}", ::getpid())),
        pool_(2),
        ops_(make_cpu_ops(pool_)) {}
  ~RecordedModel() override { fs::remove(path_); }

  std::unique_ptr<Model> model(int64_t budget) {
    return std::make_unique<Model>(
        fs::path(DSV4_SOURCE_DIR) / GetParam(), *ops_,
        ModelOptions{.max_batch_tokens = 64, .context = 400, .expert_memory = budget});
  }

  // A prompt of each of some sequences in chunks, then tokens of all of them together.
  static void run(Model& model, int64_t n_sequences, int64_t chunk) {
    constexpr int64_t kPrompt = 70;
    std::vector<std::unique_ptr<SequenceState>> states;
    uint64_t n_draws = 0;
    const auto ids = [&](int64_t n) {
      std::vector<int32_t> result;
      for (int64_t i = 0; i < n; ++i) {
        result.push_back(static_cast<int32_t>(random_bits(2, 0, n_draws++) %
                                              static_cast<uint64_t>(model.config().vocab_size)));
      }
      return result;
    };
    Batch batch;
    for (int64_t s = 0; s < n_sequences; ++s) {
      states.push_back(std::make_unique<SequenceState>(model.state_layout()));
      for (int64_t begin = 0; begin < kPrompt; begin += chunk) {
        batch.clear();
        batch.add(*states.back(), ids(std::min(chunk, kPrompt - begin)));
        model.forward(batch);
      }
    }
    for (int i = 0; i < 24; ++i) {
      batch.clear();
      for (const auto& state : states) batch.add(*state, ids(1));
      model.forward(batch);
    }
  }

  fs::path path_;
  ThreadPool pool_;
  std::unique_ptr<Ops> ops_;
};
INSTANTIATE_TEST_SUITE_P(Models, RecordedModel,
                         testing::Values("models/mini", "tests/golden/t2", "tests/golden/t3"));

TEST_P(RecordedModel, reads_what_the_replay_of_its_trace_says) {
  const std::unique_ptr<Model> free = model(0);
  const RoutingShape shape = free->routing_shape();
  int64_t all = 0;
  for (const int64_t bytes : shape.expert_bytes) all += bytes * shape.n_experts;
  int n_partial = 0;  // budgets that gave hits and evictions
  for (const auto& [n_sequences, chunk] : {std::pair(1, 1), {1, 64}, {3, 17}, {8, 5}}) {
    {
      RoutingTraceWriter writer(path_, shape);
      free->record_routing(&writer);
      run(*free, n_sequences, chunk);
      free->record_routing(nullptr);
      writer.finish();
    }
    const RoutingTrace trace = read_routing_trace(path_);
    EXPECT_EQ(trace.shape, shape);
    for (const int64_t budget : {int64_t{1}, all / 4, all / 2, all - 1}) {
      const std::unique_ptr<Model> bounded = model(budget);
      RoutingTraceWriter writer(path_, shape);
      bounded->record_routing(&writer);
      run(*bounded, n_sequences, chunk);
      writer.finish();
      EXPECT_EQ(read_routing_trace(path_).ids, trace.ids);
      const ExpertCacheStats& stats = bounded->experts()->stats();
      EXPECT_EQ(replay_experts(trace, budget).stats, stats) << budget;
      if (stats.n_hits > 0 && stats.n_evicted > 0) ++n_partial;
      EXPECT_EQ(stats.n_hits + stats.n_misses, bounded->n_expert_runs());
    }
  }
  EXPECT_GE(n_partial, 4);
}

}  // namespace
}  // namespace dsv4
