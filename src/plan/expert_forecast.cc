#include "plan/expert_forecast.h"

#include "base/error.h"
#include "plan/expert_replay.h"

#include <algorithm>
#include <map>
#include <memory>
#include <tuple>
#include <utility>

#include <fmt/core.h>

namespace dsv4 {
namespace {

RoutingShape shape_of(const WeightTable& table) {
  const ModelConfig& c = table.config;
  RoutingShape shape{.n_layers = c.n_layers,
                     .n_experts = c.n_experts,
                     .n_active = c.n_active_experts,
                     .expert_bytes = std::vector<int64_t>(static_cast<size_t>(c.n_layers), 0)};
  for (const TableWeight& w : table.weights) {
    if (w.cls != TensorClass::kRoutedExpert) continue;
    shape.expert_bytes[static_cast<size_t>(w.layer)] += w.bytes / w.n_matrices;
  }
  return shape;
}

// The passes from `first_pass` on count.
ExpertModel model_of(RoutingTrace trace, int64_t first_pass) {
  const auto shared = std::make_shared<const RoutingTrace>(std::move(trace));
  return [shared, first_pass](double resident_bytes, const DiskRates& source) {
    const ExpertReplay replay =
        since_pass(replay_experts(*shared, static_cast<int64_t>(resident_bytes)), first_pass);
    double sum = 0;
    for (const ReplayedPass& pass : replay.passes) sum += read_seconds(pass, source);
    return ExpertTraffic{.resident_bytes = resident_bytes,
                         .hit_rate = replay.hit_rate(),
                         .bytes_per_token = replay.bytes_per_token(),
                         .mean_s = sum / static_cast<double>(replay.passes.size()),
                         .p50_s = read_seconds_quantile(replay, source, 0.50),
                         .p95_s = read_seconds_quantile(replay, source, 0.95),
                         .p99_s = read_seconds_quantile(replay, source, 0.99)};
  };
}

constexpr int64_t kFilling = 256;  // passes; the policy forgets a use in 64
constexpr int64_t kCounted = 256;
constexpr int64_t kMostTokens = 64;  // of a pass: more choose the same experts

// What the choices of a skew depend on.
using Drawn = std::tuple<int64_t, int64_t, int64_t, int64_t, double>;

}  // namespace

ExpertModelFor expert_models_of_skew() {
  const auto traces = std::make_shared<std::map<Drawn, RoutingTrace>>();
  return [traces](const WeightTable& table, const Workload& workload) {
    const RoutingShape shape = shape_of(table);
    const int64_t n_tokens = std::min(workload.users, kMostTokens);
    const auto [drawn, is_new] = traces->try_emplace(
        Drawn(shape.n_layers, shape.n_experts, shape.n_active, n_tokens, workload.expert_skew));
    if (is_new) {
      drawn->second = synthetic_trace(shape, {.zipf = workload.expert_skew,
                                              .n_passes = kFilling + kCounted,
                                              .tokens_per_pass = n_tokens,
                                              .seed = 1});
    }
    RoutingTrace trace = drawn->second;
    trace.shape.expert_bytes = shape.expert_bytes;
    return model_of(std::move(trace), kFilling);
  };
}

ExpertModelFor expert_models_of_trace(RoutingTrace recorded) {
  return [recorded = std::move(recorded)](const WeightTable& table, const Workload&) {
    const RoutingShape shape = shape_of(table);
    RoutingTrace trace = recorded;
    if (trace.shape.n_layers != shape.n_layers || trace.shape.n_experts != shape.n_experts ||
        trace.shape.n_active != shape.n_active) {
      throw Error(ErrorCode::kInvalidInput, "--trace",
                  fmt::format("is of a model with {} layers and {} of {} experts, this one has {} "
                              "layers and {} of {}",
                              trace.shape.n_layers, trace.shape.n_active, trace.shape.n_experts,
                              shape.n_layers, shape.n_active, shape.n_experts));
    }
    if (trace.passes.empty()) throw Error(ErrorCode::kInvalidInput, "--trace", "has no passes");
    trace.shape.expert_bytes = shape.expert_bytes;
    const int64_t first = std::ssize(trace.passes) / 4;
    return model_of(std::move(trace), first);
  };
}

}  // namespace dsv4
