#include "server/openai_responses.h"

#include "base/error.h"
#include "server/chat_turns.h"
#include "server/request_fields.h"

#include <fmt/core.h>

#include <algorithm>

namespace dsv4 {
namespace {

// Those of the last lines change nothing here.
constexpr std::string_view kKnown[] = {
    "model", "input", "instructions", "previous_response_id", "max_output_tokens", "temperature",
    "top_p", "top_k", "min_p", "frequency_penalty", "presence_penalty", "repetition_penalty",
    "seed", "logit_bias", "stop", "tools", "tool_choice", "parallel_tool_calls", "reasoning",
    "thinking", "reasoning_effort", "enable_thinking", "thinking_budget", "chat_template_kwargs",
    "text", "stream", "store", "metadata", "user", "top_logprobs", "include", "background",
    "conversation", "prompt", "cache_salt",
    // Accepted and ignored.
    "truncation", "service_tier", "safety_identifier", "prompt_cache_key", "prompt_cache_retention",
    "stream_options", "max_tool_calls", "client_metadata", "context_management",
    "prompt_cache_options", "moderation"};
constexpr std::string_view kRoles[] = {"system", "developer", "user", "assistant"};
constexpr std::string_view kUserParts[] = {"input_text", "text", "output_text"};
constexpr std::string_view kReplyParts[] = {"output_text", "text", "refusal", "input_text"};
constexpr std::string_view kReasoningParts[] = {"reasoning_text", "text", "summary_text"};
constexpr std::string_view kChoices[] = {"auto", "none", "required"};

void read_message_item(const JsonFields& item, ChatTurns& turns) {
  item.required("role");
  const std::string role = *item.name("role", kRoles);
  const Json& content = item.required("content");
  const std::string where = item.path_of("content");
  if (role == "assistant") {
    turns.content(read_text(content, where, kReplyParts, ""));
  } else if (role == "user") {
    turns.user(read_text(content, where, kUserParts, "\n\n"));
  } else {
    turns.system(read_text(content, where, kUserParts, "\n\n"));
  }
}

// Other servers' reasoning may be encrypted or told as a summary only; it is left out.
void read_reasoning_item(const JsonFields& item, ChatTurns& turns) {
  const Json* content = item.find("content");
  if (content == nullptr) return;
  turns.reasoning(read_text(*content, item.path_of("content"), kReasoningParts, ""));
}

// Parts but text are printed by their type alone.
Json tool_output(const JsonFields& item) {
  const Json& output = item.required("output");
  const std::string where = item.path_of("output");
  if (output.is_string()) return output;
  Json::Array parts;
  const Json::Array& items = output.as_array(where);
  for (size_t i = 0; i < items.size(); ++i) {
    const JsonFields part(items[i], path_of_element(where, i));
    const std::string type = part.required_text("type");
    const bool is_text = std::ranges::find(kUserParts, type) != std::end(kUserParts);
    Json copy = Json().set("type", is_text ? "text" : shortened(type));
    if (is_text) copy.set("text", part.required_text("text"));
    parts.push_back(std::move(copy));
  }
  return parts;
}

// One name for what clients tell as a namespace and a name. Namespaces of MCP servers often bring
// the separator with them.
std::string name_in_space(const std::string& space, const std::string& name) {
  if (space.empty()) return name;
  return fmt::format("{}{}{}", space, space.ends_with("__") ? "" : "__", name);
}

std::string called_name(const JsonFields& item) {
  return name_in_space(item.text("namespace").value_or(""), item.required_text("name"));
}

void read_item(const JsonFields& item, ChatTurns& turns) {
  const std::string type = item.text("type").value_or("message");
  if (type == "message") {
    read_message_item(item, turns);
  } else if (type == "reasoning") {
    read_reasoning_item(item, turns);
  } else if (type == "function_call") {
    turns.call(item.required_text("call_id"), called_name(item),
               call_arguments(item.required("arguments"), item.path_of("arguments")));
  } else if (type == "custom_tool_call") {
    turns.call(item.required_text("call_id"), called_name(item),
               Json().set("input", item.required_text("input")).print());
  } else if (type == "function_call_output" || type == "custom_tool_call_output") {
    turns.tool_result(item.required_text("call_id"), tool_output(item));
  } else {
    item.fail("type", fmt::format("items of this type are not supported: \"{}\"", shortened(type)));
  }
}

Json::Array read_input(const JsonFields& fields, const ApiSettings& settings) {
  const Json& input = fields.required("input");
  ChatTurns turns;
  if (input.is_string()) {
    turns.user(input.as_string("input"));
    return turns.take();
  }
  const Json::Array& items = *fields.array("input", settings.max_messages);
  for (size_t i = 0; i < items.size(); ++i) {
    read_item(JsonFields(items[i], path_of_element("input", i)), turns);
  }
  return turns.take();
}

// The stored conversation, if one is continued, and the new messages behind it. Instructions stand
// in front and are not stored: each request brings its own.
void read_conversation(const JsonFields& fields, const ApiSettings& settings,
                       const StoredConversation& stored, ApiRequest& request) {
  request.new_messages = read_input(fields, settings);
  request.previous_response_id = fields.text("previous_response_id").value_or("");
  Json::Array messages;
  if (!request.previous_response_id.empty()) {
    auto before = stored(request.previous_response_id);
    if (!before) {
      throw Error(ErrorCode::kNotFound, "previous_response_id",
                  fmt::format("Previous response with id '{}' not found.",
                              shortened(request.previous_response_id)));
    }
    messages = std::move(*before);
  }
  messages.insert(messages.end(), request.new_messages.begin(), request.new_messages.end());
  if (const auto instructions = fields.text("instructions")) {
    ChatTurns front;
    front.system(*instructions);
    const Json* role = messages.empty() ? nullptr : messages.front().find("role");
    if (role != nullptr && *role == Json("system")) {
      front.system(messages.front().at("content", "input").as_string("input"));
      messages.front() = front.take().front();
    } else {
      messages.insert(messages.begin(), front.take().front());
    }
  }
  if (messages.empty()) fields.fail("input", "expected at least one item");
  prepare_for_reply(messages, "input");
  request.messages = std::move(messages);
}

// A custom tool takes one text; to the model it is a function with one parameter.
ToolSpec read_custom_tool(const JsonFields& fields) {
  ToolSpec tool = read_function(fields, "parameters");
  tool.is_custom = true;
  Json input = Json().set("type", "string");
  tool.parameters = Json()
                        .set("type", "object")
                        .set("properties", Json().set("input", std::move(input)))
                        .set("required", Json().push_back("input"));
  return tool;
}

// Tools that the original service runs by itself and that a model can do without.
bool is_ignored_tool(std::string_view type) {
  return type.starts_with("web_search") || type == "image_generation";
}

void read_tool(const JsonFields& tool, ApiRequest& request) {
  const std::string type = tool.required_text("type");
  if (type == "function") {
    request.tools.push_back(read_function(tool, "parameters"));
  } else if (type == "custom") {
    request.tools.push_back(read_custom_tool(tool));
  } else if (!is_ignored_tool(type)) {
    tool.fail("type", fmt::format("this server runs no tools of its own: \"{}\"", shortened(type)));
  }
}

// The format has no groups of tools: each gets a longer name, and the first one what is said about
// all of them.
void read_namespace(const JsonFields& group, const ApiSettings& settings, ApiRequest& request) {
  const std::string space = group.required_text("name");
  std::string about = group.text("description").value_or("");
  group.required("tools");
  const Json::Array& tools = *group.array("tools");
  const std::string where = group.path_of("tools");
  for (size_t i = 0; i < tools.size(); ++i) {
    const JsonFields tool(tools[i], path_of_element(where, i));
    const size_t n_before = request.tools.size();
    if (n_before >= settings.max_tools) {
      group.fail("tools", fmt::format("at most {} tools", settings.max_tools));
    }
    read_tool(tool, request);
    if (request.tools.size() == n_before) continue;
    ToolSpec& spec = request.tools.back();
    spec.space = space;
    spec.short_name = std::move(spec.name);
    spec.name = name_in_space(space, spec.short_name);
    check_tool_name(spec.name, group, "name");
    if (!about.empty())
      spec.description = fmt::format("{}: {}\n\n{}", space, about, spec.description);
    about.clear();
  }
}

void read_tool_choice(const JsonFields& fields, ApiRequest& request) {
  const Json* choice = fields.find("tool_choice");
  if (choice == nullptr) return;
  using Kind = ToolChoice::Kind;
  if (choice->is_object()) {
    const JsonFields named(*choice, "tool_choice");
    const std::string type = named.required_text("type");
    if (type != "function" && type != "custom") {
      named.fail("type", "expected \"function\" or \"custom\"");
    }
    request.tool_choice = {Kind::kNamed, called_name(named)};
    return;
  }
  const std::string name = *fields.name("tool_choice", kChoices);
  request.tool_choice.kind =
      name == "auto" ? Kind::kAuto : (name == "none" ? Kind::kNone : Kind::kRequired);
}

void refuse_unsupported(const JsonFields& fields) {
  if (fields.boolean("background").value_or(false)) {
    fields.fail("background", "replies are not made in the background here");
  }
  if (fields.find("conversation") != nullptr) {
    fields.fail("conversation", "not supported; use previous_response_id");
  }
  if (fields.find("prompt") != nullptr) {
    fields.fail("prompt", "stored prompts are not supported; use instructions and input");
  }
}

void read_logprobs(const JsonFields& fields, ApiRequest& request) {
  const auto top = fields.integer("top_logprobs", 0, 20);
  const Json::Array* include = fields.array("include");
  if (include == nullptr) return;
  for (size_t i = 0; i < include->size(); ++i) {
    const std::string& name = (*include)[i].as_string(path_of_element("include", i));
    if (name == "message.output_text.logprobs") request.logprobs = top.value_or(0);
  }
}

Json or_null(const JsonFields& fields, const char* key) {
  const Json* value = fields.find(key);
  return value != nullptr ? *value : Json();
}

// The settings as a response object repeats them.
Json echo_of(const JsonFields& fields, const ApiRequest& request) {
  Json reasoning;
  reasoning.set("effort", effort_name(request.effort)).set("summary", Json());
  Json text;
  const auto asked = fields.object("text");
  const Json* format = asked ? asked->find("format") : nullptr;
  text.set("format", format != nullptr ? *format : Json().set("type", "text"));
  if (asked && asked->find("verbosity") != nullptr)
    text.set("verbosity", *asked->find("verbosity"));
  const auto or_else = [&](const char* key, Json other) {
    const Json* value = fields.find(key);
    return value != nullptr ? *value : other;
  };
  Json echoed;
  echoed.set("instructions", or_null(fields, "instructions"))
      .set("max_output_tokens", or_null(fields, "max_output_tokens"))
      .set("model", request.model)
      .set("parallel_tool_calls", request.parallel_tool_calls)
      .set("previous_response_id", or_null(fields, "previous_response_id"))
      .set("reasoning", std::move(reasoning))
      .set("store", request.store)
      .set("temperature", static_cast<double>(request.sampling.temperature))
      .set("text", std::move(text))
      .set("tool_choice", or_else("tool_choice", "auto"))
      .set("tools", or_else("tools", Json::Array()))
      .set("top_p", static_cast<double>(request.sampling.top_p))
      .set("truncation", "disabled")
      .set("user", or_null(fields, "user"))
      .set("metadata", or_else("metadata", Json::Object()));
  return echoed;
}

}  // namespace

ApiRequest parse_responses_request(const Json& body, const ApiSettings& settings,
                                   const StoredConversation& stored) {
  const JsonFields fields(body, "");
  fields.refuse_others(kKnown, "Unrecognized request argument supplied");
  ApiRequest request;
  request.api = ApiKind::kResponses;
  refuse_unsupported(fields);
  read_model(fields, settings, request);
  read_sampling(fields, settings, 2, request);
  read_stops(fields, "stop", request);
  read_reasoning(fields, settings, request);
  request.max_tokens = fields.integer("max_output_tokens", 1, kMaxTokens).value_or(0);
  request.stream = fields.boolean("stream").value_or(false);
  request.store = fields.boolean("store").value_or(true);
  if (const auto text = fields.object("text")) {
    if (const auto format = text->object("format")) {
      request.response_format = read_response_format(*format, "");
    }
  }
  read_logprobs(fields, request);
  read_tools(fields, settings, [&](const JsonFields& tool) {
    if (tool.required_text("type") == "namespace") {
      read_namespace(tool, settings, request);
    } else {
      read_tool(tool, request);
    }
  });
  read_tool_choice(fields, request);
  check_tools(request);
  request.parallel_tool_calls = fields.boolean("parallel_tool_calls").value_or(true);
  fields.object("metadata");
  fields.text("user");
  request.cache_salt = fields.text("cache_salt").value_or("");
  request.echoed = echo_of(fields, request);
  read_conversation(fields, settings, stored, request);
  return request;
}

Json::Array messages_to_store(Json::Array messages, bool is_prefill, const Json& reply) {
  if (!is_prefill || messages.empty()) {
    messages.push_back(reply);
    return messages;
  }
  // The reply went on with the last message.
  const std::string before = messages.back().at("content", "input").as_string("input");
  messages.back().set("content", before + reply.at("content", "reply").as_string("reply"));
  if (const Json* calls = reply.find("tool_calls")) messages.back().set("tool_calls", *calls);
  return messages;
}

}  // namespace dsv4
