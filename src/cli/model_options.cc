#include "cli/model_options.h"

#include "base/error.h"
#include "cli/option_types.h"
#include "kernels/cpu/cpu_ops.h"

#include <CLI/CLI.hpp>

#include <charconv>

#include <fmt/core.h>

namespace dsv4::cli {
namespace {

// A whole number or decimal from all of `text`.
template <typename T>
T parse_number(std::string_view text, const char* what) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) {
    throw Error(ErrorCode::kInvalidInput, what, fmt::format("'{}' is not a number", text));
  }
  return value;
}

std::string_view trim(std::string_view text) {
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.front()))) {
    text.remove_prefix(1);
  }
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back()))) {
    text.remove_suffix(1);
  }
  return text;
}

ModelOptions model_options(const ModelArgs& args) {
  ModelOptions options;
  options.numerics = args.numerics;
  options.kv = args.kv;
  options.max_batch_tokens = args.chunk;
  options.context = args.context;
  options.expert_memory = static_cast<int64_t>(args.expert_memory);
  return options;
}

}  // namespace

Isa parse_isa(const std::string& name) {
  if (name == "auto") return best_isa();
  Isa isa = Isa::kScalar;
  for (const Isa other : kAllIsas) {
    if (isa_name(other) == name) isa = other;
  }
  if (isa_supported(isa)) return isa;
  throw Error(ErrorCode::kUnsupported, "--isa",
              fmt::format("this machine has no {}; its best is {}", name, isa_name(best_isa())));
}

void add_numerics_option(CLI::App& command, const std::string& name, Numerics& numerics,
                         const std::string& description) {
  take_word<Numerics>(
      command.add_option(name, numerics, description),
      {{"fast", Numerics::kFast}, {"exact", Numerics::kExact}, {"official", Numerics::kOfficial}})
      ->default_str(std::string(numerics_name(numerics)));
}

void add_kv_option(CLI::App& command, std::optional<KvStorage>& kv) {
  take_word<KvStorage>(
      command.add_option(
          "--kv", kv,
          "How the state keeps entries: native, as trained (FP8 and BF16, index keys FP4);\n"
          "bf16; f32. Default: native for fast numerics, the others have f32 only"),
      {{"native", KvStorage::kNative}, {"bf16", KvStorage::kBf16}, {"f32", KvStorage::kF32}});
}

void ModelArgs::add_to(CLI::App& command) {
  command.add_option("-m,--model", path, "Model folder")->required()->type_name("DIR");
  add_numerics_option(command, "--numerics", numerics,
                      "fast: int8 activations for quantised weights; exact: float32 everywhere;\n"
                      "official: all roundings of the released code");
  add_kv_option(command, kv);
  command.add_option("--context", context, "Context length; 0 is the model's own")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 24))
      ->capture_default_str();
  add_machine_to(command);
}

void ModelArgs::add_machine_to(CLI::App& command) {
  take_bytes(command.add_option(
                 "--expert-memory", expert_memory,
                 "Memory for the routed experts, such as 8G, beside which they are read from the\n"
                 "disk each time they run; 0: all may stay in memory"))
      ->check(CLI::Range(uint64_t{0}, uint64_t{1} << 50).description(""))
      ->capture_default_str();
  command.add_option("--isa", isa, "Instruction set: auto is the best of this machine")
      ->check(CLI::IsMember({"auto", "scalar", "avx2", "avx2_vnni", "avx512", "avx512_vnni"}))
      ->capture_default_str();
  command.add_option("--threads", threads, "Threads; 0 is one per core")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  command.add_flag("--pin", pin, "Keep each thread on a core of its own");
  command.add_option("--chunk", chunk, "Tokens of a prompt in one forward pass")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 16))
      ->capture_default_str();
}

void SamplingArgs::add_to(CLI::App& command) {
  command.add_option("--temperature", temperature,
                     "0 always takes the likeliest token; default: as the model recommends");
  command.add_option("--top-k", params.top_k, "Keep the k likeliest tokens; 0 keeps all")
      ->capture_default_str();
  command.add_option("--top-p", top_p,
                     "Keep the likeliest tokens of this probability; default: as the model "
                     "recommends");
  command.add_option("--min-p", params.min_p, "Drop tokens below this share of the likeliest")
      ->capture_default_str();
  command
      .add_option("--repetition-penalty", params.repetition_penalty,
                  "Weakens tokens of prompt and reply")
      ->capture_default_str();
  command
      .add_option("--frequency-penalty", params.frequency_penalty,
                  "Weakens tokens of the reply, each time")
      ->capture_default_str();
  command
      .add_option("--presence-penalty", params.presence_penalty,
                  "Weakens tokens of the reply, once")
      ->capture_default_str();
  command.add_option("--logit-bias", logit_bias, "Adds BIAS to the logit of token ID; repeatable")
      ->type_name("ID=BIAS");
  command.add_option("--seed", params.seed, "Same seed, same text")->capture_default_str();
}

SamplingParams SamplingArgs::get() const {
  SamplingParams result = params;
  if (temperature) result.temperature = *temperature;
  if (top_p) result.top_p = *top_p;
  for (const std::string& entry : logit_bias) {
    const size_t equals = entry.find('=');
    if (equals == std::string::npos) {
      throw Error(ErrorCode::kInvalidInput, "--logit-bias",
                  fmt::format("'{}' is not of the form ID=BIAS", entry));
    }
    const auto id =
        parse_number<int32_t>(std::string_view(entry).substr(0, equals), "--logit-bias");
    result.logit_bias[id] =
        parse_number<float>(std::string_view(entry).substr(equals + 1), "--logit-bias");
  }
  result.validate();
  return result;
}

LoadedModel::LoadedModel(const ModelArgs& args)
    : pool_({.n_threads = args.threads, .pin = args.pin}),
      ops_(make_cpu_ops(pool_, parse_isa(args.isa))),
      model_(args.path, *ops_, model_options(args)) {}

void RoutingRecorder::add_to(CLI::App& command) {
  command.add_option("--record-routing", path_,
                     "File for a trace of which experts each token uses (docs/formats.md)");
}

void RoutingRecorder::start(Model& model) {
  if (path_.empty()) return;
  writer_ = std::make_unique<RoutingTraceWriter>(path_, model.routing_shape());
  model.record_routing(writer_.get());
}

void RoutingRecorder::finish() {
  if (writer_) writer_->finish();
}

EngineOptions engine_options(const Model& model, int64_t max_running) {
  const StateLayout& layout = model.state_layout();
  const int64_t begun = state_bytes(layout, 0).total();
  const int64_t longest = state_bytes(layout, layout.max_tokens).total();
  EngineOptions options{.max_running = max_running};
  options.cache.budget_bytes = longest / 4 + 4 * begun;
  options.state_bytes = max_running * begun + longest + options.cache.budget_bytes;
  return options;
}

std::vector<int32_t> parse_ids(const std::string& text) {
  std::vector<int32_t> ids;
  size_t begin = 0;
  while (begin <= text.size()) {
    const size_t end = std::min(text.find(',', begin), text.size());
    const std::string_view entry = trim(std::string_view(text).substr(begin, end - begin));
    ids.push_back(parse_number<int32_t>(entry, "--ids"));
    begin = end + 1;
  }
  return ids;
}

}  // namespace dsv4::cli
