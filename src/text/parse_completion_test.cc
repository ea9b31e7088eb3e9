#include "text/parse_completion.h"

#include "base/error.h"

#include <gtest/gtest.h>

#include <chrono>

namespace dsv4 {
namespace {

const std::string kOpen = "\n\n<｜DSML｜tool_calls>\n";
const std::string kClose = "</｜DSML｜tool_calls>";

TEST(ParseCompletion, reads_reasoning_content_and_calls) {
  const AssistantMessage message = parse_completion(
      "r</think>c" + kOpen +
          "<｜DSML｜invoke name=\"f\">\n"
          "<｜DSML｜parameter name=\"a\" string=\"true\">x\"y</｜DSML｜parameter>\n"
          "<｜DSML｜parameter name=\"b\" string=\"false\">[1,  2]</｜DSML｜parameter>\n"
          "</｜DSML｜invoke>\n" +
          kClose + "<｜end▁of▁sentence｜>",
      ThinkingMode::kThinking);
  EXPECT_EQ(message.reasoning_content, "r");
  EXPECT_EQ(message.content, "c");
  ASSERT_EQ(message.tool_calls.size(), 1u);
  EXPECT_EQ(message.tool_calls[0], (ToolCall{"f", R"({"a": "x\"y", "b": [1,  2]})"}));
}

TEST(ParseCompletion, says_where_it_fails) {
  try {
    parse_completion("abc", ThinkingMode::kChat);
    FAIL();
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "completion, byte 3: the end-of-sentence token is missing");
  }
}

TEST(ParseCompletion, spaces_before_a_name_may_be_any_that_python_knows) {
  for (const char* space : {" ", "\t\n", "\xC2\xA0", "\xE3\x80\x80", "\x1C"}) {
    EXPECT_EQ(parse_completion(
                  kOpen + "<｜DSML｜invoke" + space + "name=\"f\">\n</｜DSML｜invoke>\n" + kClose,
                  ThinkingMode::kChat)
                  .tool_calls.size(),
              1u);
  }
  EXPECT_THROW(
      parse_completion(kOpen + "<｜DSML｜invoke\u200Bname=\"f\">\n</｜DSML｜invoke>\n" + kClose,
                       ThinkingMode::kChat),
      Error);
}

TEST(ParseCompletion, hostile_text_takes_linear_time) {
  std::string many = kOpen + "<｜DSML｜invoke name=\"f\">\n";
  for (int i = 0; i < 100000; ++i) {
    many += "<｜DSML｜parameter name=\"" + std::to_string(i) +
            "\" string=\"x\" string=\"true\">v</｜DSML｜parameter>\n";
  }
  std::string nested = kOpen;
  for (int i = 0; i < 200000; ++i) nested += "<｜DSML｜para";
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(parse_completion(many, ThinkingMode::kChat).tool_calls.size(), 1u);
  EXPECT_THROW(parse_completion(nested, ThinkingMode::kChat), Error);
  EXPECT_THROW(parse_completion(std::string(3000000, '<'), ThinkingMode::kThinking), Error);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(10));
}

}  // namespace
}  // namespace dsv4
