// `dsv4 synth`: a random checkpoint in release format, for any size.
#include "base/error.h"
#include "base/thread_pool.h"
#include "cli/commands.h"
#include "cli/progress.h"
#include "synth/synth.h"

#include <CLI/CLI.hpp>

#include <cstdio>
#include <memory>
#include <string>

#include <fmt/core.h>
#include <fmt/ranges.h>

namespace dsv4::cli {
namespace {

struct SynthArgs {
  std::string preset;
  std::string config;
  std::string layers;
  int64_t experts = 0;
  std::string type = "native";
  std::string head;
  bool mtp = false;
  bool no_mtp = false;
  double shard_gigabytes = 5;
  int threads = 0;
  SynthOptions options;
};

ModelConfig config_of(const SynthArgs& args) {
  ModelConfig config = args.preset.empty() ? load_config(args.config) : preset_config(args.preset);
  if (!args.layers.empty()) {
    config = select_layers(config, parse_layers(args.layers, config.n_layers));
  }
  if (args.experts > 0) config.n_experts = args.experts;
  if (config.n_experts < config.n_active_experts) {
    throw Error(ErrorCode::kInvalidInput, "--experts",
                fmt::format("must be at least the {} experts that each token uses",
                            config.n_active_experts));
  }
  if (args.mtp) config.n_mtp_layers = 1;
  if (args.no_mtp || args.options.format == SynthFormat::kGguf) config.n_mtp_layers = 0;
  return config;
}

void set_format(SynthArgs& args) {
  if (args.type == "native" || args.type == "bf16") {
    if (!args.head.empty()) {
      throw Error(ErrorCode::kInvalidInput, "--head", "is a choice for GGUF files only");
    }
    args.options.format = args.type == "bf16" ? SynthFormat::kBf16 : SynthFormat::kNative;
    return;
  }
  args.options.format = SynthFormat::kGguf;
  args.options.mix = mix_of_name(args.type);
  if (container_of(args.options.mix.gate_up) == Container::kSafetensors) {
    throw Error(
        ErrorCode::kInvalidInput, "--type",
        fmt::format("a GGUF file cannot have {}; native writes what a release has", args.type));
  }
  if (!args.head.empty()) args.options.mix.head = mix_of_name(args.head).head;
}

void run(SynthArgs args) {
  set_format(args);
  const ModelConfig config = config_of(args);
  args.options.shard_bytes = static_cast<int64_t>(args.shard_gigabytes * 1e9);
  ThreadPool pool(args.threads);
  Progress progress("synth");
  const SynthReport report =
      synthesize(config, args.options, pool, [&](int64_t done, int64_t total) {
        progress.update(done, total,
                        fmt::format("of {:.1f} GB", static_cast<double>(total) * 1e-9));
      });
  progress.clear();
  fmt::print(stderr, "{}: {} tensors, {:.2f} GB in {} file{}, {} layers{}\n",
             args.options.folder.string(), report.n_tensors,
             static_cast<double>(report.n_bytes) * 1e-9, report.n_files,
             report.n_files == 1 ? "" : "s", config.n_layers,
             config.n_mtp_layers > 0 ? " and an MTP block" : "");
  if (!report.has_tokenizer) {
    fmt::print(stderr, "no tokenizer.json: the vocabulary of {} is too small; use --ids\n",
               config.vocab_size);
  }
}

}  // namespace

void add_synth(CLI::App& app) {
  auto args = std::make_shared<SynthArgs>();
  CLI::App* command = app.add_subcommand(
      "synth", "Write a checkpoint of random weights of any size, or a GGUF file");
  CLI::Option* preset = command->add_option("--preset", args->preset, "Size")
                            ->check(CLI::IsMember({"flash", "pro", "745b", "tiny"}));
  CLI::Option* config =
      command->add_option("--config", args->config, "Size from a config.json or its folder")
          ->type_name("FILE")
          ->excludes(preset);
  command
      ->add_option("--layers", args->layers,
                   "The first N layers, or those of a list such as 0,2,3 (default: all)")
      ->type_name("N|LIST");
  command->add_option("--experts", args->experts, "Routed experts of each layer")
      ->check(CLI::Range(int64_t{1}, int64_t{4096}));
  command
      ->add_option("--type", args->type,
                   "native: FP4 experts and FP8 as released; bf16: every matrix BF16; or a GGUF "
                   "file:\n" +
                       fmt::format("{}", fmt::join(mix_names(Container::kGguf), ", ")))
      ->type_name("TYPE")
      ->capture_default_str();
  command->add_option("--head", args->head, "Type of the output head of a GGUF file")
      ->type_name("TYPE");
  command->add_option("--seed", args->options.seed, "Same seed, same bytes")->capture_default_str();
  CLI::Option* mtp =
      command->add_flag("--mtp", args->mtp, "With the MTP block (not in GGUF files)");
  command
      ->add_flag("--no-mtp", args->no_mtp, "Without (default: with all layers, as the size has it)")
      ->excludes(mtp);
  command->add_option("--shard-size", args->shard_gigabytes, "Largest file, in GB")
      ->check(CLI::Range(1e-6, 1e6))
      ->capture_default_str();
  command->add_option("--threads", args->threads, "Threads; 0 is one per core")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  command->add_flag("--force", args->options.replace,
                    "Replace an earlier checkpoint in the folder");
  command->add_option("-o,--output", args->options.folder, "Folder to write")
      ->required()
      ->type_name("DIR");
  command->footer(
      "Weights are scaled so that every stage has values of the order of one; the text that such "
      "a\n"
      "model writes has no meaning. The folder has config.json, tokenizer.json (bytes and V4's "
      "chat\n"
      "markers) and shards with their index, as a release has; or one model.gguf with all of "
      "it.\n\n"
      "Example: dsv4 synth --preset flash --layers 4 -o flash4     (about 16 GB)\n"
      "         dsv4 synth --preset flash --layers 0,2,3 --type Q4_K -o flash3-q4k     (12 GB)");
  command->callback([args, preset, config] {
    if (preset->empty() && config->empty()) {
      throw CLI::RequiredError("one of --preset and --config");
    }
    run(*args);
  });
}

}  // namespace dsv4::cli
