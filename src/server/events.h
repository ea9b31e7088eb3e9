// Server-sent events: the framing of text/event-stream.
#pragma once

#include "server/http_message.h"

#include <string>
#include <string_view>

namespace dsv4 {

// Appends one event with its data, of any text: each of its lines becomes a line of the frame, so
// nothing in it can end the frame or begin another field. Without `name` it is a plain "message".
void append_event(std::string& out, std::string_view data, std::string_view name = {});

// A comment, which readers skip.
void append_event_comment(std::string& out, std::string_view text);

// Headers of a stream of events: type, no caching, no buffering in proxies.
HttpHeaders event_stream_headers();

}  // namespace dsv4
