// What a client is told when its request cannot be served: one table of kinds, and the bodies in
// which the two families of APIs report them (docs/serving.md).
#pragma once

#include "base/error.h"
#include "text/json.h"

#include <string>

namespace dsv4 {

// The APIs that the server speaks.
enum class ApiKind {
  kChat,         // POST /v1/chat/completions
  kCompletions,  // POST /v1/completions
  kResponses,    // POST /v1/responses
  kMessages,     // POST /v1/messages and /v1/messages/count_tokens
};

struct ApiError {
  enum class Kind {
    kInvalid,           // the request is not what the API takes
    kContextLength,     // prompt and reply do not fit the context
    kAuthentication,    // no key, or an unknown one
    kPermission,        // pages of this origin may not use the server
    kNotFound,          // no such route or object
    kModelNotFound,     // another model than the one that is served
    kPreviousResponse,  // previous_response_id is not stored (any more)
    kThread,            // Anthropic's message threads are not kept here
    kMethod,            // the route takes another method
    kTimeout,           // the request did not arrive, or the reply was not done, in time
    kTooLarge,          // the body exceeds a limit
    kRateLimit,         // the key's requests or tokens per minute are spent
    kOverloaded,        // the queue is full, or the server is shutting down
    kInternal,          // a fault of the server
  };
  Kind kind = Kind::kInvalid;
  std::string message;
  std::string param = {};  // JSON path of what is wrong, or empty
  std::string code = {};   // for OpenAI's APIs instead of the kind's; empty: that of the kind

  int status() const;  // of HTTP
  const char* openai_type() const;
  const char* openai_code() const;  // nullptr: null
  const char* anthropic_type() const;
};

// Of what a parser, the encoder or the engine threw: a wrong value is kInvalid with its path.
ApiError api_error_of(const Error& error);

// {"error": {"message", "type", "param", "code"}}, or Anthropic's {"type": "error", "error":
// {"type", "message"}, "request_id"} where the message begins with the path, but for
// kContextLength, and kThread has the details by which clients know that they must send whole
// conversations.
Json error_json(ApiKind api, const ApiError& error, const std::string& request_id);

}  // namespace dsv4
