#include "server/openai_chat.h"

#include "base/error.h"
#include "server/chat_turns.h"
#include "server/request_fields.h"

#include <algorithm>

namespace dsv4 {
namespace {

// What the members mean is in docs/serving.md; those of the last lines change nothing here.
constexpr std::string_view kKnown[] = {
    "model", "messages", "tools", "tool_choice", "parallel_tool_calls", "response_format", "n",
    "max_tokens", "max_completion_tokens", "temperature", "top_p", "top_k", "min_p",
    "frequency_penalty", "presence_penalty", "repetition_penalty", "seed", "logit_bias", "stop",
    "logprobs", "top_logprobs", "stream", "stream_options", "reasoning_effort", "reasoning",
    "thinking", "enable_thinking", "thinking_budget", "chat_template_kwargs", "user", "cache_salt",
    // Accepted and ignored.
    "store", "metadata", "service_tier", "prompt_cache_key", "prompt_cache_retention",
    "safety_identifier", "verbosity", "prediction", "include_reasoning", "usage", "provider",
    "add_generation_prompt", "continue_final_message", "ignore_eos", "skip_special_tokens",
    "stream_usage", "extra_headers", "modalities", "prompt_cache_options", "moderation",
    "web_search_options"};

constexpr std::string_view kRoles[] = {"system", "developer", "user", "assistant", "tool"};
constexpr std::string_view kTextParts[] = {"text"};
constexpr std::string_view kReplyParts[] = {"text", "refusal"};
constexpr std::string_view kChoices[] = {"auto", "none", "required"};

// Members of a message's list of calls.
void read_calls(const JsonFields& message, ChatTurns& turns) {
  const Json::Array* calls = message.array("tool_calls");
  if (calls == nullptr) return;
  const std::string where = message.path_of("tool_calls");
  for (size_t i = 0; i < calls->size(); ++i) {
    const JsonFields call((*calls)[i], path_of_element(where, i));
    const std::string type = call.text("type").value_or("function");
    if (type != "function") call.fail("type", "expected \"function\"");
    const JsonFields function(call.required("function"), call.path_of("function"));
    const Json* arguments = function.find("arguments");
    turns.call(
        call.required_text("id"), function.required_text("name"),
        arguments == nullptr ? "{}" : call_arguments(*arguments, function.path_of("arguments")));
  }
}

void read_assistant(const JsonFields& message, ChatTurns& turns) {
  turns.begin_assistant();
  // DeepSeek's name of it, and the one that some servers and clients use.
  for (const char* key : {"reasoning_content", "reasoning"}) {
    const auto text = message.text(key);
    if (!text) continue;
    turns.reasoning(*text);
    break;
  }
  if (const Json* content = message.find("content")) {
    turns.content(read_text(*content, message.path_of("content"), kReplyParts, ""));
  }
  read_calls(message, turns);
}

// The result of a tool: text, or parts of which only text is shown to the model.
Json read_result(const JsonFields& message) {
  const Json& content = message.required("content");
  const std::string where = message.path_of("content");
  if (content.is_string()) return content;
  const Json::Array& parts = content.as_array(where);
  for (size_t i = 0; i < parts.size(); ++i) {
    const JsonFields part(parts[i], path_of_element(where, i));
    if (part.required_text("type") == "text") part.required_text("text");
  }
  return content;
}

void read_message(const JsonFields& message, ChatTurns& turns) {
  message.required("role");
  const std::string role = *message.name("role", kRoles);
  if (role == "assistant") {
    read_assistant(message, turns);
  } else if (role == "tool") {
    turns.tool_result(message.required_text("tool_call_id"), read_result(message));
  } else {
    std::string text =
        read_text(message.required("content"), message.path_of("content"), kTextParts, "\n\n");
    if (role == "user") {
      turns.user(std::move(text));
    } else {
      turns.system(text);
    }
  }
}

ToolSpec read_tool(const JsonFields& tool) {
  if (tool.required_text("type") != "function") tool.fail("type", "expected \"function\"");
  return read_function(JsonFields(tool.required("function"), tool.path_of("function")),
                       "parameters");
}

void read_tool_choice(const JsonFields& fields, ApiRequest& request) {
  const Json* choice = fields.find("tool_choice");
  if (choice == nullptr) return;
  using Kind = ToolChoice::Kind;
  if (choice->is_object()) {
    const JsonFields named(*choice, "tool_choice");
    if (named.required_text("type") != "function") named.fail("type", "expected \"function\"");
    const JsonFields function(named.required("function"), "tool_choice.function");
    request.tool_choice = {Kind::kNamed, function.required_text("name")};
    return;
  }
  const std::string name = *fields.name("tool_choice", kChoices);
  request.tool_choice.kind =
      name == "auto" ? Kind::kAuto : (name == "none" ? Kind::kNone : Kind::kRequired);
}

void read_logprobs(const JsonFields& fields, ApiRequest& request) {
  const auto top = fields.integer("top_logprobs", 0, 20);
  if (fields.boolean("logprobs").value_or(false)) {
    request.logprobs = top.value_or(0);
  } else if (top && *top > 0) {
    fields.fail("top_logprobs", "needs \"logprobs\": true");
  }
}

void read_stream(const JsonFields& fields, ApiRequest& request) {
  request.stream = fields.boolean("stream").value_or(false);
  const auto options = fields.object("stream_options");
  if (!options) return;
  const bool usage = options->boolean("include_usage").value_or(false);
  if (!request.stream) fields.fail("stream_options", "is allowed only with \"stream\": true");
  request.include_usage = usage;
}

}  // namespace

ApiRequest parse_chat_request(const Json& body, const ApiSettings& settings) {
  const JsonFields fields(body, "");
  fields.refuse_others(kKnown, "Unrecognized request argument supplied");
  ApiRequest request;
  request.api = ApiKind::kChat;
  read_model(fields, settings, request);
  read_sampling(fields, settings, 2, request);
  read_stops(fields, "stop", request);
  read_reasoning(fields, settings, request);
  request.n = fields.integer("n", 1, settings.max_choices).value_or(1);
  const auto old_max = fields.integer("max_tokens", 1, kMaxTokens);
  request.max_tokens =
      fields.integer("max_completion_tokens", 1, kMaxTokens).value_or(old_max.value_or(0));
  read_logprobs(fields, request);
  read_stream(fields, request);
  if (const auto format = fields.object("response_format")) {
    request.response_format = read_response_format(*format, "json_schema");
  }
  read_tools(fields, settings,
             [&](const JsonFields& tool) { request.tools.push_back(read_tool(tool)); });
  read_tool_choice(fields, request);
  check_tools(request);
  request.parallel_tool_calls = fields.boolean("parallel_tool_calls").value_or(true);
  fields.text("user");
  request.cache_salt = fields.text("cache_salt").value_or("");
  read_messages(fields, settings, {}, read_message, request);
  return request;
}

}  // namespace dsv4
