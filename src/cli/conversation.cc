#include "cli/conversation.h"

#include "base/check.h"
#include "base/error.h"
#include "base/json.h"
#include "base/mapped_file.h"
#include "cli/progress.h"
#include "model/gguf_tokenizer.h"

#include <CLI/CLI.hpp>

#include <signal.h>

#include <chrono>
#include <cstdio>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

namespace dsv4::cli {
namespace {

volatile sig_atomic_t interrupted_flag = 0;

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// Temperature and top_p that the model's makers recommend, where the user says nothing.
void apply_model_defaults(const std::string& folder, const SamplingArgs& asked,
                          SamplingParams& params) {
  const std::filesystem::path path = std::filesystem::path(folder) / "generation_config.json";
  if (!std::filesystem::exists(path)) return;
  const nlohmann::json config = parse_json(read_file(path, 1 << 20), path.string());
  if (!config.is_object()) return;
  const bool greedy = config.value("do_sample", nlohmann::json(true)) == false;
  const auto number = [&](const char* key, float fallback) {
    const auto found = config.find(key);
    return found != config.end() && found->is_number() ? found->get<float>() : fallback;
  };
  if (!asked.temperature) params.temperature = greedy ? 0 : number("temperature", 1);
  if (!asked.top_p) params.top_p = number("top_p", 1);
  params.validate();
}

void write(std::string_view text) { std::fwrite(text.data(), 1, text.size(), stdout); }

}  // namespace

void ThinkArgs::add_to(CLI::App& command) {
  command.add_option("--think", effort, "Reasoning before the answer: none, low, high or max")
      ->check(CLI::IsMember({"none", "low", "high", "max"}))
      ->capture_default_str();
  command
      .add_option("--variant", variant,
                  "Release of the chat format; auto takes it from the model's config.json")
      ->check(CLI::IsMember({"auto", "preview", "0731"}))
      ->capture_default_str();
  command.add_flag("--parse-special", parse_special,
                   "Read special tokens such as <｜User｜> in messages as tokens, not as text");
}

ChatModel::ChatModel(const ModelArgs& model, const SamplingArgs& sampling, const ThinkArgs& think)
    : think_(think),
      tokenizer_(load_tokenizer(model.path)),
      sampling_(sampling.get()),
      model_(model) {
  apply_model_defaults(model.path, sampling, sampling_);
  if (think_.variant == "auto") think_.variant = model_->config().has_dspark ? "0731" : "preview";
}

ChatOptions ChatModel::chat_options() const {
  ChatOptions options;
  options.variant = *chat_variant_of(think_.variant);
  if (think_.effort == "none") return options;
  options.thinking_mode = ThinkingMode::kThinking;
  // The first release knows high and max only.
  const bool low = think_.effort == "low" && options.variant == ChatVariant::kPreview;
  options.reasoning_effort = low ? "high" : think_.effort;
  return options;
}

std::vector<int32_t> ChatModel::prompt_of(const Json::Array& messages,
                                          const ChatOptions& options) const {
  const std::vector<TextSpan> spans = encode_chat(messages, options);
  return think_.parse_special ? tokenizer_.encode(join(spans), ParseSpecial::kYes)
                              : tokenizer_.encode(spans);
}

Request ChatModel::request(std::vector<int32_t> prompt, int64_t max_tokens,
                           std::vector<std::string> stops) const {
  Request request{.prompt = std::move(prompt), .sampling = sampling_, .max_tokens = max_tokens};
  request.stop_ids = {static_cast<int32_t>(model_->config().eos_token_id)};
  request.stop_strings = std::move(stops);
  return request;
}

LenientOptions ChatModel::parsing(const Json::Array& messages, const ChatOptions& options) const {
  Json::Array tools;
  for (const Json& message : messages) {
    const Json* declared = message.find("tools");
    if (declared == nullptr || !declared->is_array()) continue;
    for (const Json& tool : declared->as_array("tools")) tools.push_back(tool);
  }
  return {options.thinking_mode, DeclaredTools(tools)};
}

std::string ReplyStats::line() const {
  const auto rate = [](int64_t n, double s) { return s > 0 ? static_cast<double>(n) / s : 0.0; };
  return fmt::format(
      "prompt {} tokens ({} reused), {:.2f} s, {:.1f} tokens/s; reply {} tokens, "
      "{:.2f} s, {:.1f} tokens/s",
      n_prompt, n_reused, prefill_s, rate(n_prompt - n_reused, prefill_s), n_generated, decode_s,
      rate(n_generated, decode_s));
}

ReplyStats drive_reply(Engine& engine, Request request, Reply& reply,
                       const std::function<void(const std::vector<ParseEvent>&)>& on_events,
                       const std::function<bool()>& interrupted) {
  const auto start = std::chrono::steady_clock::now();
  const std::shared_ptr<EventStream> stream = engine.submit(std::move(request)).stream;
  CHECK(stream != nullptr);
  Progress progress("reading the prompt");
  std::vector<StreamEvent> arrived;
  std::vector<ParseEvent> events;
  for (bool more = true; more;) {
    arrived.clear();
    more = stream->wait_and_take(arrived);
    if (interrupted()) stream->cancel();
    for (StreamEvent& event : arrived) {
      const PromptUsage& usage = event.usage;
      if (event.kind == StreamEvent::Kind::kProgress) {
        progress.update(usage.n_done - usage.n_cached, usage.n_prompt - usage.n_cached);
      } else {
        progress.clear();
      }
      reply.take(std::move(event), events);
    }
    on_events(events);
    events.clear();
  }
  if (reply.reason() == EndReason::kError) {
    throw Error(ErrorCode::kInvalidInput, "reply", reply.error());
  }
  const PromptUsage& usage = reply.usage();
  const double prefill_s = usage.queued_s + usage.prefill_s;
  return {.n_prompt = usage.n_prompt,
          .n_reused = usage.n_cached,
          .n_generated = std::ssize(reply.tokens()),
          .prefill_s = prefill_s,
          .decode_s = seconds_since(start) - prefill_s};
}

void ReplyPrinter::switch_to(ParseEvent::Kind kind) {
  using Kind = ParseEvent::Kind;
  const bool was_reasoning = last_ == Kind::kReasoning;
  const bool is_reasoning = kind == Kind::kReasoning;
  if (colors_ && is_reasoning && !was_reasoning) write("\033[2m");
  if (colors_ && was_reasoning && !is_reasoning) write("\033[0m");
  const bool new_paragraph = (was_reasoning && !is_reasoning) || kind == Kind::kToolCallBegin;
  if (new_paragraph && !at_line_start_) write("\n");
  last_ = kind;
}

void ReplyPrinter::print(const std::vector<ParseEvent>& events) {
  using Kind = ParseEvent::Kind;
  for (const ParseEvent& event : events) {
    if (event.kind == Kind::kReasoning && reasoning_ == Reasoning::kHidden) continue;
    if (event.kind != last_) switch_to(event.kind);
    std::string text = event.text;
    if (event.kind == Kind::kToolCallBegin) text = fmt::format("-> {}(", event.text);
    if (event.kind == Kind::kToolCallEnd) text = ")\n";
    if (event.kind == Kind::kToolCallAborted) text = " [call not complete, not to be executed]\n";
    if (text.empty()) continue;
    write(text);
    at_line_start_ = text.back() == '\n';
  }
  std::fflush(stdout);
}

void ReplyPrinter::finish() {
  if (colors_) write("\033[0m");
  if (!at_line_start_ || !last_) write("\n");
  std::fflush(stdout);
}

void catch_interrupts() {
  struct sigaction action {};
  action.sa_handler = [](int) { interrupted_flag = 1; };
  sigemptyset(&action.sa_mask);
  ::sigaction(SIGINT, &action, nullptr);
}

bool was_interrupted() { return interrupted_flag != 0; }
void clear_interrupt() { interrupted_flag = 0; }

}  // namespace dsv4::cli
