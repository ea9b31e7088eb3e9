// `dsv4 inspect`: what a model is and what it takes, from its files or from a config.json alone.
#include "base/error.h"
#include "cache/layout.h"
#include "cli/commands.h"
#include "cli/model_options.h"
#include "cli/units.h"
#include "model/names.h"
#include "model/weights.h"
#include "plan/footprint.h"

#include <CLI/CLI.hpp>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>

#include <fmt/core.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

namespace dsv4::cli {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

struct InspectArgs {
  fs::path path;
  bool json = false;
  bool tensors = false;
  int64_t context = 4096;
  int64_t chunk = 512;
  std::optional<KvStorage> kv;
};

// What was found under the path: a configuration, files, or both.
struct Found {
  std::optional<ModelConfig> config;
  std::optional<Checkpoint> checkpoint;
  std::string problem;  // why the tensors do not fit the configuration
};

constexpr int64_t kContexts[] = {4096, 131072, 1048576};

bool has_weights(const fs::path& folder) {
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    if (name.ends_with(".safetensors") || name.ends_with(".safetensors.index.json") ||
        name.ends_with(".gguf")) {
      return true;
    }
  }
  return false;
}

Found look(const fs::path& path) {
  Found found;
  std::error_code ignored;
  const bool is_folder = fs::is_directory(path, ignored);
  if (!is_folder && path.extension() == ".safetensors") {
    found.checkpoint = Checkpoint::open(path);
    return found;
  }
  found.config = load_config(path);
  if (is_folder ? !has_weights(path) : !find_gguf(path)) return found;
  found.checkpoint = open_checkpoint(path);
  try {
    load_weights(*found.checkpoint, *found.config);
  } catch (const Error& error) {
    found.problem = error.what();
  }
  return found;
}

std::string human_count(int64_t count) {
  const auto value = static_cast<double>(count);
  if (count >= 1'000'000'000) return fmt::format("{:.2f} B", value * 1e-9);
  if (count >= 1'000'000) return fmt::format("{:.2f} M", value * 1e-6);
  if (count >= 1'000) return fmt::format("{:.2f} K", value * 1e-3);
  return fmt::format("{}", count);
}

// "S", "C" or "H", with other ratios than 128 shown, and "#" for routing by token id.
std::string layer_letter(const ModelConfig& config, int64_t layer) {
  const LayerKind kind = config.kind(layer);
  std::string letter = kind == LayerKind::kSwa ? "S" : kind == LayerKind::kCsa ? "C" : "H";
  if (kind == LayerKind::kHca && config.ratio(layer) != 128) {
    letter += std::to_string(config.ratio(layer));
  }
  return config.is_hash_layer(layer) ? letter + "#" : letter;
}

const char* kind_name(LayerKind kind) {
  return kind == LayerKind::kSwa ? "swa" : kind == LayerKind::kCsa ? "csa" : "hca";
}

void print_config(const ModelConfig& c) {
  fmt::print("configuration\n");
  fmt::print("  layers       {} main, {} MTP{}\n", c.n_layers, c.n_mtp_layers,
             c.has_dspark ? ", with a DSpark drafter" : "");
  fmt::print("  hidden       {}, {} streams, vocabulary {}\n", c.hidden_size, c.hc_mult,
             c.vocab_size);
  fmt::print("  attention    {} heads of {} ({} rotary), query rank {}, {} output groups of {}\n",
             c.n_heads, c.head_dim, c.rope_dim, c.q_lora_rank, c.o_groups, c.o_lora_rank);
  fmt::print("  window       {}, indexer {} heads of {}, top {}\n", c.window, c.n_index_heads,
             c.index_head_dim, c.index_topk);
  fmt::print("  experts      {} of {} active, width {}, {} shared, scaling {:g}, limit {:g}\n",
             c.n_active_experts, c.n_experts, c.expert_dim, c.n_shared_experts, c.routed_scaling,
             c.swiglu_limit);
  fmt::print("  rotation     base {:g}; with compression {:g}, YaRN {:g} x {}\n", c.rope_theta,
             c.compress_rope_theta, c.yarn.factor, c.yarn.original_max_position_embeddings);
  fmt::print("  context      {} tokens\n", c.max_position_embeddings);
  if (c.int4.method == Int4Method::kNone) return;
  fmt::print("  INT4         of {}, one scale per {}\n",
             c.int4.method == Int4Method::kAwq ? "AWQ" : "compressed-tensors",
             c.int4.group_size > 0 ? fmt::format("{} inputs", c.int4.group_size) : "row");
}

void print_layers(const ModelConfig& config) {
  constexpr int64_t kPerLine = 20;
  fmt::print(
      "\nlayers (S window, C compressed 4:1 with indexer, H compressed 128:1; # routed by "
      "token id)\n");
  for (int64_t begin = 0; begin < config.n_layers; begin += kPerLine) {
    fmt::print("  {:>4} ", begin);
    const int64_t end = std::min(config.n_layers, begin + kPerLine);
    for (int64_t i = begin; i < end; ++i) fmt::print(" {:<2}", layer_letter(config, i));
    fmt::print("\n");
  }
}

void print_params(const ParamCount& count) {
  fmt::print("\n{:<24}{:>12}{:>8}\n", "parameters", "", "share");
  const auto total = static_cast<double>(count.main_model());
  for (size_t i = 0; i < kTensorClasses; ++i) {
    const auto cls = static_cast<TensorClass>(i);
    if (cls == TensorClass::kMtp) continue;
    fmt::print("  {:<22}{:>12}{:>7.1f}%\n", tensor_class_name(cls), human_count(count[cls]),
               100 * static_cast<double>(count[cls]) / total);
  }
  fmt::print("  {:<22}{:>12}\n", "total", human_count(count.main_model()));
  fmt::print("  {:<22}{:>12}\n", "activated per token", human_count(count.activated));
  if (count[TensorClass::kMtp] > 0) {
    fmt::print("  {:<22}{:>12}\n", "MTP block, besides", human_count(count[TensorClass::kMtp]));
  }
}

void print_groups(const std::vector<StoredGroup>& groups, bool from_files) {
  fmt::print("\n{:<24}{:<10}{:>9}{:>14}\n", from_files ? "stored" : "stored in a release", "type",
             "tensors", "bytes");
  int64_t n_tensors = 0;
  int64_t n_bytes = 0;
  for (const StoredGroup& group : groups) {
    fmt::print("  {:<22}{:<10}{:>9}{:>14}\n", group_name(group), type_name(group), group.n_tensors,
               human_bytes(group.n_bytes));
    n_tensors += group.n_tensors;
    n_bytes += group.n_bytes;
  }
  fmt::print("  {:<22}{:<10}{:>9}{:>14}\n", "total", "", n_tensors, human_bytes(n_bytes));
}

void print_state(const ModelConfig& config, const StateLayout& layout) {
  fmt::print("\n{:<24}{:>14}{:>22}\n", "state of a sequence",
             fmt::format("kept as {}", kv_storage_name(layout.storage)), "as trained (FP8/FP4)");
  fmt::print("  {:<22}{:>14}\n", "per further token", human_bytes(state_bytes_per_token(layout)));
  for (const int64_t n : kContexts) {
    fmt::print("  {:<22}{:>14}{:>22}\n", fmt::format("{} tokens", n),
               human_bytes(state_bytes(layout, n).total()),
               human_bytes(trained_state_bytes(config, n)));
  }
}

void print_memory(const MemoryForecast& m, const InspectArgs& args) {
  fmt::print("\nmemory after {} tokens, {} at a time\n", args.context, args.chunk);
  fmt::print("  {:<22}{:>14}\n", "weights that are read", human_bytes(m.weights));
  fmt::print("  {:<22}{:>14}\n", "state", human_bytes(m.state));
  fmt::print("  {:<22}{:>14}\n", "workspace", human_bytes(m.workspace));
  fmt::print("  {:<22}{:>14}\n", "program and tables", human_bytes(m.program));
  fmt::print("  {:<22}{:>14}\n", "total", human_bytes(m.total()));
}

void print_tensors(const Checkpoint& checkpoint) {
  size_t width = 6;
  for (const StoredTensor& tensor : checkpoint.tensors()) {
    width = std::max(width, tensor.name.size());
  }
  fmt::print("\n{:<{}}  {:<8}  {:<18}  {:>12}  {}\n", "tensor", width, "type", "shape", "offset",
             "file");
  for (const StoredTensor& tensor : checkpoint.tensors()) {
    fmt::print("{:<{}}  {:<8}  {:<18}  {:>12}  {}\n", tensor.name, width, dtype_name(tensor.dtype),
               fmt::format("{}", tensor.shape), tensor.offset,
               checkpoint.files()[tensor.file].path().filename().string());
  }
}

std::vector<StoredGroup> groups_of(const Found& found) {
  if (found.checkpoint) return stored_groups(*found.checkpoint, *found.config);
  return released_groups(*found.config);
}

ModelOptions options_of(const InspectArgs& args) {
  return {.numerics = Numerics::kFast,
          .kv = args.kv,
          .max_batch_tokens = args.chunk,
          .context = args.context};
}

void print_text(const Found& found, const InspectArgs& args) {
  if (found.config) {
    const ModelConfig& config = *found.config;
    const std::vector<StoredGroup> groups = groups_of(found);
    print_config(config);
    print_layers(config);
    print_params(count_params(config));
    print_groups(groups, found.checkpoint.has_value());
    print_state(config, Model::layout_of(config, options_of(args)));
    print_memory(forecast_memory(config, groups, options_of(args), args.context), args);
    if (found.checkpoint) {
      fmt::print("\ntensors match the configuration: {}\n",
                 found.problem.empty() ? "yes" : "NO: " + found.problem);
    }
  }
  if (found.checkpoint && (args.tensors || !found.config)) print_tensors(*found.checkpoint);
}

Json params_json(const ParamCount& count) {
  Json json;
  for (size_t i = 0; i < kTensorClasses; ++i) {
    const auto cls = static_cast<TensorClass>(i);
    json["by_class"][std::string(tensor_class_name(cls))] = count[cls];
  }
  json["total"] = count.main_model();
  json["total_with_mtp"] = count.with_mtp();
  json["activated"] = count.activated;
  return json;
}

Json config_json(const Found& found, const InspectArgs& args) {
  const ModelConfig& config = *found.config;
  const StateLayout layout = Model::layout_of(config, options_of(args));
  const std::vector<StoredGroup> groups = groups_of(found);
  const MemoryForecast m = forecast_memory(config, groups, options_of(args), args.context);
  Json json = {{"config", Json::parse(config_to_json(config))},
               {"layers", Json::array()},
               {"parameters", params_json(count_params(config))},
               {"stored", Json::array()},
               {"state",
                {{"storage", kv_storage_name(layout.storage)},
                 {"bytes_per_token", state_bytes_per_token(layout)},
                 {"at", Json::array()}}},
               {"memory",
                {{"tokens", args.context},
                 {"chunk", args.chunk},
                 {"weights", m.weights},
                 {"state", m.state},
                 {"workspace", m.workspace},
                 {"program", m.program},
                 {"total", m.total()}}}};
  for (int64_t i = 0; i < config.n_layers; ++i) {
    json["layers"].push_back({{"kind", kind_name(config.kind(i))},
                              {"ratio", config.ratio(i)},
                              {"routing", config.is_hash_layer(i) ? "hash" : "score"}});
  }
  for (const StoredGroup& group : groups) {
    json["stored"].push_back({{"class", group_name(group)},
                              {"dtype", type_name(group)},
                              {"tensors", group.n_tensors},
                              {"bytes", group.n_bytes}});
  }
  for (const int64_t n : kContexts) {
    json["state"]["at"].push_back({{"tokens", n},
                                   {"bytes", state_bytes(layout, n).total()},
                                   {"trained_bytes", trained_state_bytes(config, n)}});
  }
  if (found.checkpoint) {
    json["problem"] = found.problem.empty() ? Json() : Json(found.problem);
  }
  return json;
}

void print_json(const Found& found, const InspectArgs& args) {
  Json json = found.config ? config_json(found, args) : Json::object();
  if (found.checkpoint && (args.tensors || !found.config)) {
    for (const StoredTensor& tensor : found.checkpoint->tensors()) {
      json["tensors"].push_back(
          {{"name", tensor.name},
           {"dtype", dtype_name(tensor.dtype)},
           {"shape", tensor.shape},
           {"file", found.checkpoint->files()[tensor.file].path().filename().string()},
           {"offset", tensor.offset},
           {"bytes", tensor.data.size()}});
    }
  }
  fmt::print("{}\n", json.dump());
}

void run(const InspectArgs& args) {
  const Found found = look(args.path);
  args.json ? print_json(found, args) : print_text(found, args);
  if (!found.problem.empty()) throw CLI::RuntimeError(kFailure);
}

}  // namespace

void add_inspect(CLI::App& app) {
  auto args = std::make_shared<InspectArgs>();
  CLI::App* command = app.add_subcommand("inspect", "Show what a model is and what it takes");
  command->add_option("PATH", args->path, "Model folder, config.json or safetensors file")
      ->required();
  command->add_flag("--json", args->json, "One JSON object");
  command->add_flag("--tensors", args->tensors, "Also list every tensor with file and offset");
  add_kv_option(*command, args->kv);
  command
      ->add_option("--context", args->context,
                   "Tokens of the sequence that memory is predicted for")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 24))
      ->capture_default_str();
  command->add_option("--chunk", args->chunk, "Tokens of a prompt in one forward pass")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 16))
      ->capture_default_str();
  command->footer(
      "With a config.json alone the bytes are those of a release of this geometry. Exit code 1\n"
      "when the tensors do not fit the configuration.\n"
      "Example: dsv4 inspect models/mini --context 2048");
  command->callback([args] { run(*args); });
}

}  // namespace dsv4::cli
