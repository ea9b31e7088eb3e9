// `dsv4 plan`: whether a model runs on a machine, in how much memory, how fast, and why.
#include "base/error.h"
#include "cli/bench_report.h"
#include "cli/commands.h"
#include "cli/model_options.h"
#include "cli/plan_cost.h"
#include "cli/plan_html.h"
#include "cli/plan_link.h"
#include "cli/plan_report.h"
#include "cli/plan_verify.h"
#include "cli/this_machine.h"
#include "model/param_count.h"
#include "plan/expert_forecast.h"
#include "plan/machine.h"
#include "plan/planner.h"

#include <CLI/CLI.hpp>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

namespace dsv4::cli {
namespace {

namespace fs = std::filesystem;

struct PlanArgs {
  std::vector<std::string> models;
  std::vector<std::string> machines;
  std::vector<std::string> formats;
  Workload workload;
  CostArgs cost;
  bool prompt_given = false;
  bool reply_given = false;
  bool context_given = false;
  int64_t max_machines = 16;
  std::optional<double> cluster_link_gb;
  std::optional<double> cluster_latency_us;
  bool json = false;
  bool explain = false;
  bool list = false;
  bool probe = false;
  bool verify = false;
  bool report = false;
  std::string link_to;
  std::string link_listen;
  std::string check;  // a catalogue
  std::string trace;
  std::string html;
};

// A model that is asked about: its weights where there are files, else its geometry alone.
struct Asked {
  std::string name;
  std::optional<SourceModel> source;
  ModelConfig config;
};

Asked find_model(const std::string& name) {
  Asked asked{.name = name};
  std::error_code ignored;
  if (!fs::exists(name, ignored) && name.find('/') == std::string::npos) {
    asked.config = preset_config(name);
    return asked;
  }
  asked.config = load_config(name);
  if (fs::path(name).extension() == ".json") return asked;
  asked.source.emplace(name);
  return asked;
}

std::string title_of(const Asked& model) {
  const ParamCount count = count_params(model.config);
  return fmt::format("{}: {:.4g} B parameters, {:.3g} B active for a token", model.name,
                     static_cast<double>(count.main_model()) * 1e-9,
                     static_cast<double>(count.activated) * 1e-9);
}

std::vector<Machine> find_machine(const std::string& name) {
  std::error_code ignored;
  if (name == "this") return {this_machine()};
  if (name.ends_with(".json") || fs::exists(name, ignored)) return load_machines(name);
  return {catalogue_machine(name)};
}

// Defaults that fit a model of a short context.
Workload workload_for(const PlanArgs& args, const ModelConfig& config) {
  Workload w = args.workload;
  const int64_t most = config.max_position_embeddings;
  if (!args.context_given && most > 0) {
    const int64_t needed = w.prompt_tokens + w.reply_tokens;
    const bool both_given = args.prompt_given && args.reply_given;
    w.context = std::min(std::max(w.context, both_given ? needed : 0), most);
  }
  if (!args.reply_given) w.reply_tokens = std::clamp<int64_t>(w.context / 4, 1, w.reply_tokens);
  if (!args.prompt_given) {
    w.prompt_tokens = std::clamp<int64_t>(w.context - w.reply_tokens, 1, w.prompt_tokens);
  }
  return w;
}

std::vector<WeightTable> tables_of(const Asked& model, const std::vector<std::string>& formats) {
  std::vector<WeightTable> tables;
  if (model.source && formats.empty()) tables.push_back(weight_table(*model.source));
  for (const std::string& format : formats.empty() ? compared_formats() : formats) {
    tables.push_back(model.source ? weight_table(*model.source, format)
                                  : weight_table(model.config, format));
  }
  return tables;
}

// Of what is not given, what was measured from this machine.
PlanOptions options_of(const PlanArgs& args, const Machine& machine) {
  constexpr double kLatency_us = 5;
  PlanOptions options{.max_machines = args.max_machines};
  options.cluster_latency_s = args.cluster_latency_us.value_or(kLatency_us) * 1e-6;
  if (args.cluster_link_gb) {
    options.cluster_link = *args.cluster_link_gb * 1e9;
    options.cluster_source = "--cluster-link";
  } else if (const auto& link = machine.cluster_link) {
    options.cluster_link = std::min(link->send, link->receive);
    if (!args.cluster_latency_us) options.cluster_latency_s = link->round_trip_s / 2;
    options.cluster_source =
        fmt::format("measured to {}{}{}", link->peer, link->date.empty() ? "" : " on ", link->date);
  }
  return options;
}

// Of what was recorded, if anything was.
ExpertModelFor expert_models(const PlanArgs& args) {
  return args.trace.empty() ? expert_models_of_skew()
                            : expert_models_of_trace(read_routing_trace(args.trace));
}

PlanTable plan_all(const PlanArgs& args, const Asked& model, const Machine& machine,
                   const std::vector<WeightTable>& tables, const ExpertModelFor& model_for) {
  PlanTable result{.model = title_of(model), .machine = machine.title};
  result.workload = workload_for(args, model.config);
  PlanOptions options = options_of(args, machine);
  for (const WeightTable& table : tables) {
    // Asked only where not everything fits.
    options.expert_model = [&](double room, const DiskRates& source) {
      return model_for(table, result.workload)(room, source);
    };
    result.plans.push_back(make_plan(table, machine, result.workload, options));
  }
  return result;
}

void list_machines() {
  fmt::print("{:<24}{:>10}{:>12}  {}\n", "name", "memory GB", "read GB/s", "machine");
  for (const Machine& m : machine_catalogue()) {
    const auto n = static_cast<double>(m.n_devices);
    fmt::print("{:<24}{:>10.0f}{:>12.0f}  {}\n", m.name, n * m.memory_bytes * 1e-9,
               n * m.rates.read * 1e-9, m.title);
  }
}

void check_catalogue(const std::string& path) {
  const std::vector<Machine> machines = load_machines(path);
  const std::vector<std::string> problems = catalogue_problems(machines, today());
  for (const std::string& problem : problems) fmt::print("{}\n", problem);
  fmt::print("{} machines, {} problems\n", machines.size(), problems.size());
  if (!problems.empty()) throw CLI::RuntimeError(kDifferent);
}

void print_probe(const Machine& machine) {
  const Probe& probe = *machine.probe;
  fmt::print("{}\n{} threads, {}; kept in {}\n\n", machine.title, probe.n_threads, probe.isa,
             state_file(kMachineFile).string());
  fmt::print("memory  {:.1f} GB, {:.1f} GB in use; read at {:.1f} GB/s\n",
             machine.memory_bytes * 1e-9, machine.reserved_bytes * 1e-9, machine.rates.read * 1e-9);
  fmt::print("int8    {:.0f} Gop/s, bf16 {:.0f}, f32 {:.0f}\n", machine.rates.int8 * 1e-9,
             machine.rates.bf16 * 1e-9, machine.rates.f32 * 1e-9);
  if (machine.disk.read > 0) {
    fmt::print("disk    {:.2f} GB/s at random places, {:.0f} us\n", machine.disk.read * 1e-9,
               machine.disk.latency_s * 1e6);
  }
  print_links(machine);
  fmt::print("\n10^9 weights/s by tokens at once\n");
  std::string format;
  for (const ProductRate& rate : probe.products) {
    if (rate.format != format) fmt::print("{}{:<10}", format.empty() ? "" : "\n", rate.format);
    format = rate.format;
    fmt::print("{:>6}:{:>7.2f}", rate.n_tokens, rate.weights_per_s * 1e-9);
  }
  fmt::print("\n{}{}", machine.note, machine.note.empty() ? "" : "\n");
}

// What there is to measure. The link comes first: it fails at once where nobody listens.
void measure(const PlanArgs& args) {
  std::optional<ClusterLink> link;
  if (!args.link_to.empty()) link = measure_link_to(args.link_to);
  Machine machine = args.probe ? probe_this_machine() : this_machine();
  if (link) {
    machine.cluster_link = std::move(link);
    keep_machine(machine);
  }
  if (args.json) {
    fmt::print("{}\n", machine_to_json(machine).dump(2));
  } else if (args.probe) {
    print_probe(machine);
  } else {
    print_links(machine);
  }
}

// The commands beside planning; whether one was asked for.
bool run_other(const PlanArgs& args) {
  if (args.list) {
    list_machines();
  } else if (!args.check.empty()) {
    check_catalogue(args.check);
  } else if (args.report) {
    const RecordFile file = load_records(state_file(kRecordFile));
    if (args.json) {
      fmt::print("{}\n", accuracy_json(file).dump(2));
    } else {
      print_accuracy(file);
    }
  } else if (args.verify) {
    for (const std::string& model : args.models) {
      const ModelConfig config = load_config(model);
      const Workload load = workload_for(args, config);
      check_workload(load, config);
      const PlanRecord record = verify_plan(model, load, this_machine());
      append_record(state_file(kRecordFile), record);
      if (args.json) {
        fmt::print("{}\n", record_line(record));
        continue;
      }
      print_record(record);
      if (is_narrow(config)) fmt::print("{}\n", kNarrowNote);
    }
    if (args.models.empty()) {
      throw Error(ErrorCode::kInvalidInput, "--verify", "needs a model to run: -m MODEL");
    }
  } else if (!args.link_listen.empty()) {
    listen_for_link(args.link_listen);
  } else if (args.probe || !args.link_to.empty()) {
    measure(args);
  } else {
    return false;
  }
  return true;
}

void run(const PlanArgs& args) {
  if (run_other(args)) return;
  std::vector<Machine> machines;
  for (const std::string& name : args.machines) {
    for (Machine& machine : find_machine(name)) machines.push_back(std::move(machine));
  }
  std::vector<std::string> models = args.models;
  if (models.empty()) models = {"flash", "745b", "pro"};
  const ExpertModelFor model_for = expert_models(args);
  const std::vector<Tariff> tariffs =
      args.cost.tariffs.empty() ? known_tariffs() : load_tariffs(args.cost.tariffs);
  auto all = nlohmann::ordered_json::array();
  bool first = true;
  std::vector<PlanSheet> sheets;
  for (const std::string& name : models) {
    const Asked model = find_model(name);
    const std::vector<WeightTable> tables = tables_of(model, args.formats);
    for (const Machine& machine : machines) {
      const PlanTable table = plan_all(args, model, machine, tables, model_for);
      const CostTable costs = cost_table(args.cost, machine, table.plans, tariffs, today());
      if (!args.html.empty()) {
        OtherLoads plan_for(tables, machine, options_of(args, machine), model_for);
        sheets.push_back(plan_sheet(table, machine, costs, model.config.max_position_embeddings,
                                    std::ref(plan_for)));
      }
      if (args.json) {
        all.push_back(to_json(table));
        all.back()["cost"] = to_json(costs);
        continue;
      }
      if (!first) fmt::print("\n");
      first = false;
      print_table(table);
      print_costs(costs);
      if (args.explain) print_formulas(table);
    }
  }
  if (args.json) fmt::print("{}\n", all.dump(2));
  if (!args.html.empty()) write_plan_page(args.html, sheets, today());
}

void add_workload_options(CLI::App& command, const std::shared_ptr<PlanArgs>& args) {
  Workload& w = args->workload;
  CLI::Option* context =
      command.add_option("--context", w.context, "Tokens of each sequence at its end")
          ->capture_default_str();
  command.add_option("--users", w.users, "Sequences at once")->capture_default_str();
  CLI::Option* prompt =
      command.add_option("--prompt", w.prompt_tokens, "Tokens of a request")->capture_default_str();
  CLI::Option* reply =
      command.add_option("--reply", w.reply_tokens, "Tokens of a reply")->capture_default_str();
  command
      .add_option("--cached", w.cached_share,
                  "Share of a request that the prefix cache has, 0 to 1")
      ->capture_default_str();
  command.add_option("--chunk", w.chunk, "Tokens of a prompt in one forward pass")
      ->capture_default_str();
  command
      .add_option("--skew", w.expert_skew,
                  "Exponent of Zipf's law that experts are chosen by; 0: all alike")
      ->capture_default_str();
  command
      .add_option("--trace", args->trace,
                  "Choices of experts that run or serve --record-routing has recorded")
      ->type_name("FILE");
  add_kv_option(command, w.kv);
  command.parse_complete_callback([args, context, prompt, reply] {
    args->context_given = context->count() > 0;
    args->prompt_given = prompt->count() > 0;
    args->reply_given = reply->count() > 0;
  });
}

void add_cluster_options(CLI::App& command, const std::shared_ptr<PlanArgs>& args) {
  command.add_option("--max-machines", args->max_machines, "Most machines that share a model")
      ->check(CLI::Range(int64_t{1}, int64_t{1024}))
      ->capture_default_str();
  command
      .add_option("--cluster-link", args->cluster_link_gb,
                  "GB/s between machines; 0: they cannot share a model, as where --link-to has\n"
                  "measured none")
      ->check(CLI::NonNegativeNumber);
  command
      .add_option("--cluster-latency", args->cluster_latency_us,
                  "Microseconds between machines; as measured, else 5")
      ->check(CLI::NonNegativeNumber);
}

// What is done instead of planning.
void add_measuring_options(CLI::App& command, const std::shared_ptr<PlanArgs>& args) {
  CLI::Option* probe =
      command.add_flag("--probe", args->probe, "Measure this machine anew, for less than a minute");
  CLI::Option* to = command
                        .add_option("--link-to", args->link_to,
                                    "Measure the link to a machine where dsv4 plan --link-listen "
                                    "runs, and keep it")
                        ->type_name("HOST[:PORT]");
  CLI::Option* listen =
      command
          .add_option("--link-listen", args->link_listen,
                      "Wait for one --link-to of another machine; without an address of this one "
                      "alone")
          ->type_name("[ADDRESS:]PORT");
  CLI::Option* verify = command.add_flag(
      "--verify", args->verify, "Run the model here, and hold what was predicted against it");
  CLI::Option* report = command.add_flag("--report", args->report,
                                         "How predictions of earlier runs have done so far");
  verify->excludes(probe)->excludes(report)->excludes(to)->excludes(listen);
  report->excludes(probe)->excludes(to)->excludes(listen);
  listen->excludes(probe)->excludes(to);
}

}  // namespace

void add_plan(CLI::App& app) {
  auto args = std::make_shared<PlanArgs>();
  CLI::App* command =
      app.add_subcommand("plan", "Whether a model runs on a machine, how fast, and why");
  command
      ->add_option("-m,--model", args->models,
                   "Model folder or file, config.json, or flash, pro, 745b")
      ->delimiter(',');
  command
      ->add_option("--machine", args->machines,
                   "A machine of the catalogue (--machines lists them), a file, or this")
      ->delimiter(',')
      ->default_val(std::vector<std::string>{"this"});
  command->add_option("--format", args->formats, "Formats, as in quantize --type")->delimiter(',');
  add_workload_options(*command, args);
  add_cluster_options(*command, args);
  args->cost.add_to(*command);
  command->add_flag("--json", args->json, "One JSON list of all answers");
  command->add_flag("--explain", args->explain, "Show the formula and the inputs of each number");
  command->add_option("--html", args->html, "Write a page with tables and plots")
      ->type_name("FILE");
  add_measuring_options(*command, args);
  command
      ->add_option("--check-machines", args->check,
                   "Look for what is wrong in a list of machines; exit code 3 if anything is")
      ->type_name("FILE");
  command->add_flag("--machines", args->list, "List the machines of the catalogue");
  command->footer(
      "Without a model: the known sizes. Without a machine: this one, which is measured once. GB "
      "are\n"
      "10^9 bytes. docs/planning.md has every formula.\n\n"
      "Example: dsv4 plan -m 745b --machine 8x-b200,mac-studio-512 --context 131072 --users 16\n"
      "         dsv4 plan -m model.gguf --html plan.html\n"
      "         dsv4 plan --verify -m models/mini\n"
      "         dsv4 plan --link-listen 10.0.0.2:7411, and on another machine\n"
      "         dsv4 plan --link-to 10.0.0.2");
  command->callback([args] { run(*args); });
}

}  // namespace dsv4::cli
