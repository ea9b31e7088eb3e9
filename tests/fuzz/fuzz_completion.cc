// Input: one byte of settings, then a completion. The strict parser must accept or throw Error. The
// lenient one must give the same for the whole text and for pieces, and only calls whose arguments
// are JSON objects.
#include "base/check.h"
#include "base/error.h"
#include "text/parse_completion.h"
#include "text/parse_testing.h"

#include <cstdint>
#include <string>
#include <string_view>

using namespace dsv4;

namespace {

DeclaredTools declared_tools() {
  const Json tools = Json::parse(R"([{"function": {"name": "f", "parameters": {"properties":
      {"s": {"type": "string"}, "n": {"type": "integer"}}}}}])",
                                 "tools");
  return DeclaredTools(tools.as_array("tools"));
}

// Feeds pieces of `length` bytes; 0 for all at once. Checks that the events add up to the message.
AssistantMessage parse_in_pieces(std::string_view text, const LenientOptions& options,
                                 size_t length) {
  LenientParser parser(options);
  AssistantMessage sum;
  if (length == 0) length = text.size() + 1;
  for (size_t begin = 0; begin < text.size(); begin += length) {
    add_events(parser.feed(text.substr(begin, length)), sum);
  }
  add_events(parser.finish(FinishReason::kStop), sum);
  CHECK(sum == parser.message());
  return sum;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data + 1), size - 1);
  const ThinkingMode mode = (data[0] & 1) != 0 ? ThinkingMode::kThinking : ThinkingMode::kChat;
  try {
    parse_completion(text, mode);
  } catch (const Error&) {
  }
  static const DeclaredTools tools = declared_tools();
  const LenientOptions options{mode, (data[0] & 2) != 0 ? tools : DeclaredTools()};
  const AssistantMessage whole = parse_in_pieces(text, options, 0);
  CHECK(parse_in_pieces(text, options, 1) == whole);
  CHECK(parse_in_pieces(text, options, 2 + data[0] / 4) == whole);
  for (const ToolCall& call : whole.tool_calls) {
    Json::parse(call.arguments, "arguments", Json::NonFinite::kReject).as_object("arguments");
  }
  return 0;
}
