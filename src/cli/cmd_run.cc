// `dsv4 run`: one reply to a prompt, a conversation in a file, or raw token ids.
#include "base/error.h"
#include "base/mapped_file.h"
#include "cli/commands.h"
#include "cli/conversation.h"
#include "cli/units.h"
#include "text/chat_request.h"

#include <CLI/CLI.hpp>

#include <unistd.h>

#include <iostream>
#include <iterator>
#include <memory>

#include <fmt/core.h>

namespace dsv4::cli {
namespace {

struct RunArgs {
  ModelArgs model;
  SamplingArgs sampling;
  ThinkArgs think;
  RoutingRecorder routing;
  std::optional<std::string> prompt;
  std::string messages;
  std::string ids;
  std::string system;
  bool raw = false;
  bool json = false;
  bool show_reasoning = false;
  bool stats = false;
  int64_t max_tokens = 0;
  int64_t n_logprobs = -1;
  std::vector<std::string> stops;
};

// What is asked: a conversation that the chat format turns into a prompt, or tokens as they are.
struct Question {
  Json::Array messages;
  ChatOptions options;
  std::vector<int32_t> prompt;
};

std::string read_standard_input() {
  std::string text{std::istreambuf_iterator<char>(std::cin), {}};
  if (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

Question read_question(const RunArgs& args, const ChatModel& chat) {
  Question question{.messages = {}, .options = chat.chat_options(), .prompt = {}};
  if (!args.ids.empty()) {
    question.prompt = parse_ids(args.ids);
    return question;
  }
  if (!args.messages.empty()) {
    const Json json = Json::parse(read_file(args.messages), args.messages);
    ChatRequest request = read_chat_request(json, question.options, args.messages);
    question.messages = std::move(request.messages);
    question.options = std::move(request.options);
  } else {
    const std::string text = args.prompt ? *args.prompt : read_standard_input();
    if (args.raw) {
      question.prompt = chat.tokenizer().encode(text, ParseSpecial::kYes);
      return question;
    }
    if (!args.system.empty()) {
      question.messages.push_back(Json().set("role", "system").set("content", args.system));
    }
    question.messages.push_back(Json().set("role", "user").set("content", text));
  }
  question.prompt = chat.prompt_of(question.messages, question.options);
  return question;
}

Json ids_json(const std::vector<int32_t>& ids) {
  Json list = Json::Array{};
  for (const int32_t id : ids) list.push_back(id);
  return list;
}

Json logprobs_json(const std::vector<SampledToken>& tokens) {
  Json list = Json::Array{};
  for (const SampledToken& token : tokens) {
    Json top = Json::Array{};
    for (const TokenLogprob& candidate : token.top) {
      top.push_back(Json().set("id", candidate.id).set("logprob", double{candidate.logprob}));
    }
    list.push_back(
        Json().set("id", token.id).set("logprob", double{token.logprob}).set("top", top));
  }
  return list;
}

Json result_json(const RunArgs& args, const Reply& reply, const ReplyStats& stats,
                 const Model& model) {
  Json json = to_json(reply.message());
  json.set("finish_reason", end_reason_name(reply.reason()));
  json.set("ids", ids_json(reply.ids()));
  if (args.n_logprobs >= 0) json.set("logprobs", logprobs_json(reply.tokens()));
  json.set("usage",
           Json().set("prompt_tokens", stats.n_prompt).set("completion_tokens", stats.n_generated));
  json.set("prefill_seconds", stats.prefill_s);
  json.set("decode_seconds", stats.decode_s);
  if (model.experts() != nullptr) {
    const ExpertCacheStats& experts = model.experts()->stats();
    json.set("expert_cache", Json()
                                 .set("hits", experts.n_hits)
                                 .set("misses", experts.n_misses)
                                 .set("read_bytes", experts.loaded_bytes));
  }
  return json;
}

void print_stats(const ReplyStats& stats, const Model& model) {
  fmt::print(stderr, "{}\n", stats.line());
  if (model.experts() == nullptr) return;
  const ExpertCacheStats& experts = model.experts()->stats();
  fmt::print(stderr, "experts: {} of {} in memory ({:.1f} %), {} read, at most {} kept\n",
             experts.n_hits, experts.n_hits + experts.n_misses, 100 * experts.hit_rate(),
             human_bytes(experts.loaded_bytes), human_bytes(experts.peak_bytes));
}

void run(RunArgs& args) {
  SamplingArgs sampling = args.sampling;
  sampling.params.n_logprobs = args.n_logprobs;
  ChatModel chat(args.model, sampling, args.think);
  const Question question = read_question(args, chat);
  args.routing.start(chat.model());
  Engine engine(chat.model(), chat.tokenizer(), engine_options(chat.model(), 1));
  const bool as_it_is = !args.ids.empty() || args.raw;
  Reply reply(as_it_is ? std::nullopt
                       : std::optional(chat.parsing(question.messages, question.options)));
  const bool terminal = isatty(STDOUT_FILENO) != 0;
  const bool show = terminal || args.show_reasoning;
  ReplyPrinter printer(show ? ReplyPrinter::Reasoning::kShown : ReplyPrinter::Reasoning::kHidden,
                       terminal);
  catch_interrupts();
  const ReplyStats stats = drive_reply(
      engine, chat.request(question.prompt, args.max_tokens, args.stops), reply,
      [&](const std::vector<ParseEvent>& events) {
        if (!args.json) printer.print(events);
      },
      was_interrupted);
  engine.stop();
  if (args.json) {
    fmt::print("{}\n", result_json(args, reply, stats, chat.model()).print());
  } else {
    printer.finish();
  }
  if (args.stats) print_stats(stats, chat.model());
  args.routing.finish();
  if (was_interrupted()) throw CLI::RuntimeError(kInterrupted);
}

}  // namespace

void add_run(CLI::App& app) {
  auto args = std::make_shared<RunArgs>();
  CLI::App* command = app.add_subcommand("run", "One reply to a prompt");
  args->model.add_to(*command);
  auto* prompt = command->add_option("-p,--prompt", args->prompt,
                                     "What the user says; without it standard input is read");
  auto* messages = command
                       ->add_option("--messages", args->messages,
                                    "Conversation: a JSON list of messages, or an object with "
                                    "messages, tools, thinking_mode, ...")
                       ->type_name("FILE.json");
  auto* ids = command->add_option("--ids", args->ids, "Token ids as they are, for example 0,17,42");
  auto* raw = command->add_flag("--raw", args->raw, "The prompt as it is, without the chat format");
  command->add_option("--system", args->system, "System message");
  prompt->excludes(messages)->excludes(ids);
  messages->excludes(ids)->excludes(raw);
  command->add_option("--max-tokens", args->max_tokens, "Longest reply; 0 fills the context")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command->add_option("--stop", args->stops, "Ends the reply before this text; repeatable");
  command
      ->add_option("--logprobs", args->n_logprobs,
                   "With --json: log-probability of each token and of the N likeliest")
      ->check(CLI::Range(0, 1000));
  command->add_flag("--show-reasoning", args->show_reasoning,
                    "Print the reasoning also when standard output is not a terminal");
  command->add_flag("--json", args->json, "One JSON object with the reply, ids and times");
  command->add_flag("--stats", args->stats, "Print times and reads of experts to standard error");
  args->routing.add_to(*command);
  args->think.add_to(*command);
  args->sampling.add_to(*command);
  command->footer(
      "Examples:\n"
      "  dsv4 run -m models/mini -p 'Sort these numbers from small to large: 45, 13, 19'\n"
      "  dsv4 run -m models/mini --messages chat.json --json\n"
      "  echo 'Who are you?' | dsv4 run -m models/mini");
  command->callback([args] { run(*args); });
}

}  // namespace dsv4::cli
