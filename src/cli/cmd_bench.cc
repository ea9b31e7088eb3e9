// `dsv4 bench`: speed of the kernels, or of a model, against the machine's own limits. The
// subcommand for servers is in cmd_bench_serve.cc.
#include "base/mapped_file.h"
#include "base/output_file.h"
#include "bench/host.h"
#include "cli/bench_report.h"
#include "cli/commands.h"
#include "cli/model_options.h"
#include "kernels/cpu/roofs.h"

#include <CLI/CLI.hpp>

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

namespace dsv4::cli {
namespace {

using AddRow = std::function<void(const BenchJson& row)>;

struct BenchArgs {
  ModelArgs model;
  std::vector<int64_t> contexts = {0, 1024, 4096, 16384, 65536, 131072};
  std::vector<int64_t> batches = {1, 8};
  std::vector<int64_t> prompts = {512, 2048};
  std::vector<std::string> replay;
  std::string label;
  std::string svg;
  ReportStyle style;
};

BenchJson roofs_row(const BenchArgs& args, const Roofs& roofs) {
  return {{"kind", "roof"},
          {"machine", processor_name()},
          {"date", today()},
          {"version", DSV4_VERSION},
          {"label", args.label},
          {"isa", args.model.isa},
          {"threads", args.model.threads},
          {"pinned", args.model.pin},
          {"read_gb_s", roofs.read * 1e-9},
          {"int8_gop_s", roofs.int8 * 1e-9},
          {"bf16_gop_s", roofs.bf16 * 1e-9},
          {"f32_gop_s", roofs.f32 * 1e-9}};
}

void run_kernels(const BenchArgs& args, ThreadPool& pool, RoofMeter& meter, const AddRow& add) {
  const auto ops = make_cpu_ops(pool, parse_isa(args.model.isa));
  for (const KernelCase& kernel : kernel_cases()) {
    add(to_json(bench_kernel(*ops, meter, kernel)));
  }
}

void run_model(const BenchArgs& args, LoadedModel& model, RoofMeter& meter, const AddRow& add) {
  if (model->experts() == nullptr) {  // else what may be in memory is read as it is needed
    for (const MappedFile& file : model->checkpoint().files()) file.populate();
  }
  ModelBench bench(*model, meter);
  const auto add_row = [&](const ModelRow& row) { add(to_json(row, args.model.path)); };
  for (const int64_t batch : args.batches) {
    for (const int64_t context : args.contexts) {
      if (batch > 1 && context != args.contexts.front()) continue;
      if (context + 2 > model->state_layout().max_tokens) continue;
      add_row(bench.decode(context, batch));
    }
  }
  for (const int64_t n : args.prompts) {
    if (n < model->state_layout().max_tokens) add_row(bench.prefill(n));
  }
}

void measure(BenchArgs args, const AddRow& add) {
  ThreadPool pool({.n_threads = args.model.threads, .pin = args.model.pin});
  args.model.threads = pool.n_threads();
  const Isa isa = parse_isa(args.model.isa);
  args.model.isa = isa_name(isa);
  std::optional<LoadedModel> model;
  if (!args.model.path.empty()) model.emplace(args.model);  // or fails before it measures
  RoofMeter meter(pool, isa);
  add(roofs_row(args, meter.measure()));
  if (model) {
    run_model(args, *model, meter, add);
  } else {
    run_kernels(args, pool, meter, add);
  }
}

void run(const BenchArgs& args) {
  BenchReport report(args.style);
  std::vector<BenchJson> rows;
  const auto add = [&](const BenchJson& row) {
    report.add(row);
    rows.push_back(row);
  };
  if (args.replay.empty()) measure(args, add);
  for (const std::string& path : args.replay) {
    for (const BenchJson& row : read_bench_rows(path)) add(row);
  }
  report.finish();
  if (args.svg.empty()) return;
  OutputFile file(args.svg);
  const std::string svg = roofline_svg(chart_of(rows));
  file.write(std::as_bytes(std::span(svg)));
  file.finish();
}

}  // namespace

void add_bench(CLI::App& app) {
  auto args = std::make_shared<BenchArgs>();
  args->model.chunk = 2048;
  CLI::App* command = app.add_subcommand(
      "bench", "Speed of the kernels or of a model, against the machine's limits");
  args->model.add_to(*command);
  command->get_option("--model")->required(false)->description(
      "Model; without one, the kernels are measured alone");
  command->add_option("--contexts", args->contexts, "Tokens before a decoded one")
      ->delimiter(',')
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 24))
      ->capture_default_str();
  command->add_option("--batches", args->batches, "Sequences decoded together")
      ->delimiter(',')
      ->check(CLI::Range(int64_t{1}, int64_t{1024}))
      ->capture_default_str();
  command->add_option("--prompts", args->prompts, "Tokens of a prefilled prompt")
      ->delimiter(',')
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 20))
      ->capture_default_str();
  command->add_option("--label", args->label, "A note for the first line, such as a commit");
  ReportStyle& style = args->style;
  CLI::Option* json =
      command->add_flag("--json", style.json, "JSON lines: the roofs, then a line for each row");
  command->add_flag("--markdown", style.markdown, "Tables in Markdown")->excludes(json);
  command->add_flag("--breakdown", style.breakdown, "Bytes of a model's steps by kind of tensor")
      ->excludes(json);
  command
      ->add_option("--compare", style.compare, "Print beside what an earlier run printed as JSON")
      ->type_name("FILE");
  command
      ->add_option("--replay", args->replay,
                   "Print what runs printed as JSON, instead of measuring")
      ->type_name("FILE")
      ->delimiter(',');
  command->add_option("--svg", args->svg, "Draw the rows below the limits, into this file")
      ->type_name("FILE");
  command->footer(
      "The roofs are measured with the same threads: reading memory once, and products from\n"
      "registers. Each row is cut into slices with a measurement of the roofs between them, and a\n"
      "share is the median over the slices of speed / roof, +- half of the distance of its\n"
      "quartiles: machines shared with others change from second to second.\n"
      "Contexts are random entries instead of a prefill, which cost the same to attend to.\n"
      "Weights are read into memory before; experts vary from step to step.\n\n"
      "Example: dsv4 bench -m flash3-q4k --json > today.jsonl\n"
      "         dsv4 bench --replay today.jsonl --compare yesterday.jsonl\n"
      "         dsv4 bench --replay kernels.jsonl,today.jsonl --svg roofline.svg");
  add_bench_serve(*command);
  command->callback([args, command] {
    if (command->get_subcommands().empty()) run(*args);
  });
}

}  // namespace dsv4::cli
