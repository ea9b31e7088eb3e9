// What `run`, `chat` and `serve` share: a model with its tokenizer and defaults, how a conversation
// becomes a prompt and a printed reply.
#pragma once

#include "cli/model_options.h"
#include "engine/reply.h"
#include "text/chat_encode.h"
#include "text/tokenizer.h"

#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace dsv4::cli {

// How much the model reasons before it answers: --think none|low|high|max.
struct ThinkArgs {
  std::string effort = "none";
  std::string variant = "auto";  // preview, 0731, or by the model's config.json
  bool parse_special = false;    // added tokens in what users write are tokens

  void add_to(CLI::App& command);
};

class ChatModel {
 public:
  ChatModel(const ModelArgs& model, const SamplingArgs& sampling, const ThinkArgs& think);

  Model& model() { return *model_; }
  const Model& model() const { return *model_; }
  const Tokenizer& tokenizer() const { return tokenizer_; }
  ThinkArgs& think() { return think_; }
  // As asked for, else as generation_config.json says.
  const SamplingParams& sampling() const { return sampling_; }

  // Settings of the chat format for the present --think.
  ChatOptions chat_options() const;
  std::vector<int32_t> prompt_of(const Json::Array& messages, const ChatOptions& options) const;
  // With these defaults and the model's end token.
  Request request(std::vector<int32_t> prompt, int64_t max_tokens,
                  std::vector<std::string> stops) const;
  // For the tools that the messages declare.
  LenientOptions parsing(const Json::Array& messages, const ChatOptions& options) const;

 private:
  ThinkArgs think_;
  Tokenizer tokenizer_;
  SamplingParams sampling_;
  LoadedModel model_;
};

// Times and counts of one reply.
struct ReplyStats {
  int64_t n_prompt = 0;
  int64_t n_reused = 0;  // prompt tokens that were in the state already
  int64_t n_generated = 0;
  double prefill_s = 0;
  double decode_s = 0;

  std::string line() const;  // "12 tokens in 0.3 s (40 tokens/s), ..."
};

// Lets the engine answer; prints nothing but the progress of a long prompt. Reports what comes
// through `on_events`; ends early when `interrupted` returns true. Throws Error for a request that
// the engine refuses or cannot finish.
ReplyStats drive_reply(Engine& engine, Request request, Reply& reply,
                       const std::function<void(const std::vector<ParseEvent>&)>& on_events,
                       const std::function<bool()>& interrupted);

// Prints events as they come: content plainly, reasoning dimmed, tool calls as name(arguments).
class ReplyPrinter {
 public:
  enum class Reasoning { kHidden, kShown };
  ReplyPrinter(Reasoning reasoning, bool colors) : reasoning_(reasoning), colors_(colors) {}

  void print(const std::vector<ParseEvent>& events);
  // Ends the line.
  void finish();

 private:
  void switch_to(ParseEvent::Kind kind);

  Reasoning reasoning_;
  bool colors_;
  std::optional<ParseEvent::Kind> last_;
  bool at_line_start_ = true;
};

// From now on Ctrl-C sets a flag instead of ending the program.
void catch_interrupts();
bool was_interrupted();
void clear_interrupt();

}  // namespace dsv4::cli
