#include "server/chat_turns.h"

#include "base/error.h"

#include <fmt/core.h>

#include <optional>
#include <utility>

namespace dsv4 {
namespace {

bool has_role(const Json& message, std::string_view role) {
  const Json* found = message.find("role");
  return found != nullptr && found->is_string() && found->as_string("") == role;
}

}  // namespace

bool ChatTurns::is_last(std::string_view role) const {
  return !turns_.empty() && turns_.back().role == role;
}

void ChatTurns::system(std::string_view text) {
  if (!is_last("system")) turns_.push_back({"system"});
  std::string& content = turns_.back().content;
  if (!content.empty() && !text.empty()) content += "\n\n";
  content += text;
}

void ChatTurns::user(std::string text) { turns_.push_back({"user", std::move(text)}); }

void ChatTurns::tool_result(std::string call_id, Json content) {
  turns_.push_back({"tool", "", std::move(content)});
  turns_.back().call_id = std::move(call_id);
}

void ChatTurns::begin_assistant() { turns_.push_back({"assistant"}); }

ChatTurns::Turn& ChatTurns::assistant() {
  if (!is_last("assistant")) begin_assistant();
  return turns_.back();
}

void ChatTurns::reasoning(std::string_view text) {
  const Turn& last = assistant();
  if (!last.content.empty() || !last.calls.empty()) begin_assistant();
  turns_.back().reasoning += text;
}

void ChatTurns::content(std::string_view text) { assistant().content += text; }

void ChatTurns::call(std::string id, std::string name, std::string arguments) {
  Json function;
  function.set("name", std::move(name)).set("arguments", std::move(arguments));
  Json call;
  call.set("id", std::move(id)).set("type", "function").set("function", std::move(function));
  assistant().calls.push_back(std::move(call));
}

Json ChatTurns::message_of(Turn turn) {
  Json message;
  message.set("role", turn.role);
  message.set("content", turn.parts.is_null() ? Json(std::move(turn.content)) : turn.parts);
  if (turn.role == "assistant") message.set("reasoning_content", std::move(turn.reasoning));
  if (!turn.calls.empty()) message.set("tool_calls", std::move(turn.calls));
  if (turn.role == "tool") message.set("tool_call_id", std::move(turn.call_id));
  return message;
}

Json::Array ChatTurns::take() {
  Json::Array messages;
  messages.reserve(turns_.size());
  for (Turn& turn : turns_) messages.push_back(message_of(std::move(turn)));
  turns_.clear();
  return messages;
}

void prepare_for_reply(Json::Array& messages, const std::string& where) {
  bool is_leading = true;
  for (size_t i = 0; i < messages.size(); ++i) {
    const bool is_system = has_role(messages[i], "system");
    const bool is_before_reply = i + 1 == messages.size() || has_role(messages[i + 1], "assistant");
    if (is_system && !is_leading && is_before_reply) messages[i].set("role", "user");
    is_leading &= is_system;
  }
  if (messages.empty() || has_role(messages.back(), "system")) {
    messages.push_back(Json().set("role", "user").set("content", ""));
  }
  if (!has_role(messages.back(), "assistant")) return;
  if (messages.back().find("tool_calls") != nullptr) {
    throw Error(ErrorCode::kInvalidInput, where,
                "the last message calls tools; the results of the calls must follow it");
  }
  messages.back().set("wo_eos", true);
}

std::string call_arguments(const Json& value, const std::string& where) {
  if (value.is_object()) return value.print();
  const std::string& text = value.as_string(where);
  if (text.find_first_not_of(" \t\r\n") == std::string::npos) return "{}";
  std::optional<Json> parsed;
  try {
    parsed = Json::parse(text, where);
  } catch (const Error&) {
    return text;  // what a model wrote, perhaps cut off: the format has a way to print it
  }
  if (parsed->is_null()) return "{}";
  if (parsed->is_object()) return text;
  throw Error(
      ErrorCode::kInvalidInput, where,
      fmt::format("expected the JSON text of an object, found {}", kind_name(parsed->kind())));
}

}  // namespace dsv4
