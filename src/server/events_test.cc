#include "server/events.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace dsv4 {
namespace {

struct Event {
  std::string name;
  std::string data;
  bool operator==(const Event&) const = default;
};

// A reader of event streams, after the rules of the HTML standard.
std::vector<Event> read_events(const std::string& stream) {
  std::vector<Event> events;
  Event event;
  bool has_data = false;
  for (size_t at = 0; at < stream.size();) {
    const size_t end = stream.find_first_of("\r\n", at);
    const std::string line = stream.substr(at, end - at);
    at = end + 1;
    if (stream[end] == '\r' && at < stream.size() && stream[at] == '\n') ++at;
    if (line.empty()) {
      if (has_data) events.push_back(event);
      event = {};
      has_data = false;
    } else if (line.starts_with("data: ")) {
      event.data += (has_data ? "\n" : "") + line.substr(6);
      has_data = true;
    } else if (line.starts_with("event: ")) {
      event.name = line.substr(7);
    } else {
      EXPECT_TRUE(line.starts_with(":")) << line;
    }
  }
  return events;
}

TEST(Events, frames_json_as_one_line) {
  std::string out;
  append_event(out, R"({"a":1})");
  append_event(out, "x", "message_start");
  EXPECT_EQ(out, "data: {\"a\":1}\n\nevent: message_start\ndata: x\n\n");
}

TEST(Events, keeps_any_text_inside_its_event) {
  const std::string kTexts[] = {"",       "a\nb", "a\r\nb",     "a\rb",
                                "\n",     "\n\n", "a\n\n",      "\r",
                                "\r\n\r", ": c",  "event: x\n", "data: y\n\ndata: z",
                                "id: 1\n"};
  for (const std::string& text : kTexts) {
    std::string out;
    append_event_comment(out, text);
    append_event(out, text, "name\nevent: other");
    append_event(out, "after");
    std::string lines;  // the same with plain line ends
    for (size_t i = 0; i < text.size(); ++i) {
      if (text[i] == '\r' && i + 1 < text.size() && text[i + 1] == '\n') continue;
      lines += text[i] == '\r' ? '\n' : text[i];
    }
    const std::vector<Event> expected = {{"name", lines}, {"", "after"}};
    EXPECT_EQ(read_events(out), expected) << text;
  }
}

}  // namespace
}  // namespace dsv4
