// Replies in the shape of each API: events of the parser and sampled tokens go in, a body or the
// frames of an event stream come out (docs/serving.md has the sequences).
#pragma once

#include "engine/sampler.h"
#include "server/api_request.h"
#include "server/events.h"
#include "text/parse_lenient.h"
#include "text/tokenizer.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace dsv4 {

// Ids such as "chatcmpl-4Tb..."; the same seed gives the same ids.
class IdMaker {
 public:
  explicit IdMaker(uint64_t seed) : seed_(seed) {}
  std::string next(std::string_view prefix);

 private:
  uint64_t seed_;
  uint64_t n_made_ = 0;
};

// What the writer must know besides the request.
struct ReplyContext {
  const Tokenizer* tokenizer;                  // must outlive the writer
  IdMaker ids;                                 // seeded anew for each request
  int64_t created = 0;                         // seconds since 1970
  ThinkingMode mode = ThinkingMode::kChat;     // of the parser: the prompt opened reasoning or not
  std::vector<std::string> prompt_texts = {};  // of kCompletions with echo, by prompt
};

struct ReplyUsage {
  int64_t n_prompt = 0;  // of all prompts
  int64_t n_cached = 0;  // of n_prompt: not computed
  int64_t n_completion = 0;
  int64_t n_reasoning = 0;  // of n_completion: up to and with the end of the reasoning
};

// As chat completions and the metrics call it.
const char* finish_name(FinishReason reason);

// Why a choice ended: the parser's reason, and the stop string if one came.
struct ReplyEnd {
  FinishReason reason = FinishReason::kStop;
  std::optional<std::string> stop_string = {};
};

// A sampled token, where the request wants to know how probable it was.
struct LoggedToken {
  std::string bytes;
  float logprob;
  std::vector<std::pair<std::string, float>> top;  // bytes and log-probability
  bool is_reasoning;
};

// Used by one thread at a time: start, then for each choice add and end, then finish; fail instead
// of anything but the first. Every method appends to `out` what is to be sent now; without
// streaming that is the body, by finish.
class ReplyWriter {
 public:
  struct Call {
    std::string id;
    std::string name;
    std::string arguments;
  };

  virtual ~ReplyWriter() = default;

  // The prompts are computed or taken from the cache.
  void start(int64_t n_prompt, int64_t n_cached, std::string& out);
  // What came with one token, or with none: held back text at the end.
  void add(size_t choice, std::span<const ParseEvent> events, const SampledToken* token,
           std::string& out);
  void end(size_t choice, const ReplyEnd& end, std::string& out);
  void finish(std::string& out);
  // Something broke after the stream had begun. The service sends error_json where it had not.
  void fail(const ApiError& error, std::string& out);
  // Keeps the connection of a stream alive.
  virtual void ping(std::string& out) const { append_event_comment(out, "ping"); }

  const std::string& id() const { return id_; }
  const ReplyUsage& usage() const { return usage_; }
  size_t n_choices() const { return choices_.size(); }
  // The reply as the client has it and will send it back: an element of ApiRequest::messages.
  Json message(size_t choice) const;
  // The whole reply as a body, also of a stream; after finish.
  std::string body_text() { return body().print(); }

 protected:
  struct Choice {
    std::string content;
    std::string reasoning;
    std::vector<Call> calls;          // complete, but for the last while it is open
    std::vector<LoggedToken> tokens;  // if the request wants them
    size_t n_tokens_sent = 0;
    int64_t n_tokens = 0;
    bool is_reasoning = false;  // the next token belongs to the reasoning
    std::optional<ReplyEnd> end;
  };

  ReplyWriter(const ApiRequest& request, ReplyContext context, const char* id_prefix,
              const char* call_prefix);

  // The parts of the public methods that differ. on_event comes after `choice` has the event, but
  // before the last call is removed when it is aborted.
  virtual void on_start(std::string& out) = 0;
  virtual void on_event(size_t choice, const ParseEvent& event, std::string& out) = 0;
  virtual void on_end(size_t choice, std::string& out) = 0;
  virtual void on_finish(std::string& out) = 0;  // of streams
  virtual void on_fail(const ApiError& error, std::string& out) = 0;
  virtual Json body() = 0;

  // Tokens of the reply, without reasoning, that no call of this has returned yet.
  std::span<const LoggedToken> unsent_tokens(Choice& choice) const;

  ApiRequest request_;  // without messages and prompts
  ReplyContext context_;
  std::string id_;
  const char* call_prefix_;
  ReplyUsage usage_;
  std::vector<Choice> choices_;

 private:
  void log_token(Choice& choice, const SampledToken& token);
  void take(Choice& choice, const ParseEvent& event);

  std::optional<int32_t> think_begin_;
  std::optional<int32_t> think_end_;
  std::optional<int32_t> eos_;
};

// A writer for the request's API with request.n choices for each prompt; choice i of prompt p has
// the index p * n + i.
std::unique_ptr<ReplyWriter> make_reply_writer(const ApiRequest& request, ReplyContext context);

}  // namespace dsv4
