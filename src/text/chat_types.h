// What the chat encoder, the parsers and their callers share: modes, variants and a parsed message.
#pragma once

#include "text/json.h"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace dsv4 {

// Whether the model reasons between <think> and </think> before it answers.
enum class ThinkingMode { kChat, kThinking };

// The two releases of the prompt format; they differ in the reasoning efforts (docs/text.md). A
// property of the weights: kPreview for the first V4 models, k0731 for later ones.
enum class ChatVariant { kPreview, k0731 };

// "chat" or "thinking"; "preview" or "0731". Nothing for any other name.
std::optional<ThinkingMode> thinking_mode_of(std::string_view name);
std::optional<ChatVariant> chat_variant_of(std::string_view name);

struct ToolCall {
  std::string name;
  std::string arguments;  // JSON text of an object
  bool operator==(const ToolCall&) const = default;
};

// What a completion says.
struct AssistantMessage {
  std::string content;
  std::string reasoning_content;
  std::vector<ToolCall> tool_calls;
  bool operator==(const AssistantMessage&) const = default;
};

// As an element of `messages`, with all four fields; tool calls have no ids yet.
Json to_json(const AssistantMessage& message);

}  // namespace dsv4
