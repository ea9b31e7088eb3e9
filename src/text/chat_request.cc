#include "text/chat_request.h"

#include "base/error.h"
#include "text/chat_messages.h"

namespace dsv4 {

namespace {

// The member, if it is there and not null.
const Json* member(const Json& json, std::string_view key) {
  const Json* value = json.find(key);
  return value != nullptr && !value->is_null() ? value : nullptr;
}

}  // namespace

void attach_tools(const Json& tools, Json::Array& messages) {
  const auto is_role = [&](const char* role) {
    const Json* found = messages.front().find("role");
    return found != nullptr && *found == Json(role);
  };
  if (messages.empty() || !(is_role("system") || is_role("developer"))) {
    messages.insert(messages.begin(), Json().set("role", "system").set("content", ""));
  }
  messages.front().set("tools", tools);
}

ChatRequest read_chat_request(const Json& json, const ChatOptions& defaults,
                              const std::string& where) {
  ChatRequest request{{}, defaults};
  if (json.is_array()) {
    request.messages = json.as_array(where);
    return request;
  }
  const auto place = [&](const char* key) { return where.empty() ? key : where + "." + key; };
  request.messages = json.at("messages", where).as_array(place("messages"));
  if (const Json* tools = member(json, "tools"); is_truthy(tools)) {
    attach_tools(*tools, request.messages);
  }
  ChatOptions& options = request.options;
  if (const Json* context = member(json, "context")) {
    options.context = context->as_array(place("context"));
  }
  if (const Json* mode = json.find("thinking_mode")) {
    const auto known = mode->is_string() ? thinking_mode_of(mode->as_string("")) : std::nullopt;
    if (!known) {
      throw Error(ErrorCode::kInvalidInput, place("thinking_mode"),
                  "expected \"chat\" or \"thinking\", found " + mode->print());
    }
    options.thinking_mode = *known;
  }
  if (const Json* drop = member(json, "drop_thinking")) {
    options.drop_thinking = drop->as_bool(place("drop_thinking"));
  }
  if (const Json* add = member(json, "add_default_bos_token")) {
    options.add_bos = add->as_bool(place("add_default_bos_token"));
  }
  if (const Json* effort = member(json, "reasoning_effort")) {
    options.reasoning_effort = effort->as_string(place("reasoning_effort"));
  }
  return request;
}

}  // namespace dsv4
