// What a client asks, whichever API it speaks. The parsers of the APIs (openai_chat.h, ...) make it
// from the JSON of a body; they have no state and know neither sockets nor the engine's threads.
#pragma once

#include "engine/sampler.h"
#include "server/api_error.h"
#include "text/chat_types.h"
#include "text/json.h"

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace dsv4 {

// What the service adds to requests that say nothing, and how much they may ask for.
struct ApiSettings {
  std::vector<std::string> models;  // names that requests may ask for; the first is the default
  bool any_model = false;           // any name means the one model
  SamplingParams sampling = {};     // temperature and so on where the request is silent
  std::string effort = "none";      // reasoning where the request is silent
  int32_t vocab_size = 0;           // ids below it exist
  int64_t max_choices = 16;
  size_t max_messages = 10'000;
  size_t max_tools = 1024;
  size_t max_prompts = 128;
};

// How much the model reasons before it answers. What the weights do not know becomes the nearest
// that they do (docs/serving.md).
enum class Effort { kNone, kLow, kMedium, kHigh, kMax };

struct ToolChoice {
  enum class Kind { kAuto, kNone, kRequired, kNamed };
  Kind kind = Kind::kAuto;
  std::string name = {};  // of kNamed
};

struct ResponseFormat {
  enum class Kind { kText, kJsonObject, kJsonSchema };
  Kind kind = Kind::kText;
  std::string name = {};  // of kJsonSchema, like what follows
  std::string description = {};
  Json schema = {};
  bool strict = false;
  std::string where = {};  // path of the schema in the request, for errors of its compiler
};

// A function that the model may call.
struct ToolSpec {
  std::string name;
  std::string description = {};
  Json parameters = {};    // JSON schema of the arguments
  bool strict = false;     // the arguments must satisfy the schema
  bool is_custom = false;  // of the Responses API: one text `input` instead of arguments
  // Of the Responses API: `name` is "SPACE__SHORT" to the model and two members to the client.
  std::string space = {};
  std::string short_name = {};
  std::string where = {};  // path of the schema, for errors of its compiler
};

// A prompt without a conversation: text, or token ids.
using RawPrompt = std::variant<std::string, std::vector<int32_t>>;

struct ApiRequest {
  ApiKind api = ApiKind::kChat;
  std::string model;

  // A conversation as the encoder takes it: role, content, reasoning_content, tool_calls [{id,
  // type, function {name, arguments}}], tool_call_id, wo_eos. Without the tools.
  Json::Array messages;
  std::vector<RawPrompt> prompts;  // of kCompletions instead

  std::vector<ToolSpec> tools;
  ToolChoice tool_choice;
  bool parallel_tool_calls = true;
  ResponseFormat response_format;

  int64_t n = 1;           // replies to each prompt
  int64_t max_tokens = 0;  // of a reply; 0: as many as the context holds
  SamplingParams sampling;
  bool has_seed = false;  // else the service draws one
  std::vector<std::string> stop;
  std::optional<int64_t> logprobs;  // alternatives to each token; nothing: none wanted
  bool echo = false;                // of kCompletions: the prompt in front of the text

  Effort effort = Effort::kNone;
  std::optional<int64_t> thinking_budget;  // tokens
  bool show_reasoning = true;              // the reply contains the reasoning

  bool stream = false;
  bool include_usage = false;  // of kChat and kCompletions while streaming
  std::string cache_salt;      // prefixes are shared among requests of one salt and key only

  // Of kResponses.
  bool store = false;
  std::string previous_response_id;
  Json::Array new_messages;  // of `messages`, what this request adds behind the stored ones
  Json echoed;               // settings as the response object repeats them

  // Of a last assistant message that the reply goes on with.
  bool is_prefill() const;
  bool has_tools() const { return !tools.empty(); }
};

// The `name` of an effort as clients write it: none, minimal, low, medium, high, xhigh or max.
std::optional<Effort> effort_of(std::string_view name);
std::string_view effort_name(Effort effort);

}  // namespace dsv4
