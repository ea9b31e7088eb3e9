// Bodies of POST /v1/chat/completions.
#pragma once

#include "server/api_request.h"

namespace dsv4 {

// Throws Error with the JSON path of what is wrong (api_error_of makes an ApiError of it).
ApiRequest parse_chat_request(const Json& body, const ApiSettings& settings);

}  // namespace dsv4
