#include "server/anthropic_messages.h"

#include "base/error.h"
#include "server/chat_turns.h"
#include "server/request_fields.h"

#include <fmt/core.h>
#include <xxhash.h>

#include <algorithm>

namespace dsv4 {
namespace {

// Those of the last lines change nothing here.
constexpr std::string_view kKnown[] = {
    "model", "messages", "system", "max_tokens", "tools", "tool_choice", "thinking",
    "output_config", "output_format", "temperature", "top_p", "top_k", "min_p", "seed",
    "stop_sequences", "stream", "metadata", "cache_salt", "thread",
    // Accepted and ignored.
    "betas", "anthropic_beta", "anthropic_version", "service_tier", "container",
    "context_management", "cache_control", "inference_geo", "speed", "diagnostics",
    "billing_policy", "fallbacks", "fallback_credit_token"};
constexpr std::string_view kRoles[] = {"user", "assistant", "system"};
constexpr std::string_view kThinkingTypes[] = {"enabled", "disabled", "adaptive", "between_tools"};
constexpr std::string_view kDisplays[] = {"summarized", "omitted", "updates", "full"};
constexpr std::string_view kChoices[] = {"auto", "any", "tool", "none"};
constexpr std::string_view kTextParts[] = {"text"};

// A document whose source is text; others hold files.
std::string document_text(const JsonFields& block) {
  const JsonFields source(block.required("source"), block.path_of("source"));
  if (source.required_text("type") != "text") {
    source.fail("type", "this model reads text only: expected \"text\"");
  }
  const std::string text = source.required_text("data");
  const auto title = block.text("title");
  return title ? fmt::format("{}\n{}", *title, text) : text;
}

// What a failed tool says must look like a failure, for the format has no other mark of it.
std::string marked_error(std::string text) {
  return text.starts_with("Error") || text.starts_with("error") ? text : "Error: " + text;
}

// Parts but text are printed by their type alone.
Json result_content(const JsonFields& block) {
  const bool is_error = block.boolean("is_error").value_or(false);
  const Json* content = block.find("content");
  if (content == nullptr) return is_error ? "Error" : "";
  const std::string where = block.path_of("content");
  if (content->is_string()) {
    const std::string& text = content->as_string(where);
    return is_error ? marked_error(text) : text;
  }
  Json::Array parts;
  const Json::Array& items = content->as_array(where);
  for (size_t i = 0; i < items.size(); ++i) {
    const JsonFields part(items[i], path_of_element(where, i));
    const std::string type = part.required_text("type");
    Json copy = Json().set("type", shortened(type));
    if (type == "text") {
      const std::string text = part.required_text("text");
      copy.set("text", is_error && i == 0 ? marked_error(text) : text);
    }
    parts.push_back(std::move(copy));
  }
  return parts;
}

void read_user_block(const JsonFields& block, ChatTurns& turns) {
  const std::string type = block.required_text("type");
  if (type == "text") {
    turns.user(block.required_text("text"));
  } else if (type == "tool_result") {
    turns.tool_result(block.required_text("tool_use_id"), result_content(block));
  } else if (type == "document") {
    turns.user(document_text(block));
  } else {
    block.fail("type", fmt::format("this model reads text only, not \"{}\"", shortened(type)));
  }
}

void read_assistant_block(const JsonFields& block, ChatTurns& turns) {
  const std::string type = block.required_text("type");
  if (type == "text") {
    turns.content(block.required_text("text"));
  } else if (type == "thinking") {
    turns.reasoning(block.required_text("thinking"));
  } else if (type == "tool_use") {
    const Json* input = block.find("input");
    turns.call(block.required_text("id"), block.required_text("name"),
               input == nullptr ? "{}" : call_arguments(*input, block.path_of("input")));
  } else if (type != "redacted_thinking") {
    block.fail("type",
               fmt::format("not a block of this server's replies: \"{}\"", shortened(type)));
  }
}

void read_message(const JsonFields& message, ChatTurns& turns) {
  message.required("role");
  const std::string role = *message.name("role", kRoles);
  const Json& content = message.required("content");
  const std::string where = message.path_of("content");
  if (role == "system") {
    turns.system(read_text(content, where, kTextParts, "\n\n"));
    return;
  }
  if (content.is_string()) {
    if (role == "user") {
      turns.user(content.as_string(where));
    } else {
      turns.content(content.as_string(where));
    }
    return;
  }
  const Json::Array& blocks = content.as_array(where);
  if (blocks.empty() && role == "user") turns.user("");
  for (size_t i = 0; i < blocks.size(); ++i) {
    const JsonFields block(blocks[i], path_of_element(where, i));
    if (role == "user") {
      read_user_block(block, turns);
    } else {
      read_assistant_block(block, turns);
    }
  }
}

// Accounting that Claude Code addresses to the original service, as a block of its own. It differs
// from conversation to conversation and stands in front of all tools, which could never be shared.
bool is_billing(const JsonFields& block) {
  const auto text = block.text("text");
  return text && text->starts_with("x-anthropic-billing-header:");
}

std::string read_system(const Json& system) {
  if (!system.is_array() || system.as_array("system").empty()) {
    return read_text(system, "system", kTextParts, "\n\n");
  }
  const Json::Array& blocks = system.as_array("system");
  if (!is_billing(JsonFields(blocks.front(), path_of_element("system", 0)))) {
    return read_text(system, "system", kTextParts, "\n\n");
  }
  Json::Array rest = blocks;
  rest.front().set("text", "");
  const std::string text = read_text(rest, "system", kTextParts, "\n\n");
  return text.starts_with("\n\n") ? text.substr(2) : text;
}

ChatTurns system_turns(const JsonFields& fields) {
  ChatTurns turns;
  if (const Json* system = fields.find("system")) turns.system(read_system(*system));
  return turns;
}

ToolSpec read_tool(const JsonFields& tool) {
  const std::string type = tool.text("type").value_or("custom");
  if (type != "custom") {
    tool.fail("type", fmt::format("this server runs no tools of its own: \"{}\"", shortened(type)));
  }
  tool.required("input_schema");
  return read_function(tool, "input_schema");
}

void read_tool_choice(const JsonFields& fields, ApiRequest& request) {
  const auto choice = fields.object("tool_choice");
  if (!choice) return;
  using Kind = ToolChoice::Kind;
  choice->required("type");
  const std::string type = *choice->name("type", kChoices);
  if (type == "tool") {
    request.tool_choice = {Kind::kNamed, choice->required_text("name")};
  } else {
    request.tool_choice.kind =
        type == "auto" ? Kind::kAuto : (type == "none" ? Kind::kNone : Kind::kRequired);
  }
  request.parallel_tool_calls = !choice->boolean("disable_parallel_tool_use").value_or(false);
}

// Without `thinking` there is none, whatever the service's default: clients of this API that do not
// ask for it do not expect it.
void read_thinking(const JsonFields& fields, ApiRequest& request) {
  std::optional<Effort> effort;
  if (const auto config = fields.object("output_config")) {
    effort = read_effort(*config, "effort");
    if (const auto format = config->object("format")) {
      request.response_format = read_response_format(*format, "");
    }
  }
  if (const auto format = fields.object("output_format")) {
    request.response_format = read_response_format(*format, "");
  }
  const auto thinking = fields.object("thinking");
  if (!thinking) return;
  thinking->required("type");
  const std::string type = *thinking->name("type", kThinkingTypes);
  const auto budget = thinking->integer("budget_tokens", 1, kMaxTokens);
  request.show_reasoning = thinking->name("display", kDisplays).value_or("") != "omitted";
  if (type == "disabled") return;
  request.effort = effort.value_or(Effort::kHigh);
  request.thinking_budget = budget;
  if (type == "enabled" && !budget) thinking->required("budget_tokens");
  if (budget && request.max_tokens > 0 && *budget >= request.max_tokens) {
    thinking->fail("budget_tokens", "must be less than max_tokens");
  }
}

}  // namespace

std::string reasoning_signature(std::string_view reasoning) {
  return fmt::format("dsv4-{:016x}", XXH3_64bits(reasoning.data(), reasoning.size()));
}

ApiRequest parse_messages_request(const Json& body, const ApiSettings& settings,
                                  MessagesPurpose purpose) {
  const JsonFields fields(body, "");
  fields.refuse_others(kKnown, "Extra inputs are not permitted");
  if (fields.find("thread") != nullptr) {
    throw Error(ErrorCode::kUnsupported, "thread",
                "conversations are not kept here; send all messages with each request");
  }
  ApiRequest request;
  request.api = ApiKind::kMessages;
  read_model(fields, settings, request);
  read_sampling(fields, settings, 1, request);
  read_stops(fields, "stop_sequences", request);
  if (purpose == MessagesPurpose::kReply) fields.required("max_tokens");
  request.max_tokens = fields.integer("max_tokens", 1, kMaxTokens).value_or(0);
  read_thinking(fields, request);
  read_tools(fields, settings,
             [&](const JsonFields& tool) { request.tools.push_back(read_tool(tool)); });
  read_tool_choice(fields, request);
  check_tools(request);
  request.stream = fields.boolean("stream").value_or(false);
  if (const auto metadata = fields.object("metadata")) {
    metadata->text("user_id");
  }
  request.cache_salt = fields.text("cache_salt").value_or("");
  read_messages(fields, settings, system_turns(fields), read_message, request);
  return request;
}

}  // namespace dsv4
