#include "cli/serve_forecast.h"

#include "base/error.h"
#include "cli/this_machine.h"
#include "plan/footprint.h"
#include "plan/record.h"
#include "plan/step_time.h"

#include <algorithm>
#include <optional>
#include <vector>

#include <fmt/core.h>

namespace dsv4::cli {
namespace {

double predicted_memory(const Model& model, const EngineStats& stats) {
  const ModelConfig& config = model.config();
  const int64_t n_tokens = stats.n_prompt_tokens + stats.n_reply_tokens;
  MemoryForecast forecast =
      forecast_memory(config, stored_groups(model.checkpoint(), config), model.options(), n_tokens);
  forecast.state = stats.state_bytes;
  return static_cast<double>(forecast.total());
}

// Seconds of all steps: prompts of the average length, and steps of as many replies as there were
// on average.
double predicted_steps_s(const ModelArgs& args, const Model& model, const EngineStats& stats,
                         const Machine& machine) {
  const WeightTable table = weight_table(SourceModel(args.path));
  const StateLayout& layout = model.state_layout();
  const int64_t chunk = model.options().max_batch_tokens;
  const int64_t prompt = std::max<int64_t>(1, stats.n_prompt_tokens / stats.n_requests);
  const int64_t cached = stats.n_cached_tokens / stats.n_requests;
  const int64_t reply = stats.n_reply_tokens / stats.n_requests;
  const int64_t pieces = stats.n_requests * ((prompt + chunk - 1) / chunk);
  const int64_t decode_steps = std::max<int64_t>(1, stats.n_steps - pieces);
  const int64_t rows = std::max<int64_t>(1, stats.n_reply_tokens / decode_steps);
  const StepShape step{
      .n_sequences = rows, .context = cached + prompt + reply / 2, .n_logits = rows};
  return static_cast<double>(stats.n_requests) *
             prompt_seconds(table, layout, machine, cached, prompt, chunk) +
         static_cast<double>(decode_steps) *
             step_time(step_work(table, layout, step), machine, table.config).seconds.expected;
}

// What the probe measured, with the threads and instructions of this run.
bool is_as_probed(const ModelArgs& args, const Machine& machine) {
  return (args.threads == 0 || args.threads == machine.probe->n_threads) &&
         isa_name(parse_isa(args.isa)) == machine.probe->isa;
}

std::vector<Comparison> comparisons_of(const ModelArgs& args, const Model& model,
                                       const EngineStats& stats) {
  std::vector<Comparison> comparisons;
  if (const double peak = peak_memory(); peak > 0) {
    comparisons.push_back({"memory", predicted_memory(model, stats), peak});
  }
  const std::optional<Machine> machine = known_machine();
  if (machine && is_as_probed(args, *machine) && stats.step_s > 0) {
    comparisons.push_back({"steps", predicted_steps_s(args, model, stats, *machine), stats.step_s});
  }
  return comparisons;
}

}  // namespace

void log_forecast(const ModelArgs& args, const Model& model, const EngineStats& stats,
                  const Log& log) {
  const bool reads_experts = args.expert_memory > 0;  // as they are chosen: not predicted
  if (stats.n_requests == 0 || stats.n_prompt_tokens == 0 || reads_experts) return;
  try {
    for (const Comparison& c : comparisons_of(args, model, stats)) {
      const bool memory = c.what == "memory";
      const auto text = [&](double value) {
        return memory ? fmt::format("{:.3f} GB", value * 1e-9) : fmt::format("{:.2f} s", value);
      };
      log.info(memory ? "memory, against its prediction" : "time of steps, against its prediction",
               {{"predicted", text(c.predicted)},
                {"measured", text(c.measured)},
                {"error", fmt::format("{:+.1f} %", 100 * c.error())}});
    }
  } catch (const std::exception& error) {
    log.warning("no comparison with the plan", {{"reason", error.what()}});
  }
}

}  // namespace dsv4::cli
