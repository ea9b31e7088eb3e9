// Prints the table of docs/numerics.md: the measured difference to every golden vector.
#include "golden_measure.h"

#include "base/thread_pool.h"
#include "kernels/cpu/cpu_ops.h"

#include <algorithm>
#include <cstdio>
#include <map>

#include <fmt/core.h>

namespace dsv4::golden {
namespace {

void print_logits(const std::string& model, const char* numerics, const Measurement& measured) {
  for (const LogitsRow& row : measured.logits) {
    fmt::print("| {} | {} | {} | {} | {:.2g} | {:.2g} | {} |\n", model, numerics, row.vector,
               row.n_rows, row.max_abs, row.rms,
               row.vector.find("mtp") == std::string::npos ? std::to_string(row.n_argmax_wrong)
                                                           : std::string("-"));
  }
}

// The worst of each kind of stage over all layers and traces.
void print_stages(const std::string& model, const char* numerics, const Measurement& measured) {
  struct Worst {
    int n = 0;
    double relative = 0;
    int64_t n_ids_wrong = 0;
  };
  std::map<std::string, Worst> by_stage;
  for (const StageRow& row : measured.stages) {
    std::string stage = row.vector.substr(row.vector.find('.', 6) + 1);  // after "trace.p33."
    if (stage.starts_with("pos")) stage = stage.substr(stage.find('.') + 1);
    if (stage.starts_with("layers.")) stage = stage.substr(stage.find('.', 7) + 1);
    if (stage.starts_with("mtp.0.")) stage = stage.substr(6);
    Worst& worst = by_stage[stage];
    ++worst.n;
    worst.relative = std::max(worst.relative, row.relative);
    worst.n_ids_wrong += row.n_ids_wrong;
  }
  for (const auto& [stage, worst] : by_stage) {
    fmt::print("| {} | {} | {} | {} | {:.2g} | {} |\n", model, numerics, stage, worst.n,
               worst.relative, worst.n_ids_wrong);
  }
}

void report() {
  ThreadPool pool;
  const auto ops = make_cpu_ops(pool);
  const struct {
    const char* model;
    Numerics numerics;
  } runs[] = {{"t1", Numerics::kExact},
              {"t2", Numerics::kExact},
              {"t3", Numerics::kExact},
              {"t3", Numerics::kOfficial}};
  std::vector<Measurement> measured;
  for (const auto& run : runs) measured.push_back(measure(run.model, run.numerics, *ops));

  fmt::print(
      "### Logits\n\n| model | numerics | vector | rows | max abs | rms | argmax wrong |\n"
      "|---|---|---|---|---|---|---|\n");
  for (size_t i = 0; i < measured.size(); ++i) {
    print_logits(runs[i].model, numerics_name(runs[i].numerics).data(), measured[i]);
  }
  fmt::print(
      "\n### Stages\n\nThe worst over all layers and traces; relative to the largest value "
      "of the stage.\n\n| model | numerics | stage | vectors | relative | choices wrong |\n"
      "|---|---|---|---|---|---|\n");
  for (size_t i = 0; i < measured.size(); ++i) {
    print_stages(runs[i].model, numerics_name(runs[i].numerics).data(), measured[i]);
  }
}

}  // namespace
}  // namespace dsv4::golden

int main() {
  try {
    dsv4::golden::report();
    return 0;
  } catch (const std::exception& error) {
    fmt::print(stderr, "golden_report: {}\n", error.what());
    return 1;
  }
}
