// The tokenizer against the released vocabulary and the published ids.
#include "golden_cases.h"
#include "text/text_stream.h"

#include <gtest/gtest.h>

#include <chrono>

namespace dsv4 {
namespace {

TEST(TokenizerGolden, encodes_every_text) {
  const std::vector<Json> cases = golden_cases("vectors.jsonl");
  ASSERT_EQ(cases.size(), 616u);
  for (const Json& c : cases) {
    const std::string& text = c.at("text", "case").as_string("text");
    const std::vector<int32_t> ids = ids_of(c.at("ids", "case"));
    EXPECT_EQ(v4_tokenizer().encode(text, ParseSpecial::kYes), ids) << c.at("id", "case").print();
    EXPECT_EQ(v4_tokenizer().decode(ids, SkipSpecial::kNo), text) << c.at("id", "case").print();
  }
}

TEST(TokenizerGolden, decodes_every_list) {
  const std::vector<Json> cases = golden_cases("decode.jsonl");
  ASSERT_EQ(cases.size(), 252u);
  for (const Json& c : cases) {
    const SkipSpecial skip =
        c.at("skip_special_tokens", "case").as_bool("skip") ? SkipSpecial::kYes : SkipSpecial::kNo;
    EXPECT_EQ(v4_tokenizer().decode(ids_of(c.at("ids", "case")), skip),
              c.at("text", "case").as_string("text"))
        << c.at("id", "case").print();
  }
}

TEST(TokenizerGolden, streams_every_list) {
  const std::vector<Json> cases = golden_cases("stream.jsonl");
  ASSERT_EQ(cases.size(), 93u);
  for (const Json& c : cases) {
    const bool skip = c.at("skip_special_tokens", "case").as_bool("skip");
    TokenStream stream(v4_tokenizer(), skip ? SkipSpecial::kYes : SkipSpecial::kNo);
    Json chunks = Json::Array{};
    for (const int32_t id : ids_of(c.at("ids", "case"))) chunks.push_back(stream.push(id));
    chunks.push_back(stream.finish());
    EXPECT_EQ(chunks.print(), c.at("chunks", "case").print()) << c.at("id", "case").print();
  }
}

TEST(TokenizerGolden, knows_the_vocabulary) {
  const Tokenizer& tokenizer = v4_tokenizer();
  EXPECT_EQ(tokenizer.vocab_size(), 129280);
  EXPECT_EQ(tokenizer.bos_id(), 0);
  EXPECT_EQ(tokenizer.eos_id(), 1);
  EXPECT_EQ(tokenizer.pad_id(), 2);
  EXPECT_EQ(tokenizer.id_of("｜DSML｜"), 128825);
  EXPECT_EQ(tokenizer.id_of("<think>"), 128821);
  EXPECT_EQ(tokenizer.id_of("the"), std::nullopt);
  EXPECT_EQ(tokenizer.token_bytes(128803), "<｜User｜>");
  EXPECT_EQ(tokenizer.token_bytes(201), "\n");
  EXPECT_TRUE(tokenizer.is_special(0));
  EXPECT_FALSE(tokenizer.is_special(128803));
  EXPECT_TRUE(tokenizer.has_token(129279));
  for (const int32_t id : {-1, 129280, INT32_MAX, INT32_MIN}) {
    EXPECT_FALSE(tokenizer.has_token(id));
    EXPECT_FALSE(tokenizer.is_special(id));
    EXPECT_EQ(tokenizer.token_bytes(id), "");
  }
}

TEST(TokenizerGolden, plain_text_keeps_no_added_token) {
  const Tokenizer& tokenizer = v4_tokenizer();
  const std::string text = "<｜User｜>hi</think>";
  EXPECT_EQ(tokenizer.encode(text, ParseSpecial::kYes).size(), 3u);
  const std::vector<int32_t> plain = tokenizer.encode(text, ParseSpecial::kNo);
  for (const int32_t id : plain) EXPECT_LT(id, 128000);
  EXPECT_EQ(tokenizer.decode(plain, SkipSpecial::kNo), text);
}

// An optimised build needs 0.3 s at most. The bar leaves room for sanitizers and a busy machine;
// quadratic merging would take minutes.
TEST(TokenizerGolden, a_megabyte_in_one_word_is_fast) {
  constexpr size_t kMegabyte = size_t{1} << 20;
  std::string mixed;
  for (size_t i = 0; i < kMegabyte; ++i) mixed += static_cast<char>('a' + i * i % 26);
  std::string marks;
  while (marks.size() < kMegabyte) marks += "\u0301";
  std::string letters;
  while (letters.size() < kMegabyte) letters += "你";
  for (const std::string& text :
       {std::string(kMegabyte, 'a'), std::string(kMegabyte, ' '), std::string(kMegabyte, '\n'),
        std::string(kMegabyte, '-'), std::string(kMegabyte, '\x01'), std::string(kMegabyte, '7'),
        std::string(kMegabyte, '<'), mixed, marks, letters}) {
    const auto start = std::chrono::steady_clock::now();
    const std::vector<int32_t> ids = v4_tokenizer().encode(text, ParseSpecial::kYes);
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    EXPECT_EQ(v4_tokenizer().decode(ids, SkipSpecial::kNo), text);
    EXPECT_LT(seconds.count(), 10.0) << text.substr(0, 8);
  }
}

// The bundled model's tokenizer has another vocabulary but the same construction.
TEST(TokenizerGolden, reproduces_the_prompts_of_the_bundled_model) {
  const Tokenizer tokenizer = Tokenizer::load(source_path("models/mini"));
  EXPECT_EQ(tokenizer.vocab_size(), 1280);
  for (const char* file : {"models/mini/eval.jsonl", "models/mini/golden.jsonl"}) {
    for (const Json& c : read_json_lines(source_path(file))) {
      EXPECT_EQ(tokenizer.encode(c.at("prompt", "case").as_string("prompt"), ParseSpecial::kYes),
                ids_of(c.at("prompt_ids", "case")))
          << c.at("id", "case").print();
    }
  }
}

}  // namespace
}  // namespace dsv4
