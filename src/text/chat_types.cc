#include "text/chat_types.h"

namespace dsv4 {

std::optional<ThinkingMode> thinking_mode_of(std::string_view name) {
  if (name == "chat") return ThinkingMode::kChat;
  if (name == "thinking") return ThinkingMode::kThinking;
  return std::nullopt;
}

std::optional<ChatVariant> chat_variant_of(std::string_view name) {
  if (name == "preview") return ChatVariant::kPreview;
  if (name == "0731") return ChatVariant::k0731;
  return std::nullopt;
}

Json to_json(const AssistantMessage& message) {
  Json calls = Json::Array{};
  for (const ToolCall& call : message.tool_calls) {
    Json function;
    function.set("name", call.name).set("arguments", call.arguments);
    calls.push_back(Json().set("type", "function").set("function", std::move(function)));
  }
  return Json()
      .set("role", "assistant")
      .set("content", message.content)
      .set("reasoning_content", message.reasoning_content)
      .set("tool_calls", std::move(calls));
}

}  // namespace dsv4
