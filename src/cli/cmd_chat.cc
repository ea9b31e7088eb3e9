// `dsv4 chat`: a conversation in the terminal, or line by line from standard input.
#include "base/error.h"
#include "base/mapped_file.h"
#include "cli/commands.h"
#include "cli/conversation.h"
#include "cli/line_reader.h"
#include "text/chat_request.h"

#include <CLI/CLI.hpp>

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <memory>

#include <fmt/core.h>

namespace dsv4::cli {
namespace {

constexpr const char* kCommands =
    "/think none|low|high|max   how much to reason before the answer\n"
    "/system TEXT               system message; without TEXT none\n"
    "/save FILE, /load FILE     the conversation as a JSON list of messages\n"
    "/stats                     tokens, speed and memory of the last reply\n"
    "/new                       forget the conversation\n"
    "/quit                      leave (also Ctrl-D)\n"
    "A line that ends in \\ goes on in the next one. Ctrl-C stops a reply.\n";

struct ChatArgs {
  ModelArgs model;
  SamplingArgs sampling;
  ThinkArgs think;
  std::string system;
  int64_t max_tokens = 0;
};

class Chat {
 public:
  explicit Chat(const ChatArgs& args)
      : args_(args),
        model_(args.model, args.sampling, args.think),
        engine_(model_.model(), model_.tokenizer(), engine_options(model_.model(), 1)),
        system_(args.system) {}

  void run() {
    catch_interrupts();
    if (reader_.interactive()) greet();
    while (const auto line = reader_.read("> ")) {
      if (line->empty()) continue;
      if (line->front() != '/') {
        answer(*line);
      } else if (!command(*line)) {
        return;
      }
    }
    if (reader_.interactive()) fmt::print("\n");
  }

 private:
  void greet() {
    const ModelConfig& config = model_.model().config();
    fmt::print("dsv4: {} ({} layers, context {} tokens, {} numerics). /help lists commands.\n\n",
               args_.model.path, config.n_layers, engine_.context(),
               numerics_name(model_.model().options().numerics));
    const auto path = std::filesystem::path(args_.model.path) / "greeting.txt";
    constexpr size_t kMaxGreeting = 4096;
    if (std::filesystem::exists(path)) fmt::print("{}\n", printable(read_file(path, kMaxGreeting)));
  }

  // Text of a model folder without control characters.
  static std::string printable(std::string text) {
    std::erase_if(text, [](char c) { return static_cast<unsigned char>(c) < 32 && c != '\n'; });
    return text;
  }

  // The system message and the conversation.
  Json::Array all_messages() const {
    Json::Array messages;
    if (!system_.empty()) {
      messages.push_back(Json().set("role", "system").set("content", system_));
    }
    messages.insert(messages.end(), messages_.begin(), messages_.end());
    return messages;
  }

  void answer(const std::string& text) {
    messages_.push_back(Json().set("role", "user").set("content", text));
    try {
      generate();
    } catch (const Error& error) {
      messages_.pop_back();  // the conversation goes on without the refused message
      if (!reader_.interactive()) throw;
      fmt::print(stderr, "error: {}\n", error.what());
    }
  }

  void generate() {
    const ChatOptions options = model_.chat_options();
    const Json::Array messages = all_messages();
    const std::vector<int32_t> prompt = model_.prompt_of(messages, options);
    Reply reply(model_.parsing(messages, options));
    const bool terminal = isatty(STDOUT_FILENO) != 0;
    ReplyPrinter printer(
        terminal ? ReplyPrinter::Reasoning::kShown : ReplyPrinter::Reasoning::kHidden, terminal);
    clear_interrupt();
    stats_ = drive_reply(
        engine_, model_.request(prompt, args_.max_tokens, {}), reply,
        [&](const std::vector<ParseEvent>& events) { printer.print(events); }, was_interrupted);
    printer.finish();
    if (reader_.interactive()) {
      fmt::print(
          "\033[2m{}{:.1f} tokens/s\033[0m\n", was_interrupted() ? "[stopped] " : "",
          stats_.decode_s > 0 ? static_cast<double>(stats_.n_generated) / stats_.decode_s : 0.0);
    }
    clear_interrupt();
    messages_.push_back(to_json(reply.message()));
  }

  // Runs a command line; false to leave.
  bool command(const std::string& line) {
    const size_t space = std::min(line.find(' '), line.size());
    const std::string name = line.substr(0, space);
    const std::string argument = space < line.size() ? line.substr(space + 1) : std::string();
    try {
      if (name == "/quit" || name == "/exit") return false;
      dispatch(name, argument);
    } catch (const std::exception& error) {
      fmt::print(stderr, "error: {}\n", error.what());
    }
    return true;
  }

  void dispatch(const std::string& name, const std::string& argument) {
    if (name == "/help") {
      fmt::print("{}", kCommands);
    } else if (name == "/think") {
      think(argument);
    } else if (name == "/system") {
      system_ = argument;
    } else if (name == "/save") {
      save(argument);
    } else if (name == "/load") {
      load(argument);
    } else if (name == "/stats") {
      print_stats();
    } else if (name == "/new") {
      messages_.clear();
    } else {
      throw Error(ErrorCode::kInvalidInput, name, "no such command; /help lists them");
    }
  }

  void think(const std::string& effort) {
    if (effort != "none" && effort != "low" && effort != "high" && effort != "max") {
      throw Error(ErrorCode::kInvalidInput, "/think", "expected none, low, high or max");
    }
    model_.think().effort = effort;
  }

  void save(const std::string& path) const {
    if (path.empty()) throw Error(ErrorCode::kInvalidInput, "/save", "name a file");
    std::ofstream file(path);
    file << Json(all_messages()).print() << '\n';
    if (!file.flush()) throw Error(ErrorCode::kIo, path, "cannot write");
    fmt::print("saved {} messages to {}\n", all_messages().size(), path);
  }

  void load(const std::string& path) {
    if (path.empty()) throw Error(ErrorCode::kInvalidInput, "/load", "name a file");
    const Json json = Json::parse(read_file(path), path);
    ChatRequest request = read_chat_request(json, model_.chat_options(), path);
    encode_chat(request.messages, request.options);  // refuses what could not be continued
    system_.clear();
    messages_ = std::move(request.messages);
    fmt::print("loaded {} messages from {}\n", messages_.size(), path);
  }

  void print_stats() {
    const int64_t n_tokens = stats_.n_prompt + stats_.n_generated;
    const double mib =
        static_cast<double>(state_bytes(model_.model().state_layout(), n_tokens).total()) /
        (1 << 20);
    fmt::print("{}\nstate {} of {} tokens, {:.1f} MiB\n", stats_.line(), n_tokens,
               engine_.context(), mib);
  }

  const ChatArgs& args_;
  ChatModel model_;
  Engine engine_;
  LineReader reader_;
  std::string system_;
  Json::Array messages_;
  ReplyStats stats_;
};

}  // namespace

void add_chat(CLI::App& app) {
  auto args = std::make_shared<ChatArgs>();
  CLI::App* command = app.add_subcommand("chat", "A conversation");
  args->model.add_to(*command);
  command->add_option("--system", args->system, "System message");
  command->add_option("--max-tokens", args->max_tokens, "Longest reply; 0 fills the context")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  args->think.add_to(*command);
  args->sampling.add_to(*command);
  command->footer(std::string("In the conversation:\n") + kCommands +
                  "When standard input is not a terminal, each line is answered in turn.\n"
                  "Example: dsv4 chat -m models/mini");
  command->callback([args] { Chat(*args).run(); });
}

}  // namespace dsv4::cli
