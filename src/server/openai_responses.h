// Bodies of POST /v1/responses.
#pragma once

#include "server/api_request.h"

#include <functional>
#include <optional>
#include <string>

namespace dsv4 {

// The conversation that ends with the stored reply of this id (ResponseStore::conversation).
using StoredConversation = std::function<std::optional<Json::Array>(const std::string& id)>;

// Throws Error with the JSON path of what is wrong; Error(kNotFound, "previous_response_id") for an
// id that is not stored.
ApiRequest parse_responses_request(const Json& body, const ApiSettings& settings,
                                   const StoredConversation& stored);

// What is to be stored of a request's new messages and the `reply` (ReplyWriter::message), which of
// a prefill goes on with the last of them.
Json::Array messages_to_store(Json::Array messages, bool is_prefill, const Json& reply);

}  // namespace dsv4
