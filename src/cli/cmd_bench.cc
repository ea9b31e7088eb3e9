// `dsv4 bench`: speed of the kernels, or of a model, against the machine's own limits.
#include "base/error.h"
#include "base/mapped_file.h"
#include "bench/kernel_bench.h"
#include "bench/model_bench.h"
#include "cli/commands.h"
#include "cli/model_options.h"
#include "kernels/cpu/roofs.h"

#include <CLI/CLI.hpp>

#include <algorithm>
#include <ctime>
#include <fstream>
#include <map>
#include <memory>
#include <string>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

namespace dsv4::cli {
namespace {

using Json = nlohmann::ordered_json;

struct BenchArgs {
  ModelArgs model;
  std::vector<int64_t> contexts = {0, 1024, 4096, 16384, 65536, 131072};
  std::vector<int64_t> batches = {1, 8};
  std::vector<int64_t> prompts = {512, 2048};
  std::string compare;
  bool json = false;
};

std::string processor_name() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
  }
  return "unknown";
}

std::string today() {
  const std::time_t now = std::time(nullptr);
  char text[16];
  std::strftime(text, sizeof text, "%Y-%m-%d", std::gmtime(&now));
  return text;
}

// What tells two rows of the same measurement together.
std::string key_of(const Json& row) {
  std::string key;
  for (const char* member : {"kind", "model", "format", "work", "context", "n_tokens"}) {
    if (row.contains(member)) key += row[member].dump() + " ";
  }
  return key;
}

// Prints rows as a table, or as JSON lines; beside an earlier run where there is one.
class Report {
 public:
  Report(const BenchArgs& args, RoofMeter& meter)
      : json_(args.json), meter_(meter), roofs_(meter.measure()) {
    if (args.compare.empty()) return;
    std::ifstream file(args.compare);
    if (!file) throw Error(ErrorCode::kNotFound, args.compare, "cannot be read");
    size_t n_lines = 0;
    for (std::string line; std::getline(file, line);) {
      ++n_lines;
      const Json row = Json::parse(line, nullptr, /*allow_exceptions=*/false);
      if (!row.is_object()) {
        throw Error(ErrorCode::kInvalidInput, fmt::format("{}: line {}", args.compare, n_lines),
                    "expected what dsv4 bench --json printed");
      }
      earlier_[key_of(row)] = row;
    }
  }

  void print_roofs(const BenchArgs& args) const {
    const Json row = {{"kind", "roof"},
                      {"machine", processor_name()},
                      {"date", today()},
                      {"version", DSV4_VERSION},
                      {"isa", args.model.isa},
                      {"threads", args.model.threads},
                      {"read_gb_s", roofs_.read * 1e-9},
                      {"int8_gop_s", roofs_.int8 * 1e-9},
                      {"bf16_gop_s", roofs_.bf16 * 1e-9},
                      {"f32_gop_s", roofs_.f32 * 1e-9}};
    if (json_) return print_line(row);
    fmt::print("{}, {} threads, {}\n", processor_name(), args.model.threads, args.model.isa);
    fmt::print("roofs: read {:.1f} GB/s, int8 {:.0f} Gop/s, bf16 {:.0f} Gop/s, f32 {:.0f} Gop/s\n",
               roofs_.read * 1e-9, roofs_.int8 * 1e-9, roofs_.bf16 * 1e-9, roofs_.f32 * 1e-9);
  }

  void print_kernel_head() const {
    if (json_) return;
    fmt::print("\n{:<9}{:<7}{:>7}{:>11}{:>8}{:>12}{:>8}\n", "weights", "inputs", "tokens", "GB/s",
               "of read", "Gop/s", "of peak");
  }

  void print_model_head() const {
    if (json_) return;
    fmt::print("\n{:<9}{:>8}{:>7}{:>10}{:>10}{:>8}{:>10}{:>8}{:>9}{:>8}\n", "", "context", "tokens",
               "ms", "tokens/s", "GB/s", "of read", "Gop/s", "of int8", "spread");
  }

  // A row's limit is the better one of before and after it.
  template <typename Run>
  void add(const Run& run) {
    const double before = meter_.measure_read();
    const auto row = run();
    roofs_.read = std::max(before, meter_.measure_read());
    print(row);
  }

  void set_model(const std::string& model) { model_ = model; }

 private:
  void print(const KernelRow& row) const {
    const double peak = row.int8 ? roofs_.int8 : roofs_.f32;
    const Json json = {{"kind", "kernel"},
                       {"format", row.format},
                       {"inputs", row.int8 ? "int8" : "f32"},
                       {"n_tokens", row.n_tokens},
                       {"gb_s", row.bytes_per_second() * 1e-9},
                       {"share_of_read", row.bytes_per_second() / roofs_.read},
                       {"gop_s", row.ops_per_second() * 1e-9},
                       {"share_of_peak", row.ops_per_second() / peak}};
    if (json_) return print_line(json);
    fmt::print("{:<9}{:<7}{:>7}{:>11.1f}{:>7.0f}%{:>12.0f}{:>7.0f}%{}\n", row.format,
               row.int8 ? "int8" : "f32", row.n_tokens, row.bytes_per_second() * 1e-9,
               100 * row.bytes_per_second() / roofs_.read, row.ops_per_second() * 1e-9,
               100 * row.ops_per_second() / peak, change(json, "gop_s"));
  }

  void print(const ModelRow& row) const {
    Json bytes = {{"state", row.cost.state_bytes}};
    for (size_t i = 0; i < kTensorClasses; ++i) {
      if (row.cost.weight_bytes[i] == 0) continue;
      bytes[std::string(tensor_class_name(static_cast<TensorClass>(i)))] = row.cost.weight_bytes[i];
    }
    const Json json = {{"kind", "model"},
                       {"model", model_},
                       {"work", row.work},
                       {"context", row.context},
                       {"n_tokens", row.n_tokens},
                       {"seconds", row.seconds},
                       {"spread", row.spread},
                       {"steps", row.n_steps},
                       {"tokens_per_s", row.tokens_per_second()},
                       {"gb_s", row.bytes_per_second() * 1e-9},
                       {"share_of_read", row.bytes_per_second() / roofs_.read},
                       {"gop_s", row.ops_per_second() * 1e-9},
                       {"share_of_int8", row.ops_per_second() / roofs_.int8},
                       {"bytes_per_step", bytes}};
    if (json_) return print_line(json);
    fmt::print("{:<9}{:>8}{:>7}{:>10.2f}{:>10.1f}{:>8.1f}{:>9.0f}%{:>8.0f}{:>8.0f}%{:>7.1f}%{}\n",
               row.work, row.context, row.n_tokens, row.seconds * 1e3, row.tokens_per_second(),
               row.bytes_per_second() * 1e-9, 100 * row.bytes_per_second() / roofs_.read,
               row.ops_per_second() * 1e-9, 100 * row.ops_per_second() / roofs_.int8,
               100 * row.spread, change(json, "tokens_per_s"));
  }

  static void print_line(const Json& row) {
    fmt::print("{}\n", row.dump());
    std::fflush(stdout);
  }

  // How much faster than in the earlier run.
  std::string change(const Json& row, const char* member) const {
    const auto found = earlier_.find(key_of(row));
    if (found == earlier_.end() || !found->second.contains(member)) return "";
    const double before = found->second[member].get<double>();
    return fmt::format("   {:+.1f}%", 100 * (row[member].get<double>() / before - 1));
  }

  bool json_;
  RoofMeter& meter_;
  Roofs roofs_;
  std::string model_;
  std::map<std::string, Json> earlier_;
};

void run_kernels(const BenchArgs& args, ThreadPool& pool, Report& report) {
  const auto ops = make_cpu_ops(pool, parse_isa(args.model.isa));
  report.print_kernel_head();
  for (const KernelCase& kernel : kernel_cases()) {
    report.add([&] { return bench_kernel(*ops, kernel); });
  }
}

void run_model(const BenchArgs& args, Report& report) {
  LoadedModel model(args.model);
  for (const MappedFile& file : model->checkpoint().files()) file.populate();
  ModelBench bench(*model);
  report.set_model(args.model.path);
  report.print_model_head();
  for (const int64_t batch : args.batches) {
    for (const int64_t context : args.contexts) {
      if (batch > 1 && context != args.contexts.front()) continue;
      if (context + 2 > model->state_layout().max_tokens) continue;
      report.add([&] { return bench.decode(context, batch); });
    }
  }
  for (const int64_t n : args.prompts) {
    if (n < model->state_layout().max_tokens) report.add([&] { return bench.prefill(n); });
  }
}

void run(BenchArgs args) {
  ThreadPool pool(args.model.threads);
  args.model.threads = pool.n_threads();
  const Isa isa = parse_isa(args.model.isa);
  args.model.isa = isa_name(isa);
  RoofMeter meter(pool, isa);
  Report report(args, meter);
  report.print_roofs(args);
  if (args.model.path.empty()) {
    run_kernels(args, pool, report);
  } else {
    run_model(args, report);
  }
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
  command->add_flag("--json", args->json, "JSON lines: the roofs, then a line for each row");
  command->add_option("--compare", args->compare, "What an earlier run printed with --json")
      ->type_name("FILE");
  command->footer(
      "The roofs are measured with the same threads: reading memory once, around each row, and "
      "products\n"
      "from registers. Contexts are random entries instead of a prefill, which cost the same to "
      "attend "
      "to.\n"
      "Weights are read into memory before; experts vary from step to step.\n\n"
      "Example: dsv4 bench -m flash3-q4k --json > today.jsonl");
  command->callback([args] { run(*args); });
}

}  // namespace dsv4::cli
