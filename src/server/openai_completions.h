// Bodies of POST /v1/completions, /tokenize and /detokenize: prompts without a conversation.
#pragma once

#include "server/api_request.h"

namespace dsv4 {

// Throws Error with the JSON path of what is wrong.
ApiRequest parse_completions_request(const Json& body, const ApiSettings& settings);

// /tokenize takes a prompt as text, or a conversation as /v1/chat/completions does.
struct TokenizeRequest {
  bool is_chat = false;
  ApiRequest chat;            // of is_chat
  std::string text;           // else
  bool with_pieces = false;   // the text of each token too
  bool parse_special = true;  // added tokens in the text are tokens
};
TokenizeRequest parse_tokenize_request(const Json& body, const ApiSettings& settings);

// {"tokens": [...]}.
std::vector<int32_t> parse_detokenize_request(const Json& body, const ApiSettings& settings);

}  // namespace dsv4
