// Preparation of a conversation before it is rendered (docs/text.md): tool results become parts of
// user turns, results are put in the order of their calls, old reasoning is dropped.
#pragma once

#include "text/json.h"

#include <cstddef>
#include <string>
#include <vector>

namespace dsv4 {

// A part of a user turn. `content` is null when the message had none.
struct ChatBlock {
  enum class Kind { kText, kToolResult };
  Kind kind;
  const Json* content;
  std::string call_id;  // printed JSON of tool_call_id; of results only
  std::string where;    // for errors
};

// A message as it is rendered. `fields` is the message of the caller whose fields count, or nullptr
// for a user turn that a tool result opened; it must outlive this.
struct ChatMessage {
  std::string role;
  const Json* fields;
  std::vector<ChatBlock> blocks;  // of role user
  bool reasoning_dropped = false;
  std::string where;
  size_t index = 0;  // of the (first) message in its list

  // The member, if it is there and not null.
  const Json* field(std::string_view key) const;
};

// Python's truth of a value: not null, false, 0, "" or empty.
bool is_truthy(const Json* value);

// Joins neighbouring user and tool messages. `where` is the name of the list in errors. Throws
// Error(kInvalidInput) for elements that are not objects with a role.
std::vector<ChatMessage> merge_messages(const Json::Array& messages, const std::string& where);

// Puts the tool results of each user turn in the order of the calls of the last assistant message
// with tool calls. `context` precedes `messages` and stays as it is.
void sort_tool_results(const std::vector<ChatMessage>& context, std::vector<ChatMessage>& messages);

// Index of the last user or developer message, or -1.
ptrdiff_t last_user_index(const std::vector<ChatMessage>& messages);

// The messages without the reasoning, and without the developer messages, of earlier turns.
std::vector<ChatMessage> drop_old_reasoning(std::vector<ChatMessage> messages);

}  // namespace dsv4
