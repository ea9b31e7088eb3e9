// The chat format against the reference encoder's prompts.
#include "base/error.h"
#include "golden_cases.h"
#include "text/chat_encode.h"
#include "text/chat_request.h"

#include <gtest/gtest.h>

namespace dsv4 {
namespace {

class ChatGolden : public testing::TestWithParam<const char*> {};

TEST_P(ChatGolden, encodes_every_conversation_of_the_variant) {
  ChatOptions defaults;
  defaults.variant = *chat_variant_of(GetParam());
  size_t n_cases = 0;
  for (const Json& c : golden_cases("encode.jsonl")) {
    const std::string& encoder = c.at("encoder", "case").as_string("encoder");
    if (encoder != "both" && encoder != GetParam()) continue;
    ++n_cases;
    const std::string id = c.at("id", "case").print();
    if (c.find("error") != nullptr) {
      EXPECT_THROW(
          {
            const ChatRequest request = read_chat_request(c, defaults, "");
            encode_chat(request.messages, request.options);
          },
          Error)
          << id;
      continue;
    }
    const ChatRequest request = read_chat_request(c, defaults, "");
    const std::string prompt = join(encode_chat(request.messages, request.options));
    EXPECT_EQ(prompt, c.at("prompt", "case").as_string("prompt")) << id;
    EXPECT_EQ(v4_tokenizer().encode(prompt, ParseSpecial::kYes), ids_of(c.at("prompt_ids", "case")))
        << id;
  }
  EXPECT_EQ(n_cases, GetParam() == std::string_view("preview") ? 165u : 168u);
}

INSTANTIATE_TEST_SUITE_P(Variants, ChatGolden, testing::Values("preview", "0731"));

// Whoever wrote the text: the ids are the reference's as long as user text has no added token.
TEST(ChatSpans, give_the_reference_ids_for_harmless_text) {
  const Tokenizer& tokenizer = v4_tokenizer();
  size_t n_equal = 0;
  for (const Json& c : golden_cases("encode.jsonl")) {
    if (c.find("error") != nullptr) continue;
    ChatOptions defaults;
    if (c.at("encoder", "case") == Json("0731")) defaults.variant = ChatVariant::k0731;
    const ChatRequest request = read_chat_request(c, defaults, "");
    const std::vector<TextSpan> spans = encode_chat(request.messages, request.options);
    const std::vector<int32_t> ids = tokenizer.encode(spans);
    EXPECT_EQ(tokenizer.decode(ids, SkipSpecial::kNo), join(spans));
    bool is_harmless = true;
    for (const TextSpan& span : spans) {
      if (span.trust == Trust::kTrusted) continue;
      for (const int32_t id : tokenizer.encode(span.text, ParseSpecial::kYes)) {
        is_harmless &= id < 128000;
      }
    }
    EXPECT_EQ(ids == ids_of(c.at("prompt_ids", "case")), is_harmless) << c.at("id", "c").print();
    n_equal += is_harmless;
  }
  EXPECT_GT(n_equal, 150u);
}

TEST(ChatSpans, reproduce_the_prompts_of_the_bundled_model) {
  const Tokenizer tokenizer = Tokenizer::load(source_path("models/mini"));
  for (const char* file : {"models/mini/eval.jsonl", "models/mini/golden.jsonl"}) {
    for (const Json& c : read_json_lines(source_path(file))) {
      const ChatRequest request = read_chat_request(c, {}, "");
      const std::vector<TextSpan> spans = encode_chat(request.messages, request.options);
      EXPECT_EQ(join(spans), c.at("prompt", "case").as_string("prompt"));
      EXPECT_EQ(tokenizer.encode(spans), ids_of(c.at("prompt_ids", "case")));
    }
  }
}

}  // namespace
}  // namespace dsv4
