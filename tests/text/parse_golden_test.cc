// The parsers against the reference parser's results.
#include "base/error.h"
#include "golden_cases.h"
#include "text/parse_completion.h"
#include "text/parse_lenient.h"

#include <gtest/gtest.h>

#include <set>

namespace dsv4 {
namespace {

TEST(ParseGolden, strict_parser_equals_the_reference) {
  const std::vector<Json> cases = golden_cases("parse.jsonl");
  ASSERT_EQ(cases.size(), 104u);
  for (const Json& c : cases) {
    const std::string id = c.at("id", "case").print();
    const std::string& completion = c.at("completion", "case").as_string("completion");
    const std::string& name = c.at("thinking_mode", "case").as_string("thinking_mode");
    // To the reference every mode but "thinking" is chat.
    const ThinkingMode mode = thinking_mode_of(name).value_or(ThinkingMode::kChat);
    if (const Json* parsed = c.find("parsed")) {
      EXPECT_EQ(to_json(parse_completion(completion, mode)).print(), parsed->print()) << id;
    } else {
      EXPECT_THROW(parse_completion(completion, mode), Error) << id;
    }
  }
}

// What the reference reads, the lenient parser reads alike, but it makes invalid JSON a string,
// does not take a line feed inside an end tag, and does not accept a call that is cut off.
TEST(ParseGolden, lenient_parser_agrees_where_it_should) {
  const std::set<std::string> invalid_json = {"gp021", "gp023"};
  const std::set<std::string> no_call = {"gp086", "gp095", "gp096", "gp098"};
  for (const Json& c : golden_cases("parse.jsonl")) {
    const std::string& id = c.at("id", "case").as_string("id");
    const std::string& name = c.at("thinking_mode", "case").as_string("thinking_mode");
    const LenientOptions options{thinking_mode_of(name).value_or(ThinkingMode::kChat), {}};
    const AssistantMessage message =
        parse_lenient(c.at("completion", "case").as_string("completion"), options);
    for (const ToolCall& call : message.tool_calls) {
      EXPECT_NO_THROW(Json::parse(call.arguments, id, Json::NonFinite::kReject)) << id;
    }
    if (no_call.contains(id)) {
      EXPECT_TRUE(message.tool_calls.empty()) << id;
      EXPECT_FALSE(message.content.empty()) << id;
    } else if (c.find("parsed") != nullptr && !invalid_json.contains(id)) {
      EXPECT_EQ(to_json(message).print(), c.at("parsed", "case").print()) << id;
    }
  }
}

}  // namespace
}  // namespace dsv4
