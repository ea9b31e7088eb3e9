// `dsv4 eval quality`: how far models, quantised ones for example, are from a reference.
#include "base/error.h"
#include "cli/commands.h"
#include "cli/model_options.h"
#include "cli/progress.h"
#include "cli/text_io.h"
#include "cli/units.h"
#include "eval/model_hash.h"
#include "eval/quality.h"
#include "model/gguf_tokenizer.h"
#include "plan/footprint.h"

#include <CLI/CLI.hpp>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <numeric>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

namespace dsv4::cli {
namespace {

using Json = nlohmann::ordered_json;

struct QualityArgs {
  std::vector<std::string> candidates;
  std::string reference;
  std::string text;
  int64_t context = 512;
  int64_t max_tokens = 0;
  Numerics numerics = Numerics::kFast;
  Numerics reference_numerics = Numerics::kExact;
  bool special = false;
  std::optional<KvStorage> kv;  // of the models to judge
  ModelArgs machine;            // --expert-memory, --isa, --threads, --chunk
  bool json = false;
};

// One of the models, and what is told about it besides its quality.
struct Entry {
  Entry(std::string model_path, Ops& ops, const ModelOptions& options)
      : path(std::move(model_path)),
        numerics(options.numerics),
        model(path, ops, options),
        groups(stored_groups(model.checkpoint(), model.config())) {}

  int64_t bytes() const {
    return std::accumulate(groups.begin(), groups.end(), int64_t{0},
                           [](int64_t sum, const StoredGroup& g) { return sum + g.n_bytes; });
  }
  double bits() const { return bits_per_weight(groups, model.config()); }

  std::string path;
  Numerics numerics;
  Model model;
  std::vector<StoredGroup> groups;
};

// The models, the text as all of them read it, and what was measured.
class QualityCommand {
 public:
  explicit QualityCommand(const QualityArgs& args)
      : args_(args), pool_(args.machine.threads), isa_(parse_isa(args.machine.isa)) {
    text_ = read_text(args.text);
    read_tokens();
    ops_ = make_cpu_ops(pool_, isa_);
    add(args.reference, args.reference_numerics, {});
    for (const std::string& path : args.candidates) add(path, args.numerics, args.kv);
  }

  void measure() {
    Progress progress("eval quality");
    std::vector<Model*> models;
    for (size_t i = 1; i < entries_.size(); ++i) models.push_back(&entries_[i]->model);
    chunks_ = cut_chunks(ids_, args_.context, bos_);
    report_ =
        measure_quality(entries_[0]->model, models, chunks_,
                        [&](int64_t n_done, int64_t n_total) { progress.update(n_done, n_total); });
  }

  void print_table() const {
    fmt::print("{} tokens of {}, {} at a time\n\n", report_.n_positions, args_.text, args_.context);
    size_t width = std::string_view("model").size();
    for (const auto& entry : entries_) width = std::max(width, entry->path.size());
    fmt::print("{:<{}}  {:<8} {:>11} {:>6} {:>11} {:>10} {:>10} {:>10} {:>10} {:>8}\n", "model",
               width, "numerics", "size", "bits", "perplexity", "mean KL", "median", "99 %",
               "largest", "top-1");
    for (size_t i = 0; i < entries_.size(); ++i) {
      const Entry& entry = *entries_[i];
      fmt::print("{:<{}}  {:<8} {:>11} {:>6.2f} ", entry.path, width, numerics_name(entry.numerics),
                 human_bytes(entry.bytes()), entry.bits());
      if (i == 0) {
        fmt::print("{:>11.4f}   (reference)\n", report_.reference_perplexity);
        continue;
      }
      const Quality& q = report_.candidates[i - 1];
      fmt::print("{:>11.4f} {:>10.3g} {:>10.3g} {:>10.3g} {:>10.3g} {:>6.2f} %\n", q.perplexity,
                 q.kl.mean, q.kl.median, q.kl.p99, q.kl.max, 100 * q.top1_agreement);
    }
    print_layers();
  }

  void print_json() const {
    Json models = Json::array();
    for (size_t i = 0; i < entries_.size(); ++i) models.push_back(model_json(i));
    const Json result = {
        {"dsv4", DSV4_VERSION},
        {"text",
         {{"path", args_.text},
          {"bytes", text_.size()},
          {"hash", hash_bytes(std::as_bytes(std::span(text_)))},
          {"tokens", ids_.size()}}},
        {"settings",
         {{"context", args_.context},
          {"bos", bos_},
          {"special", args_.special},
          {"chunk", args_.machine.chunk},
          {"isa", isa_name(isa_)},
          {"threads", pool_.n_threads()}}},
        {"positions", report_.n_positions},
        {"reference", models[0]},
        {"candidates", Json(models.begin() + 1, models.end())},
    };
    fmt::print("{}\n", result.dump());
  }

 private:
  void add(const std::string& path, Numerics numerics, std::optional<KvStorage> kv) {
    const int64_t chunk = std::min(args_.machine.chunk, args_.context - 1);
    const ModelOptions options{
        .numerics = numerics,
        .kv = kv,
        .max_batch_tokens = chunk,
        .expert_memory = static_cast<int64_t>(args_.machine.expert_memory)};  // of each model
    entries_.push_back(std::make_unique<Entry>(path, *ops_, options));
    const Model& model = entries_.back()->model;
    if (args_.context <= model.config().max_position_embeddings) return;
    throw Error(ErrorCode::kOutOfRange, path,
                fmt::format("has a context of {} tokens; give --context up to that",
                            model.config().max_position_embeddings));
  }

  // Before the models, which take longer to open than their tokenizers.
  void read_tokens() {
    const Tokenizer reference = load_tokenizer(args_.reference);
    for (const std::string& path : args_.candidates) {
      ids_ = encode_for_both(text_, reference, load_tokenizer(path), path,
                             args_.special ? ParseSpecial::kYes : ParseSpecial::kNo);
    }
    bos_ = reference.bos_id().value_or(
        static_cast<int32_t>(load_config(args_.reference).bos_token_id));
    if (args_.max_tokens > 0 && std::ssize(ids_) > args_.max_tokens) {
      ids_.resize(static_cast<size_t>(args_.max_tokens));
    }
  }

  void print_layers() const {
    const size_t n_layers = static_cast<size_t>(entries_[0]->model.config().n_layers);
    fmt::print("\nrelative error of the streams after each layer\n{:>5}", "layer");
    for (size_t i = 1; i < entries_.size(); ++i) {
      const std::string name = std::filesystem::path(entries_[i]->path).filename().string();
      fmt::print("  {:>16}", name.substr(0, 16));
    }
    fmt::print("\n");
    for (size_t layer = 0; layer < n_layers; ++layer) {
      fmt::print("{:>5}", layer);
      for (const Quality& q : report_.candidates) {
        const std::string error = layer < q.layer_errors.size()
                                      ? fmt::format("{:.3g}", q.layer_errors[layer])
                                      : std::string("-");
        fmt::print("  {:>16}", error);
      }
      fmt::print("\n");
    }
  }

  Json model_json(size_t i) const {
    const Entry& entry = *entries_[i];
    Progress progress(fmt::format("hash {}", entry.path));
    Json json = {{"path", entry.path},
                 {"numerics", numerics_name(entry.numerics)},
                 {"hash", hash_model(entry.model.checkpoint(), entry.model.config(),
                                     [&](int64_t n_done, int64_t n_total) {
                                       progress.update(n_done, n_total);
                                     })},
                 {"bytes", entry.bytes()},
                 {"bits_per_weight", entry.bits()}};
    if (i == 0) {
      json["perplexity"] = report_.reference_perplexity;
      return json;
    }
    const Quality& q = report_.candidates[i - 1];
    json["perplexity"] = q.perplexity;
    json["kl"] = {
        {"mean", q.kl.mean}, {"median", q.kl.median}, {"p99", q.kl.p99}, {"max", q.kl.max}};
    json["top1_agreement"] = q.top1_agreement;
    json["layer_errors"] = q.layer_errors;
    return json;
  }

  const QualityArgs& args_;
  ThreadPool pool_;
  Isa isa_;
  std::string text_;
  std::vector<int32_t> ids_;
  int32_t bos_ = 0;
  std::unique_ptr<Ops> ops_;
  std::vector<std::unique_ptr<Entry>> entries_;  // the reference first
  std::vector<std::vector<int32_t>> chunks_;
  QualityReport report_;
};

void run_quality(const QualityArgs& args) {
  QualityCommand command(args);
  command.measure();
  args.json ? command.print_json() : command.print_table();
}

}  // namespace

void add_eval_quality(CLI::App& eval) {
  auto args = std::make_shared<QualityArgs>();
  CLI::App* command =
      eval.add_subcommand("quality", "Compare models with a reference on a text, token by token");
  command->add_option("-m,--model", args->candidates, "Model to judge; repeatable")
      ->required()
      ->type_name("DIR");
  command->add_option("--reference", args->reference, "Model to compare with")
      ->required()
      ->type_name("DIR");
  command->add_option("--text", args->text, "Text in UTF-8")->required()->type_name("FILE");
  command
      ->add_option("--context", args->context,
                   "Tokens of the pieces that the text is cut into, with the one that begins each")
      ->check(CLI::Range(int64_t{2}, int64_t{1} << 24))
      ->capture_default_str();
  command->add_option("--max-tokens", args->max_tokens, "Take the first of the text; 0 takes all")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command->add_flag("--special", args->special, "Names of special tokens in the text are these");
  add_numerics_option(*command, "--numerics", args->numerics, "Numerics of the models to judge");
  add_numerics_option(*command, "--reference-numerics", args->reference_numerics,
                      "Numerics of the reference");
  add_kv_option(*command, args->kv);
  args->machine.add_machine_to(*command);
  command->add_flag("--json", args->json, "One JSON object, with hashes of the models");
  command->footer(
      "Perplexity, divergence from the reference (KL, in nats per token), share of tokens whose\n"
      "likeliest is the same, error of the residual streams; docs/quality.md explains them.\n"
      "Example: dsv4 eval quality -m mini-q4 -m mini-q2 --reference models/mini --text book.txt");
  command->callback([args] { run_quality(*args); });
}

}  // namespace dsv4::cli
