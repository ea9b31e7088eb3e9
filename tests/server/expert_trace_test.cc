// What an engine counts of its experts, with requests that come and go, is what the planner replays
// from the trace that it recorded.
#include "base/rng.h"
#include "base/thread_pool.h"
#include "engine/engine.h"
#include "kernels/cpu/cpu_ops.h"
#include "model/gguf_tokenizer.h"
#include "plan/expert_replay.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include <fmt/core.h>

namespace dsv4 {
namespace {

namespace fs = std::filesystem;

std::string folder() { return std::string(DSV4_SOURCE_DIR) + "/models/mini"; }

Request request(uint64_t stream) {
  Request request;
  const auto n = static_cast<int64_t>(5 + random_bits(4, stream, 0) % 200);
  for (int64_t i = 1; i <= n; ++i) {
    request.prompt.push_back(
        static_cast<int32_t>(random_bits(4, stream, static_cast<uint64_t>(i)) % 500));
  }
  request.max_tokens = 10 + static_cast<int64_t>(stream) % 30;
  return request;
}

// All replies' tokens; what the engine counted in `stats`.
std::vector<std::vector<int32_t>> answer(Model& model, const Tokenizer& tokenizer,
                                         EngineStats& stats) {
  Engine engine(model, tokenizer, {.max_running = 6});
  std::vector<std::shared_ptr<EventStream>> streams;
  for (uint64_t i = 0; i < 20; ++i) streams.push_back(engine.submit(request(i)).stream);
  std::vector<std::vector<int32_t>> replies;
  for (const auto& stream : streams) {
    replies.emplace_back();
    std::vector<StreamEvent> events;
    for (bool more = true; more;) {
      events.clear();
      more = stream->wait_and_take(events);
      for (const StreamEvent& event : events) {
        EXPECT_NE(event.reason, EndReason::kError) << event.error;
        if (event.token) replies.back().push_back(event.token->id);
      }
    }
  }
  engine.stop();
  stats = engine.stats();
  return replies;
}

TEST(ExpertTrace, replays_to_the_counters_of_the_engine_that_recorded_it) {
  const fs::path path = fs::temp_directory_path() / fmt::format("dsv4-engine-rt-{}", ::getpid());
  ThreadPool pool(2);
  const std::unique_ptr<Ops> ops = make_cpu_ops(pool);
  const Tokenizer tokenizer = load_tokenizer(folder());
  EngineStats stats;
  Model free(folder(), *ops, {.context = 1000});
  const auto expected = answer(free, tokenizer, stats);
  EXPECT_EQ(stats.experts, ExpertCacheStats());
  for (const int64_t budget : {int64_t{1} << 20, int64_t{5} << 20}) {
    Model model(folder(), *ops, {.max_batch_tokens = 48, .context = 1000, .expert_memory = budget});
    RoutingTraceWriter writer(path, model.routing_shape());
    model.record_routing(&writer);
    EXPECT_EQ(answer(model, tokenizer, stats), expected);
    writer.finish();
    const RoutingTrace trace = read_routing_trace(path);
    EXPECT_EQ(std::ssize(trace.passes), stats.n_steps);
    EXPECT_EQ(replay_experts(trace, budget).stats, stats.experts);
    EXPECT_GT(stats.experts.n_evicted, 0);
  }
  fs::remove(path);
}

}  // namespace
}  // namespace dsv4
