// The OpenAPI 3.1 description of the server, published at /openapi.json.
#pragma once

#include "server/api_request.h"
#include "text/json.h"

namespace dsv4 {

// With the fields, types and ranges that the parsers check under these settings.
Json openapi_description(const ApiSettings& settings);

}  // namespace dsv4
