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

// A part of a prompt. What an assistant message says stands alone, so that the tokens which the
// model once chose for it can take its place.
struct PromptPiece {
  enum class Kind {
    kOther,      // of several messages and between them
    kReasoning,  // reasoning of an assistant message and the end of it
    kReply,      // content, tool calls and the end-of-sentence token of an assistant message
  };
  Kind kind = Kind::kOther;
  size_t message = 0;  // index in `messages`; of kReasoning and kReply
  std::vector<TextSpan> spans;
  // Whether the piece begins right behind an added token (or the prompt) and ends with one: only
  // then are its tokens independent of its neighbours.
  bool stands_alone = false;
};

// The same prompt in pieces: their spans, joined, are those of encode_chat.
std::vector<PromptPiece> encode_chat_pieces(const Json::Array& messages,
                                            const ChatOptions& options);

}  // namespace dsv4
