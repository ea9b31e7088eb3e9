#include "cli/serve_forecast.h"

#include "base/error.h"
#include "cli/bench_report.h"
#include "cli/this_machine.h"
#include "plan/footprint.h"
#include "plan/record.h"
#include "plan/step_time.h"

#include <algorithm>
#include <filesystem>
#include <optional>

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

// Seconds of all steps: pieces of prompts as long as they are on average, and steps of as many
// replies as there were on average.
double predicted_steps_s(const ModelArgs& args, const Model& model, const EngineStats& stats,
                         const Machine& machine) {
  const WeightTable table = weight_table(SourceModel(args.path));
  const auto seconds = [&](const StepShape& shape) {
    return step_time(step_work(table, model.state_layout(), shape), machine, table.config)
        .seconds.expected;
  };
  const int64_t chunk = model.options().max_batch_tokens;
  const int64_t prompt = std::max<int64_t>(1, stats.n_prompt_tokens / stats.n_requests);
  const int64_t pieces = stats.n_requests * ((prompt + chunk - 1) / chunk);
  const int64_t decode_steps = std::max<int64_t>(1, stats.n_steps - pieces);
  const int64_t rows = std::max<int64_t>(1, stats.n_reply_tokens / decode_steps);
  const int64_t reply = stats.n_reply_tokens / stats.n_requests;
  return static_cast<double>(pieces) *
             seconds({.n_tokens = std::min(prompt, chunk), .context = 0, .n_logits = 1}) +
         static_cast<double>(decode_steps) *
             seconds({.n_sequences = rows, .context = prompt + reply / 2, .n_logits = rows});
}

PlanRecord record_of(const ModelArgs& args, const Model& model, const EngineStats& stats) {
  const std::optional<Machine> machine = known_machine();
  PlanRecord record{.date = today(),
                    .version = DSV4_VERSION,
                    .machine = machine ? machine->title : "not probed",
                    .model = std::filesystem::weakly_canonical(args.path).filename().string()};
  record.run = fmt::format("serve, {} requests, {} + {} tokens", stats.n_requests,
                           stats.n_prompt_tokens, stats.n_reply_tokens);
  if (const double peak = peak_memory(); peak > 0) {
    record.comparisons.push_back({"memory", predicted_memory(model, stats), peak});
  }
  if (machine && stats.step_s > 0) {
    record.comparisons.push_back(
        {"steps", predicted_steps_s(args, model, stats, *machine), stats.step_s});
  }
  return record;
}

}  // namespace

void log_forecast(const ModelArgs& args, const Model& model, const EngineStats& stats,
                  const Log& log) {
  if (stats.n_requests == 0 || stats.n_prompt_tokens == 0) return;
  try {
    const PlanRecord record = record_of(args, model, stats);
    for (const Comparison& c : record.comparisons) {
      const bool memory = c.what == "memory";
      const auto text = [&](double value) {
        return memory ? fmt::format("{:.3f} GB", value * 1e-9) : fmt::format("{:.2f} s", value);
      };
      log.info(memory ? "memory, against its prediction" : "time of steps, against its prediction",
               {{"predicted", text(c.predicted)},
                {"measured", text(c.measured)},
                {"error", fmt::format("{:+.1f} %", 100 * c.error())}});
    }
    append_record(state_file(kRecordFile), record);
  } catch (const std::exception& error) {
    log.warning("no comparison with the plan", {{"reason", error.what()}});
  }
}

}  // namespace dsv4::cli
