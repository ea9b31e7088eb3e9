#include "cli/plan_verify.h"

#include "base/rng.h"
#include "bench/model_bench.h"
#include "cli/bench_report.h"
#include "cli/model_options.h"
#include "cli/this_machine.h"
#include "kernels/cpu/roofs.h"
#include "plan/footprint.h"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

namespace dsv4::cli {
namespace {

// Runs the prompts and replies of all users.
class Run {
 public:
  Run(Model& model, const Workload& load) : model_(model), load_(load) {}

  void all() {
    std::vector<SequenceState> states;
    for (int64_t i = 0; i < load_.users; ++i) {
      states.emplace_back(model_.state_layout());
      prompt(states.back());
    }
    const Tensor<float, 2> logits({load_.users, model_.config().vocab_size});
    for (int64_t i = 0; i < load_.reply_tokens; ++i) {
      Batch batch;
      for (SequenceState& state : states) batch.add(state, ids(1));
      model_.logits(model_.forward(batch), logits.view());
    }
  }

 private:
  void prompt(SequenceState& state) {
    for (int64_t begin = 0; begin < load_.prompt_tokens; begin += load_.chunk) {
      Batch batch;
      batch.add(state, ids(std::min(load_.chunk, load_.prompt_tokens - begin)));
      model_.forward(batch);
    }
  }

  std::vector<int32_t> ids(int64_t n) {
    std::vector<int32_t> result;
    const auto vocabulary = static_cast<uint64_t>(model_.config().vocab_size);
    for (int64_t i = 0; i < n; ++i) {
      result.push_back(static_cast<int32_t>(random_bits(3, 3, n_drawn_++) % vocabulary));
    }
    return result;
  }

  Model& model_;
  const Workload& load_;
  uint64_t n_drawn_ = 0;
};

double predicted_memory(const Model& model, const Workload& load) {
  const ModelConfig& config = model.config();
  ModelOptions used = model.options();
  used.max_batch_tokens = std::max(load.users, std::min(load.chunk, load.prompt_tokens));
  return static_cast<double>(forecast_memory(config, stored_groups(model.checkpoint(), config),
                                             used, load.prompt_tokens + load.reply_tokens,
                                             load.users)
                                 .total());
}

// The machine with its rates as they are now.
Machine measured_now(Machine machine, RoofMeter& meter) {
  std::vector<double> reads;
  for (int i = 0; i < 5; ++i) reads.push_back(meter.measure().read);
  machine.rates.read = median(std::move(reads)).value;
  return machine;
}

}  // namespace

PlanRecord verify_plan(const std::string& path, const Workload& load, const Machine& probed) {
  const WeightTable table = weight_table(SourceModel(path));
  reset_peak_memory();
  ModelArgs args{.path = path, .kv = load.kv, .threads = probed.probe->n_threads};
  args.context = load.context;
  args.chunk = std::max(load.chunk, load.users);
  LoadedModel model(args);
  Run(*model, load).all();
  PlanRecord record{.date = today(),
                    .version = DSV4_VERSION,
                    .machine = probed.title,
                    .model = std::filesystem::weakly_canonical(path).filename().string()};
  record.run =
      fmt::format("{} x ({} + {} tokens)", load.users, load.prompt_tokens, load.reply_tokens);
  const double measured_memory = peak_memory();
  if (measured_memory > 0) {
    record.comparisons.push_back({"memory", predicted_memory(*model, load), measured_memory});
  }

  // Speeds are of weights in memory, all of them.
  for (const MappedFile& file : model->checkpoint().files()) file.populate();
  RoofMeter meter(model.pool(), parse_isa(probed.probe->isa));
  const Machine machine = measured_now(probed, meter);
  const StateLayout& layout = model->state_layout();
  ModelBench bench(*model, meter);
  const int64_t context = load.prompt_tokens + load.reply_tokens / 2;
  const StepShape step{.n_sequences = load.users, .context = context, .n_logits = load.users};
  const double decode_s =
      step_time(step_work(table, layout, step), machine, table.config).seconds.expected;
  const auto users = static_cast<double>(load.users);
  const ModelRow decode = bench.decode(context, load.users);
  record.comparisons.push_back({"decode", users / decode_s, decode.tokens_per_second()});
  const double prefill_s =
      prompt_seconds(table, layout, machine, 0, load.prompt_tokens, args.chunk);
  const ModelRow prefill = bench.prefill(load.prompt_tokens);
  record.comparisons.push_back({"prefill", static_cast<double>(load.prompt_tokens) / prefill_s,
                                prefill.tokens_per_second()});
  // The machine itself, just before and meanwhile: shared machines change from minute to minute.
  record.comparisons.push_back({"read roof", machine.rates.read, decode.timing.roof(&Roofs::read)});
  record.comparisons.push_back(
      {"int8 roof", machine.rates.int8, prefill.timing.roof(&Roofs::int8)});
  return record;
}

void print_record(const PlanRecord& record) {
  fmt::print("{}, {}\n\n{:<12}{:>14}{:>14}{:>9}\n", record.model, record.run, "", "predicted",
             "measured", "error");
  for (const Comparison& c : record.comparisons) {
    const ComparisonKind kind = kind_of(c.what);
    fmt::print("{:<12}{:>14.4g}{:>14.4g}{:>+8.1f}%  {}\n", c.what, c.predicted / kind.unit,
               c.measured / kind.unit, 100 * c.error(), kind.unit_name);
  }
}

void print_accuracy(const RecordFile& file) {
  if (file.records.empty()) {
    fmt::print("no run has been recorded; dsv4 plan --verify -m MODEL records one\n");
  } else {
    fmt::print("{:<12}{:>6}{:>10}{:>10}{:>12}\n", "", "runs", "median", "worst", "within");
  }
  for (const auto& [what, a] : accuracy_of(file.records)) {
    fmt::print("{:<12}{:>6}{:>9.1f}%{:>+9.1f}%{:>8} of {:.0f} %\n", what, a.n, 100 * a.median_error,
               100 * a.worst_error, a.n_within, 100 * a.bound);
  }
  bool first = true;
  for (const PlanRecord& record : file.records) {
    for (const Comparison& c : record.comparisons) {
      const double bound = kind_of(c.what).bound;
      if (bound == 0 || std::abs(c.error()) <= bound) continue;
      if (first) fmt::print("\nbeyond these bounds:\n");
      first = false;
      fmt::print("  {}  {}, {}: {} {:+.1f} %\n", record.date, record.model, record.run, c.what,
                 100 * c.error());
    }
  }
  if (file.n_unreadable > 0) fmt::print("{} lines could not be read\n", file.n_unreadable);
}

nlohmann::ordered_json accuracy_json(const RecordFile& file) {
  auto json = nlohmann::ordered_json{{"runs", nlohmann::ordered_json::array()},
                                     {"accuracy", nlohmann::ordered_json::object()},
                                     {"unreadable_lines", file.n_unreadable}};
  for (const PlanRecord& record : file.records) {
    json["runs"].push_back(nlohmann::ordered_json::parse(record_line(record)));
  }
  for (const auto& [what, a] : accuracy_of(file.records)) {
    json["accuracy"][what] = {{"runs", a.n},
                              {"median_error", a.median_error},
                              {"worst_error", a.worst_error},
                              {"bound", a.bound},
                              {"within_bound", a.n_within}};
  }
  return json;
}

}  // namespace dsv4::cli
