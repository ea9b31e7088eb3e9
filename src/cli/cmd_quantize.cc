// `dsv4 quantize`: a model in other types.
#include "base/error.h"
#include "cli/commands.h"
#include "cli/progress.h"
#include "quantize/quantize.h"
#include "synth/synth.h"

#include <CLI/CLI.hpp>

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include <fmt/core.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

namespace dsv4::cli {
namespace {

struct QuantizeArgs {
  std::string model;
  std::string type;
  // Types of single parts of the model; empty: as the type has it.
  std::string experts;
  std::string down;
  std::string shared;
  std::string attention;
  std::string head;
  std::string embedding;
  std::string small;
  std::vector<std::string> layers;  // "LIST=TYPE"
  std::string importance;
  std::string format;
  double shard_gigabytes = 5;
  int threads = 0;
  bool dry_run = false;
  bool json = false;
  QuantizeOptions options;
};

// The type for one part.
void override_type(const std::string& name, const char* option, std::initializer_list<DType*> to) {
  if (name.empty()) return;
  for (DType* type : to) *type = weight_type_of_name(name, option);
}

TypeChoice types_of(const QuantizeArgs& args, const ModelConfig& config) {
  TypeChoice types;
  Mix& mix = types.mix;
  mix = mix_of_name(args.type);
  override_type(args.experts, "--experts", {&mix.gate_up, &mix.down, &mix.down_more});
  override_type(args.down, "--down", {&mix.down, &mix.down_more});
  override_type(args.shared, "--shared", {&mix.shared});
  override_type(args.attention, "--attention", {&mix.attention});
  override_type(args.head, "--head", {&mix.head});
  override_type(args.embedding, "--embedding", {&mix.embedding});
  override_type(args.small, "--small", {&mix.small});
  for (const std::string& choice : args.layers) {
    const size_t equals = choice.rfind('=');
    if (equals == std::string::npos) {
      throw Error(ErrorCode::kInvalidInput, "--layers",
                  fmt::format("'{}' is not of the form LIST=TYPE, such as 0,1,2=Q8_0", choice));
    }
    // "3=Q8_0" is layer 3 alone, not the first three.
    const Mix layer_mix = mix_of_name(choice.substr(equals + 1));
    for (const int64_t layer : parse_layers(choice.substr(0, equals) + ",", config.n_layers)) {
      types.layers[layer] = layer_mix;
    }
  }
  return types;
}

bool writes_gguf(const QuantizeArgs& args, const Mix& mix) {
  if (args.format == "gguf") return true;
  if (args.format == "safetensors") return false;
  if (args.options.output.extension() == ".gguf") return true;
  return container_of(mix.gate_up) == Container::kGguf;
}

struct Row {
  std::string types;
  int64_t weights = 0;
  int64_t bytes = 0;
};

// What the plan makes of each part of the model.
std::map<std::string, Row> summarize(const SourceModel& source, const QuantizePlan& plan) {
  std::map<std::string, Row> rows;
  for (const PlannedWeight& weight : plan.weights) {
    const SourceTensor& first = source.tensors()[weight.sources[0]];
    Row& row = rows[std::string(part_name(first.spec))];
    const std::string type(first.table != nullptr ? dtype_name(weight.tensors[0].dtype)
                                                  : weight_type_name(weight.type));
    if (row.types.find(type) == std::string::npos) {
      row.types += (row.types.empty() ? "" : ", ") + type;
    }
    row.weights += first.matrix.rows * first.matrix.cols * std::ssize(weight.sources);
    row.bytes += weight.bytes();
  }
  return rows;
}

double bits_per_weight(int64_t bytes, int64_t weights) {
  return weights > 0 ? static_cast<double>(bytes) * 8 / static_cast<double>(weights) : 0;
}

void print_json(const QuantizeArgs& args, const SourceModel& source,
                const std::map<std::string, Row>& rows, const QuantizeReport* report) {
  nlohmann::ordered_json json = {{"output", args.options.output.string()}, {"type", args.type}};
  int64_t bytes = 0;
  int64_t weights = 0;
  for (const auto& [name, row] : rows) {
    nlohmann::ordered_json part = {
        {"types", row.types}, {"weights", row.weights}, {"bytes", row.bytes}};
    if (report != nullptr && report->parts.at(name).error.square > 0) {
      part["relative_rms_error"] = report->parts.at(name).error.relative_rms();
    }
    json["parts"][name] = part;
    bytes += row.bytes;
    weights += row.weights;
  }
  json["bytes"] = bytes;
  json["source_bytes"] = source.bytes();
  json["bits_per_weight"] = bits_per_weight(bytes, weights);
  if (report != nullptr) {
    json["resumed_bytes"] = report->resumed_bytes;
    json["without_importance"] = report->n_without_importance;
  }
  fmt::print("{}\n", json.dump());
}

void print_table(const SourceModel& source, const std::map<std::string, Row>& rows,
                 const QuantizeReport* report) {
  fmt::print("{:<32}{:<22}{:>12}{:>7}{:>12}\n", "", "type", "GB", "bits", "rms error");
  int64_t bytes = 0;
  int64_t weights = 0;
  for (const auto& [name, row] : rows) {
    std::string error;
    if (report != nullptr && report->parts.at(name).error.square > 0) {
      error = fmt::format("{:.2f} %", report->parts.at(name).error.relative_rms() * 100);
    }
    fmt::print("{:<32}{:<22}{:>12.3f}{:>7.2f}{:>12}\n", name, row.types,
               static_cast<double>(row.bytes) * 1e-9, bits_per_weight(row.bytes, row.weights),
               error);
    bytes += row.bytes;
    weights += row.weights;
  }
  fmt::print("{:<32}{:<22}{:>12.3f}{:>7.2f}   from {:.3f} GB\n", "model", "",
             static_cast<double>(bytes) * 1e-9, bits_per_weight(bytes, weights),
             static_cast<double>(source.bytes()) * 1e-9);
}

void print_result(const QuantizeArgs& args, const SourceModel& source, const QuantizePlan& plan,
                  const QuantizeReport* report) {
  const auto rows = summarize(source, plan);
  if (args.json) return print_json(args, source, rows, report);
  print_table(source, rows, report);
  if (report == nullptr) return;
  fmt::print(stderr, "wrote {}\n", args.options.output.string());
  if (report->resumed_bytes > 0) {
    fmt::print(stderr, "{:.3f} GB of it were there from an earlier run\n",
               static_cast<double>(report->resumed_bytes) * 1e-9);
  }
  if (report->n_without_importance > 0) {
    fmt::print(stderr,
               "{} matrices have no entry in the importance matrix: all their inputs "
               "count the same\n",
               report->n_without_importance);
  }
}

// What a checkpoint of safetensors keeps as it was stored, save a head in 4-bit integers.
void refuse_plain_parts(const QuantizeArgs& args, const Mix& mix) {
  const bool plain_head = !args.head.empty() && mix.head != DType::kI32;
  for (const auto& [option, is_given] : {std::pair{"--head", plain_head},
                                         {"--embedding", !args.embedding.empty()},
                                         {"--small", !args.small.empty()}}) {
    if (!is_given) continue;
    throw Error(ErrorCode::kInvalidInput, option,
                "in safetensors this part stays as the source has it (the head can be INT4)");
  }
}

void run(QuantizeArgs args) {
  const SourceModel source(args.model);
  const TypeChoice types = types_of(args, source.config());
  const bool gguf = writes_gguf(args, types.mix);
  if (!gguf) refuse_plain_parts(args, types.mix);
  if (gguf && args.options.output.extension() != ".gguf") args.options.output /= "model.gguf";
  args.options.type_name = args.type;
  args.options.shard_bytes = static_cast<int64_t>(args.shard_gigabytes * 1e9);
  const QuantizePlan plan =
      plan_quantize(source, types, gguf ? Container::kGguf : Container::kSafetensors);
  if (args.dry_run) return print_result(args, source, plan, nullptr);

  std::optional<ImportanceTable> importance;
  if (!args.importance.empty()) {
    importance = read_importance(args.importance);
    blend_rare_experts(*importance);
  }
  ThreadPool pool(args.threads);
  Progress progress("quantize");
  const QuantizeReport report =
      quantize(source, plan, importance ? &*importance : nullptr, args.options, pool,
               [&](int64_t done, int64_t total) {
                 progress.update(done, total,
                                 fmt::format("of {:.1f} GB", static_cast<double>(total) * 1e-9));
               });
  progress.clear();
  print_result(args, source, plan, &report);
}

void add_type_options(CLI::App& command, QuantizeArgs& args) {
  const auto add = [&](const char* name, std::string& value, const char* what) {
    command.add_option(name, value, what)->type_name("TYPE")->group("Types of single parts");
  };
  add("--experts", args.experts, "Routed experts");
  add("--down", args.down, "Their down projections alone");
  add("--shared", args.shared, "Shared experts");
  add("--attention", args.attention, "Projections of attention and indexer");
  add("--head", args.head, "Output head (safetensors: INT4)");
  add("--embedding", args.embedding, "Token embedding (GGUF only)");
  add("--small", args.small, "Routers, compressors, mixing maps (GGUF only)");
  command
      .add_option("--layers", args.layers,
                  "All of some layers, as LIST=TYPE, such as 0,1,2=Q8_0; can be repeated")
      ->delimiter(';')
      ->type_name("LIST=TYPE")
      ->group("Types of single parts");
}

}  // namespace

void add_quantize(CLI::App& app) {
  auto args = std::make_shared<QuantizeArgs>();
  CLI::App* command =
      app.add_subcommand("quantize", "Write a model in other types, as GGUF or safetensors");
  command->add_option("-m,--model", args->model, "Model folder or file, of any format")
      ->required()
      ->type_name("PATH");
  command->add_option("-o,--output", args->options.output, "File (.gguf) or folder to write")
      ->required()
      ->type_name("PATH");
  command
      ->add_option(
          "--type", args->type,
          fmt::format("GGUF: {}\nsafetensors: {}", fmt::join(mix_names(Container::kGguf), ", "),
                      fmt::join(mix_names(Container::kSafetensors), ", ")))
      ->required()
      ->type_name("TYPE");
  command->add_option("--importance", args->importance, "What dsv4 calibrate wrote")
      ->type_name("FILE");
  add_type_options(*command, *args);
  command
      ->add_option("--format", args->format,
                   "gguf or safetensors (default: as the type needs, else by the output's name)")
      ->check(CLI::IsMember({"gguf", "safetensors"}));
  command->add_option("--shard-size", args->shard_gigabytes, "Largest safetensors file, in GB")
      ->check(CLI::Range(1e-6, 1e6))
      ->capture_default_str();
  command->add_option("--threads", args->threads, "Threads; 0 is one per core")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  command->add_flag("--dry-run", args->dry_run, "Show types and sizes, write nothing");
  command->add_flag("--force", args->options.replace, "Replace what is there");
  command->add_flag("--json", args->json, "Print the summary as JSON");
  command->footer(
      "FP4 experts become MXFP4, and MXFP4 becomes FP4, without any change of a weight; weights "
      "that are\n"
      "in the asked-for type already are copied. Others are encoded with the least squared error, "
      "weighted\n"
      "by the importance of their inputs if there is one. A run that was stopped goes on where it "
      "was when\n"
      "it is started again.\n\n"
      "Example: dsv4 quantize -m DeepSeek-V4-Flash -o flash-q4_k_m.gguf --type Q4_K_M\n"
      "         dsv4 quantize -m DeepSeek-V4-Flash -o flash.gguf --type MXFP4 --attention BF16 "
      "--shared BF16\n"
      "         dsv4 quantize -m flash.gguf -o flash-release --type FP4");
  command->callback([args] { run(*args); });
}

}  // namespace dsv4::cli
