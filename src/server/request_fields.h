// Members that several APIs have in common, read into an ApiRequest.
#pragma once

#include "server/api_request.h"
#include "server/chat_turns.h"
#include "server/json_fields.h"

#include <functional>
#include <string>
#include <string_view>

namespace dsv4 {

// `model`: a name that is served. Throws Error(kNotFound, "model").
void read_model(const JsonFields& fields, const ApiSettings& settings, ApiRequest& request);

// temperature (up to `max_temperature`), top_p, top_k, min_p, penalties, seed, logit_bias; what is
// absent stays as in the settings.
void read_sampling(const JsonFields& fields, const ApiSettings& settings, double max_temperature,
                   ApiRequest& request);

// A string or a list of strings under `key`; at most kMaxStops.
void read_stops(const JsonFields& fields, std::string_view key, ApiRequest& request);

// The ways in which clients of OpenAI's APIs ask for reasoning: reasoning_effort, reasoning
// {effort, max_tokens, enabled, exclude}, thinking {type, budget_tokens}, enable_thinking,
// thinking_budget, chat_template_kwargs {thinking, enable_thinking, reasoning_effort}. Whatever
// switches it off wins.
void read_reasoning(const JsonFields& fields, const ApiSettings& settings, ApiRequest& request);

// An effort under `key`, by name.
std::optional<Effort> read_effort(const JsonFields& fields, std::string_view key);

// {"type": "text" | "json_object" | "json_schema"} with the schema's members in `schema_key`, or in
// the object itself if that is empty.
ResponseFormat read_response_format(const JsonFields& format, const char* schema_key);

// Throws, with the path of `key`, for a name that cannot be written in a call.
void check_tool_name(std::string_view name, const JsonFields& fields, const char* key);

// The elements of `messages`, each read by `read_one`, behind what is in `turns` already.
void read_messages(const JsonFields& fields, const ApiSettings& settings, ChatTurns turns,
                   const std::function<void(const JsonFields& message, ChatTurns& turns)>& read_one,
                   ApiRequest& request);

// The elements of `tools`, each read by `read_one`.
void read_tools(const JsonFields& fields, const ApiSettings& settings,
                const std::function<void(const JsonFields& tool)>& read_one);

// A function's name, description, parameters (under `schema_key`) and strict.
ToolSpec read_function(const JsonFields& fields, const char* schema_key);

// Throws if a name occurs twice or if the choice names a tool that is not there.
void check_tools(const ApiRequest& request);

// The text of a string, or of a list of parts whose types are in `text_types`, joined with
// `separator`. Throws for parts of any other type.
std::string read_text(const Json& content, const std::string& where,
                      std::span<const std::string_view> text_types, std::string_view separator);

inline constexpr size_t kMaxStops = 16;
inline constexpr size_t kMaxStopBytes = 1024;
inline constexpr size_t kMaxToolName = 128;
// More than any context holds.
inline constexpr int64_t kMaxTokens = 1 << 30;

}  // namespace dsv4
