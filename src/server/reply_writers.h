// The writers of the four APIs, and what several of them need.
#pragma once

#include "server/reply_shape.h"

#include <memory>
#include <string>
#include <string_view>

namespace dsv4 {

std::unique_ptr<ReplyWriter> make_chat_writer(const ApiRequest& request, ReplyContext context);
std::unique_ptr<ReplyWriter> make_completions_writer(const ApiRequest& request,
                                                     ReplyContext context);
std::unique_ptr<ReplyWriter> make_responses_writer(const ApiRequest& request, ReplyContext context);
std::unique_ptr<ReplyWriter> make_messages_writer(const ApiRequest& request, ReplyContext context);

// The usage object of chat and plain completions.
Json openai_usage(const ReplyUsage& usage);
// The end of their streams: a last chunk with the usage, if there is one, or the error, and [DONE].
// `head` is what all chunks have.
void append_openai_end(std::string& out, Json head, const ReplyUsage* usage);
void append_openai_failure(std::string& out, const Json& error);

// A token as text; what is no UTF-8 of its own becomes U+FFFD.
std::string token_text(std::string_view bytes);
// A log-probability that JSON can hold.
Json logprob_json(float logprob);
// {"token", "logprob", "bytes", "top_logprobs": [{"token", "logprob", "bytes"}, ...]}.
Json token_json(const LoggedToken& token);

}  // namespace dsv4
