// A conversation with its settings as JSON: the input of `dsv4 encode` and of files with messages.
#pragma once

#include "text/chat_encode.h"
#include "text/json.h"

#include <string>

namespace dsv4 {

struct ChatRequest {
  Json::Array messages;
  ChatOptions options;
};

// Reads an object with the members messages, tools, context, thinking_mode, drop_thinking,
// add_default_bos_token and reasoning_effort, or just the list of messages. What is absent (for
// all but thinking_mode also: null) stays as in `defaults`; other members are ignored. Tools become
// the field of the first message if that is a system or developer message, else of an empty system
// message put in front. Throws Error(kInvalidInput) with `where` and the member.
ChatRequest read_chat_request(const Json& json, const ChatOptions& defaults,
                              const std::string& where);

// Puts `tools` (a list as in a request) where the format wants them: into the first message if that
// is a system or developer message, else into an empty system message in front.
void attach_tools(const Json& tools, Json::Array& messages);

}  // namespace dsv4
