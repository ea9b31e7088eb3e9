// `dsv4 calibrate`: the importance of weights, from text.
#include "base/error.h"
#include "cli/commands.h"
#include "cli/model_options.h"
#include "cli/progress.h"
#include "cli/text_io.h"
#include "eval/calibrate.h"
#include "eval/quality.h"
#include "model/gguf_tokenizer.h"

#include <CLI/CLI.hpp>

#include <filesystem>
#include <memory>
#include <string>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

namespace dsv4::cli {
namespace {

struct CalibrateArgs {
  ModelArgs model;
  std::string text;
  std::string output;
  int64_t max_tokens = 0;
  bool special = false;
  bool json = false;
};

std::vector<std::vector<int32_t>> chunks_of(const CalibrateArgs& args, const Model& model) {
  const std::string text = read_text(args.text);
  const Tokenizer tokenizer = load_tokenizer(args.model.path);
  std::vector<int32_t> ids =
      tokenizer.encode(text, args.special ? ParseSpecial::kYes : ParseSpecial::kNo);
  if (args.max_tokens > 0 && std::ssize(ids) > args.max_tokens) {
    ids.resize(static_cast<size_t>(args.max_tokens));
  }
  const auto bos = tokenizer.bos_id().value_or(static_cast<int32_t>(model.config().bos_token_id));
  return cut_chunks(ids, args.model.chunk, bos);
}

void print_report(const CalibrateArgs& args, const Calibration& result) {
  const int64_t bytes = static_cast<int64_t>(std::filesystem::file_size(args.output));
  if (args.json) {
    const nlohmann::ordered_json json = {{"file", args.output},
                                         {"bytes", bytes},
                                         {"tokens", result.table.n_tokens},
                                         {"matrices", result.table.matrices.size()},
                                         {"experts", result.n_experts},
                                         {"experts_unseen", result.n_unseen},
                                         {"experts_rare", result.n_rare}};
    fmt::print("{}\n", json.dump());
    return;
  }
  fmt::print("{}: {} matrices from {} tokens, {:.1f} MB\n", args.output,
             result.table.matrices.size(), result.table.n_tokens,
             static_cast<double>(bytes) * 1e-6);
  if (result.n_rare == 0) return;
  fmt::print(
      "{} of {} experts saw fewer than {} tokens, {} of them none; they are weighed with what\n"
      "their layer saw. More text, and of more kinds, makes them fewer.\n",
      result.n_rare, result.n_experts, kPriorTokens, result.n_unseen);
}

// Before the work: a chunk holds the token that begins it and one of the text, and the file can be
// written.
void check_args(const CalibrateArgs& args) {
  if (args.model.chunk < 2) {
    throw Error(ErrorCode::kOutOfRange, "--chunk", "must be 2 or more");
  }
  const std::filesystem::path folder = std::filesystem::absolute(args.output).parent_path();
  if (std::filesystem::is_directory(folder) && !std::filesystem::is_directory(args.output)) return;
  throw Error(ErrorCode::kIo, args.output, "is no place for a file");
}

void run(const CalibrateArgs& args) {
  check_args(args);
  LoadedModel model(args.model);
  const auto chunks = chunks_of(args, *model);
  Progress progress("calibrate");
  const Calibration result = calibrate(*model, chunks, [&](int64_t done, int64_t total) {
    progress.update(done, total, fmt::format("of {} tokens", total));
  });
  progress.clear();
  write_importance(result.table, args.output);
  print_report(args, result);
}

}  // namespace

void add_calibrate(CLI::App& app) {
  auto args = std::make_shared<CalibrateArgs>();
  CLI::App* command = app.add_subcommand(
      "calibrate", "Measure on a text how much each weight matters, for quantize --importance");
  args->model.add_to(*command);
  command->add_option("--text", args->text, "Text in UTF-8, of the kinds that the model will read")
      ->required()
      ->type_name("FILE");
  command->add_option("-o,--output", args->output, "File to write (safetensors)")
      ->required()
      ->type_name("FILE");
  command->add_option("--max-tokens", args->max_tokens, "Only the first so many; 0 is all")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 40))
      ->capture_default_str();
  command->add_flag("--special", args->special,
                    "Names of special tokens in the text are these, as in recorded chats");
  command->add_flag("--json", args->json, "Print the summary as JSON");
  command->footer(
      "The text is read in chunks of --chunk tokens, each from its beginning. 100,000 tokens are "
      "enough\n"
      "for most models; experts that saw few are reported.\n\n"
      "Example: dsv4 calibrate -m DeepSeek-V4-Flash --text sample.txt -o importance.safetensors\n"
      "         dsv4 quantize -m DeepSeek-V4-Flash --importance importance.safetensors \\\n"
      "           --type Q2_K -o flash-q2_k.gguf");
  command->callback([args] { run(*args); });
}

}  // namespace dsv4::cli
