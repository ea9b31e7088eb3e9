// `dsv4 encode` and `dsv4 parse`: messages to a prompt, and a completion to a message.
#include "base/error.h"
#include "base/mapped_file.h"
#include "cli/commands.h"
#include "cli/text_io.h"
#include "text/chat_request.h"
#include "text/parse_completion.h"
#include "text/parse_lenient.h"

#include <CLI/CLI.hpp>

#include <memory>

#include <fmt/core.h>

namespace dsv4::cli {
namespace {

void add_thinking_mode(CLI::App& command, std::string& mode) {
  command.add_option("--thinking-mode", mode, "chat or thinking, where the input does not say")
      ->check(CLI::IsMember({"chat", "thinking"}))
      ->capture_default_str();
}

struct EncodeArgs {
  TokenizerArgs tokenizer;
  std::optional<std::string> text;
  std::string messages;  // file
  std::string system;
  std::string variant = "preview";
  std::string thinking_mode = "chat";
  std::optional<std::string> effort;
  bool keep_thinking = false;
  bool no_bos = false;
  bool no_parse_special = false;
  bool ids = false;
  bool json = false;
  bool json_lines = false;

  ChatOptions defaults() const {
    ChatOptions options;
    options.variant = *chat_variant_of(variant);
    options.thinking_mode = *thinking_mode_of(thinking_mode);
    options.reasoning_effort = effort;
    options.drop_thinking = !keep_thinking;
    options.add_bos = !no_bos;
    return options;
  }
};

std::vector<int32_t> prompt_ids(const Tokenizer& tokenizer, const std::vector<TextSpan>& spans,
                                const EncodeArgs& args) {
  // The reference joins first, so that added tokens in the messages become tokens too.
  return args.no_parse_special ? tokenizer.encode(spans)
                               : tokenizer.encode(join(spans), ParseSpecial::kYes);
}

// The conversation that the command line describes.
Json described_messages(const EncodeArgs& args) {
  if (!args.messages.empty()) {
    return Json::parse(args.messages == "-" ? argument_or_stdin({}) : read_file(args.messages),
                       args.messages);
  }
  Json messages = Json::Array{};
  if (!args.system.empty()) {
    messages.push_back(Json().set("role", "system").set("content", args.system));
  }
  const std::string text = argument_or_stdin(args.text);
  return messages.push_back(Json().set("role", "user").set("content", text));
}

void encode(const EncodeArgs& args) {
  const ChatOptions defaults = args.defaults();
  std::optional<Tokenizer> tokenizer;
  if (args.json_lines || args.json || args.ids) tokenizer = args.tokenizer.load();
  const auto result = [&](const std::vector<TextSpan>& spans) {
    return Json()
        .set("prompt", join(spans))
        .set("prompt_ids", to_json(prompt_ids(*tokenizer, spans, args)));
  };
  if (args.json_lines) {
    run_json_lines([&](const Json& input, const std::string& where) {
      const ChatRequest request = read_chat_request(input, defaults, where);
      return result(encode_chat(request.messages, request.options));
    });
    return;
  }
  const ChatRequest request = read_chat_request(described_messages(args), defaults, args.messages);
  const std::vector<TextSpan> spans = encode_chat(request.messages, request.options);
  if (args.json) {
    print_line(result(spans).print());
  } else if (args.ids) {
    print_line(join_ids(prompt_ids(*tokenizer, spans, args)));
  } else {
    print_text(join(spans));
  }
}

struct ParseArgs {
  TokenizerArgs tokenizer;
  std::optional<std::string> text;
  std::string thinking_mode = "chat";
  std::string tools;  // file
  bool strict = false;
  bool json = false;
  bool json_lines = false;
};

AssistantMessage parse_one(const std::string& completion, ThinkingMode mode,
                           const DeclaredTools& tools, const ParseArgs& args) {
  return args.strict ? parse_completion(completion, mode)
                     : parse_lenient(completion, {mode, tools});
}

ThinkingMode mode_of(const Json& input, const ParseArgs& args, const std::string& where) {
  const Json* value = input.find("thinking_mode");
  const std::string& name =
      value != nullptr ? value->as_string(where + ".thinking_mode") : args.thinking_mode;
  const std::optional<ThinkingMode> mode = thinking_mode_of(name);
  if (!mode) {
    throw Error(ErrorCode::kInvalidInput, where + ".thinking_mode",
                fmt::format("expected \"chat\" or \"thinking\", found \"{}\"", name));
  }
  return *mode;
}

void print_message(const AssistantMessage& message) {
  if (!message.reasoning_content.empty()) {
    print_line("[reasoning]");
    print_line(message.reasoning_content);
  }
  if (!message.content.empty()) {
    print_line("[content]");
    print_line(message.content);
  }
  for (const ToolCall& call : message.tool_calls) {
    print_line("[tool call]");
    print_line(call.name + " " + call.arguments);
  }
}

void parse(const ParseArgs& args) {
  DeclaredTools tools;
  if (!args.tools.empty()) {
    tools = DeclaredTools(Json::parse(read_file(args.tools), args.tools).as_array(args.tools));
  }
  if (args.json_lines) {
    run_json_lines([&](const Json& input, const std::string& where) {
      const std::string& completion =
          input.at("completion", where).as_string(where + ".completion");
      const Json* declared = input.find("tools");
      const AssistantMessage message = parse_one(
          completion, mode_of(input, args, where),
          declared != nullptr ? DeclaredTools(declared->as_array(where + ".tools")) : tools, args);
      return Json().set("parsed", to_json(message));
    });
    return;
  }
  const AssistantMessage message =
      parse_one(argument_or_stdin(args.text), *thinking_mode_of(args.thinking_mode), tools, args);
  if (args.json) {
    print_line(Json().set("parsed", to_json(message)).print());
  } else {
    print_message(message);
  }
}

}  // namespace

void add_encode(CLI::App& app) {
  auto args = std::make_shared<EncodeArgs>();
  CLI::App* command = app.add_subcommand("encode", "Turn messages into the prompt of the model");
  command->add_option("TEXT", args->text, "A user message; default: standard input");
  command
      ->add_option("--messages", args->messages,
                   "Instead: JSON, a list of messages or an object with messages, tools,\n"
                   "thinking_mode, reasoning_effort, ...; - is standard input")
      ->type_name("FILE");
  command->add_option("--system", args->system, "System message before TEXT");
  args->tokenizer.add_to(*command);
  command->add_option("--variant", args->variant, "Release of the format: preview or 0731")
      ->check(CLI::IsMember({"preview", "0731"}))
      ->capture_default_str();
  add_thinking_mode(*command, args->thinking_mode);
  command->add_option("--effort", args->effort, "Reasoning effort: high, max; in 0731 also low");
  command->add_flag("--keep-thinking", args->keep_thinking, "Keep the reasoning of earlier turns");
  command->add_flag("--no-bos", args->no_bos, "No beginning-of-sentence token in front");
  command->add_flag("--no-parse-special", args->no_parse_special,
                    "In the ids, read added tokens in the messages' own text as plain text");
  command->add_flag("--ids", args->ids, "Print the token ids instead of the text");
  command->add_flag("--json", args->json, "Print {\"prompt\", \"prompt_ids\"}");
  command->add_flag("--jsonl", args->json_lines,
                    "For programs: each input line is an object as for --messages and gives an\n"
                    "output line {\"prompt\", \"prompt_ids\"} or {\"error\"}");
  command->footer(
      "Examples:\n"
      "  dsv4 encode 'What is 2+2?' --thinking-mode thinking\n"
      "  dsv4 encode --messages chat.json --variant 0731 --effort max --json\n"
      "  dsv4 encode --jsonl -m /models/DeepSeek-V4-Flash < cases.jsonl");
  command->callback([args] { encode(*args); });
}

void add_parse(CLI::App& app) {
  auto args = std::make_shared<ParseArgs>();
  CLI::App* command = app.add_subcommand("parse", "Turn a completion into a message");
  command->add_option("TEXT", args->text, "The completion; default: standard input, as it is");
  command
      ->add_option("-m,--model", args->tokenizer.path,
                   "Accepted as by the other text commands; parsing needs no tokenizer")
      ->type_name("PATH");
  command->add_flag("--strict", args->strict,
                    "Accept only what the reference parser does; else repair as a server should");
  add_thinking_mode(*command, args->thinking_mode);
  command
      ->add_option("--tools", args->tools,
                   "JSON list of the tools that the request declares, where the input has none")
      ->type_name("FILE");
  command->add_flag("--json", args->json, "Print {\"parsed\"}");
  command->add_flag("--jsonl", args->json_lines,
                    "For programs: each input line {\"completion\", \"thinking_mode\", \"tools\"}\n"
                    "gives an output line {\"parsed\"} or {\"error\"}");
  command->footer(
      "Examples:\n"
      "  dsv4 parse --thinking-mode thinking 'Easy.</think>4'\n"
      "  dsv4 parse --strict --jsonl < completions.jsonl");
  command->callback([args] { parse(*args); });
}

}  // namespace dsv4::cli
