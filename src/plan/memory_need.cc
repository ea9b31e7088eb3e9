// Bytes of a model in use, from the functions that the loader and the allocator use.
#include "model/model.h"
#include "plan/planner.h"

namespace dsv4 {

MemoryNeed memory_need(const WeightTable& table, const Workload& workload) {
  const ModelOptions options{.numerics = Numerics::kFast,
                             .kv = workload.kv,
                             .max_batch_tokens = workload.chunk,
                             .context = workload.context};
  const auto users = static_cast<double>(workload.users);
  // Every expert is used sooner or later.
  constexpr int64_t kManyTokens = int64_t{1} << 24;
  const MemoryForecast forecast =
      forecast_memory(table.config, table.groups(), options, kManyTokens, workload.users);
  MemoryNeed need;
  need.experts = static_cast<double>(table.expert_bytes());
  need.dense = static_cast<double>(forecast.weights) - need.experts;
  const StateLayout layout = Model::layout_of(table.config, options);
  for (int64_t i = 0; i < table.config.n_layers; ++i) {
    const StateBytes bytes = state_bytes(layout.layers[static_cast<size_t>(i)],
                                         layout.rollback_tokens, workload.context);
    const LayerKind kind = table.config.kind(i);
    double& kv = kind == LayerKind::kSwa   ? need.kv_swa
                 : kind == LayerKind::kCsa ? need.kv_csa
                                           : need.kv_hca;
    kv += users * static_cast<double>(bytes.window + bytes.compressed + bytes.index);
    need.tails += users * static_cast<double>(bytes.tails);
  }
  need.scratch = static_cast<double>(Model::workspace_bytes(table.config, options));
  need.runtime = static_cast<double>(forecast.program);
  return need;
}

}  // namespace dsv4
