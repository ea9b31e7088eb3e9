// Messages to prompt text: the format that the reference encoder of the V4 releases defines
// (docs/text.md). Nothing is trimmed, escaped or normalised.
#pragma once

#include "text/chat_types.h"
#include "text/json.h"
#include "text/tokenizer.h"

#include <optional>
#include <string>
#include <vector>

namespace dsv4 {

struct ChatOptions {
  ChatVariant variant = ChatVariant::kPreview;
  ThinkingMode thinking_mode = ThinkingMode::kChat;
  // Messages that precede `messages` and are in the prompt already: not rendered, no BOS.
  Json::Array context;
  // In thinking mode, leave out the reasoning of earlier turns. Declared tools switch it off.
  bool drop_thinking = true;
  bool add_bos = true;
  // preview: none, "high", "max"; 0731: none, "", "low", "high", "max".
  std::optional<std::string> reasoning_effort;
};

// The prompt for `messages` (objects with role, content, reasoning_content, tool_calls, tools,
// response_format, task, wo_eos, tool_call_id; others are ignored). What the messages contain is
// untrusted, what the format adds is trusted. A final user message brings the assistant's prefix
// with it. Throws Error(kInvalidInput) with the path of the message.
std::vector<TextSpan> encode_chat(const Json::Array& messages, const ChatOptions& options);

std::string join(const std::vector<TextSpan>& spans);

}  // namespace dsv4
