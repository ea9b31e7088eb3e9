#include "server/events.h"

namespace dsv4 {
namespace {

// Calls line(text) for each line; "\n", "\r" and "\r\n" end one.
template <typename Line>
void for_each_line(std::string_view text, const Line& line) {
  for (;;) {
    const size_t end = text.find_first_of("\r\n");
    line(text.substr(0, end));
    if (end == std::string_view::npos) return;
    const bool is_pair = text[end] == '\r' && end + 1 < text.size() && text[end + 1] == '\n';
    text.remove_prefix(end + (is_pair ? 2 : 1));
  }
}

}  // namespace

void append_event(std::string& out, std::string_view data, std::string_view name) {
  name = name.substr(0, name.find_first_of("\r\n"));
  if (!name.empty()) {
    out += "event: ";
    out += name;
    out += '\n';
  }
  for_each_line(data, [&](std::string_view line) {
    out += "data: ";
    out += line;
    out += '\n';
  });
  out += '\n';
}

void append_event_comment(std::string& out, std::string_view text) {
  for_each_line(text, [&](std::string_view line) {
    out += ": ";
    out += line;
    out += '\n';
  });
  out += '\n';
}

HttpHeaders event_stream_headers() {
  return {{"Content-Type", "text/event-stream; charset=utf-8"},
          {"Cache-Control", "no-cache"},
          {"X-Accel-Buffering", "no"}};
}

}  // namespace dsv4
