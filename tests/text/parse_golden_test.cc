// The parsers against the reference parser's results.
#include "base/error.h"
#include "golden_cases.h"
#include "text/parse_completion.h"

#include <gtest/gtest.h>

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

}  // namespace
}  // namespace dsv4
