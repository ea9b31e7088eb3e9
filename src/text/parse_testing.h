// For tests: what the events of a completion add up to.
#pragma once

#include "text/parse_lenient.h"

#include <vector>

namespace dsv4 {

// Puts events into the message that a reader of the stream would have.
inline void add_events(const std::vector<ParseEvent>& events, AssistantMessage& sum) {
  using Kind = ParseEvent::Kind;
  for (const ParseEvent& event : events) {
    if (event.kind == Kind::kReasoning) sum.reasoning_content += event.text;
    if (event.kind == Kind::kContent || event.kind == Kind::kRawText) sum.content += event.text;
    if (event.kind == Kind::kToolCallBegin) sum.tool_calls.push_back({event.text, ""});
    if (event.kind == Kind::kArguments) sum.tool_calls.at(event.call).arguments += event.text;
    if (event.kind == Kind::kToolCallAborted) sum.tool_calls.pop_back();
  }
}

}  // namespace dsv4
