#include "text/chat_messages.h"

#include "base/error.h"

#include <fmt/core.h>

#include <algorithm>
#include <map>

namespace dsv4 {

namespace {

// Positions of the calls of an assistant message by their printed ids.
using CallOrder = std::map<std::string, size_t>;

void read_call_order(const ChatMessage& message, CallOrder& order) {
  const Json* calls = message.field("tool_calls");
  if (message.role != "assistant" || !is_truthy(calls)) return;
  order.clear();
  const Json::Array& items = calls->as_array(message.where + ".tool_calls");
  for (size_t i = 0; i < items.size(); ++i) {
    const Json* id = items[i].find("id");
    if (!is_truthy(id)) {
      const Json* function = items[i].find("function");
      id = function != nullptr ? function->find("id") : nullptr;
    }
    if (is_truthy(id)) order[id->print()] = i;
  }
}

void sort_results(ChatMessage& message, const CallOrder& order) {
  if (order.empty()) return;
  std::vector<size_t> places;
  std::vector<ChatBlock> results;
  for (size_t i = 0; i < message.blocks.size(); ++i) {
    if (message.blocks[i].kind != ChatBlock::Kind::kToolResult) continue;
    places.push_back(i);
    results.push_back(message.blocks[i]);
  }
  // An unknown id counts as the first call.
  const auto position = [&](const ChatBlock& block) {
    const auto call = order.find(block.call_id);
    return call != order.end() ? call->second : 0;
  };
  std::stable_sort(results.begin(), results.end(), [&](const ChatBlock& a, const ChatBlock& b) {
    return position(a) < position(b);
  });
  for (size_t i = 0; i < places.size(); ++i) message.blocks[places[i]] = std::move(results[i]);
}

bool is_user(const ChatMessage& message) { return message.role == "user"; }

}  // namespace

const Json* ChatMessage::field(std::string_view key) const {
  const Json* value = fields != nullptr ? fields->find(key) : nullptr;
  return value != nullptr && !value->is_null() ? value : nullptr;
}

bool is_truthy(const Json* value) {
  if (value == nullptr) return false;
  switch (value->kind()) {
    case Json::Kind::kNull:
      return false;
    case Json::Kind::kBool:
      return value->as_bool("");
    case Json::Kind::kInteger:
      return *value != Json(0);
    case Json::Kind::kDouble:
      return value->as_double("") != 0;
    case Json::Kind::kString:
      return !value->as_string("").empty();
    case Json::Kind::kArray:
      return !value->as_array("").empty();
    case Json::Kind::kObject:
      return !value->as_object("").empty();
  }
  return false;
}

std::vector<ChatMessage> merge_messages(const Json::Array& messages, const std::string& where) {
  std::vector<ChatMessage> merged;
  for (size_t i = 0; i < messages.size(); ++i) {
    const Json& message = messages[i];
    const std::string place = fmt::format("{}[{}]", where, i);
    const std::string& role = message.at("role", place).as_string(place + ".role");
    const bool is_tool = role == "tool";
    if (!is_tool && role != "user") {
      merged.push_back({role, &message, {}, false, place, i});
      continue;
    }
    ChatBlock block{is_tool ? ChatBlock::Kind::kToolResult : ChatBlock::Kind::kText,
                    message.find("content"),
                    {},
                    place + ".content"};
    if (is_tool) {
      const Json* id = message.find("tool_call_id");
      block.call_id = (id != nullptr ? *id : Json("")).print();
    }
    // A task ends a user turn for other user messages, but not for tool results.
    const bool joins = !merged.empty() && is_user(merged.back()) &&
                       (is_tool || merged.back().field("task") == nullptr);
    if (!joins) merged.push_back({"user", is_tool ? nullptr : &message, {}, false, place, i});
    merged.back().blocks.push_back(std::move(block));
  }
  return merged;
}

void sort_tool_results(const std::vector<ChatMessage>& context,
                       std::vector<ChatMessage>& messages) {
  CallOrder order;
  for (const ChatMessage& message : context) read_call_order(message, order);
  for (ChatMessage& message : messages) {
    read_call_order(message, order);
    if (is_user(message)) sort_results(message, order);
  }
}

ptrdiff_t last_user_index(const std::vector<ChatMessage>& messages) {
  ptrdiff_t i = static_cast<ptrdiff_t>(messages.size()) - 1;
  while (i >= 0 && !is_user(messages[static_cast<size_t>(i)]) &&
         messages[static_cast<size_t>(i)].role != "developer") {
    --i;
  }
  return i;
}

std::vector<ChatMessage> drop_old_reasoning(std::vector<ChatMessage> messages) {
  const ptrdiff_t last_user = last_user_index(messages);
  std::vector<ChatMessage> kept;
  for (size_t i = 0; i < messages.size(); ++i) {
    ChatMessage& message = messages[i];
    const std::string& role = message.role;
    const bool is_old = static_cast<ptrdiff_t>(i) < last_user;
    // The reference keeps search results too, although it cannot render them: an error, not a gap.
    const bool stays = role == "user" || role == "system" || role == "latest_reminder" ||
                       role == "direct_search_results" || role == "assistant";
    if (is_old && !stays) continue;
    message.reasoning_dropped = is_old && role == "assistant";
    kept.push_back(std::move(message));
  }
  return kept;
}

}  // namespace dsv4
