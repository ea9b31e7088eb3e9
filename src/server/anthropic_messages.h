// Bodies of POST /v1/messages and /v1/messages/count_tokens.
#pragma once

#include "server/api_request.h"

#include <string>
#include <string_view>

namespace dsv4 {

enum class MessagesPurpose { kReply, kCountTokens };  // the latter needs no max_tokens

// Throws Error with the JSON path of what is wrong.
ApiRequest parse_messages_request(const Json& body, const ApiSettings& settings,
                                  MessagesPurpose purpose = MessagesPurpose::kReply);

// What stands in the `signature` of a block with this reasoning. It binds nothing: blocks of any
// signature are taken back, because a conversation may have begun with another model.
std::string reasoning_signature(std::string_view reasoning);

}  // namespace dsv4
