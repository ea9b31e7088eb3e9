#include "server/openai_completions.h"

#include "server/request_testing.h"

#include <gtest/gtest.h>

namespace dsv4 {
namespace {

ApiRequest parse(std::string_view body) {
  return parse_completions_request(Json::parse(body, "body"), test_settings());
}

std::string error_of(std::string_view body) { return parse_error(parse_completions_request, body); }

TEST(OpenAiCompletions, prompts_in_all_forms) {
  using Ids = std::vector<int32_t>;
  EXPECT_EQ(parse(R"({"model": "m", "prompt": "x"})").prompts, (std::vector<RawPrompt>{"x"}));
  EXPECT_EQ(parse(R"({"model": "m", "prompt": ["x", "y"]})").prompts,
            (std::vector<RawPrompt>{"x", "y"}));
  EXPECT_EQ(parse(R"({"model": "m", "prompt": [1, 2]})").prompts,
            (std::vector<RawPrompt>{Ids{1, 2}}));
  EXPECT_EQ(parse(R"({"model": "m", "prompt": [[1], [2, 3]]})").prompts,
            (std::vector<RawPrompt>{Ids{1}, Ids{2, 3}}));
  EXPECT_EQ(parse(R"({"model": "m", "prompt": "x"})").max_tokens, 16);
}

TEST(OpenAiCompletions, errors_name_the_path) {
  EXPECT_EQ(error_of(R"({"model": "m"})"), "400 prompt | this member is required");
  EXPECT_EQ(error_of(R"({"model": "m", "prompt": []})"),
            "400 prompt | expected at least one prompt");
  EXPECT_EQ(error_of(R"({"model": "m", "prompt": [1, "x"]})"),
            "400 prompt[1] | expected an integer, found a string");
  EXPECT_EQ(error_of(R"({"model": "m", "prompt": [[1], [1000]]})"),
            "400 prompt[1][0] | expected a token id from 0 to 999, found 1000");
  EXPECT_EQ(error_of(R"({"model": "m", "prompt": "x", "best_of": 3})"),
            "400 best_of | replies are not compared here: expected the value of n");
  EXPECT_EQ(error_of(R"({"model": "m", "prompt": "x", "suffix": "y"})"),
            "400 suffix | this model does not fill in between two texts");
  EXPECT_EQ(error_of(R"({"model": "m", "prompt": "x", "messages": []})"),
            "400 messages | Unrecognized request argument supplied: messages");
}

TEST(Tokenize, takes_text_or_messages) {
  const auto parse_tokenize = [](std::string_view body) {
    return parse_tokenize_request(Json::parse(body, "body"), test_settings());
  };
  EXPECT_EQ(parse_tokenize(R"({"prompt": "x", "with_pieces": true})").text, "x");
  const TokenizeRequest chat =
      parse_tokenize(R"({"messages": [{"role": "user", "content": "x"}]})");
  EXPECT_TRUE(chat.is_chat);
  EXPECT_EQ(chat.chat.model, "m");
  EXPECT_EQ(parse_error(parse_tokenize_request, R"({"model": "m"})"),
            "400 prompt | expected a text to tokenize, or messages");
  EXPECT_EQ(parse_error(parse_detokenize_request, R"({"tokens": [1, -1]})"),
            "400 tokens[1] | expected a token id from 0 to 999, found -1");
}

}  // namespace
}  // namespace dsv4
