#include "text/tokenizer.h"

#include "base/error.h"
#include "text/json.h"
#include "text/pretokenize.h"
#include "text/unicode.h"

#include <gtest/gtest.h>

#include <chrono>
#include <fstream>
#include <functional>
#include <random>

namespace dsv4 {
namespace {

// The byte alphabet, written out independently of the reader: the symbol of each byte.
std::string symbol_of(int byte) {
  int shifted = 0;
  for (int b = 0; b <= byte; ++b) {
    const bool same = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || (b >= 174 && b <= 255);
    if (b == byte) {
      std::string symbol;
      append_utf8(symbol, static_cast<char32_t>(same ? b : 256 + shifted));
      return symbol;
    }
    if (!same) ++shifted;
  }
  return "";
}

Json split_step(std::string_view regex) {
  return Json()
      .set("type", "Split")
      .set("pattern", Json().set("Regex", regex))
      .set("behavior", "Isolated")
      .set("invert", false);
}

// An added token that is a byte of the vocabulary keeps its id; the others count from 300.
int32_t added_id(const std::vector<std::string>& added, size_t i) {
  return added[i].size() == 1 ? added[i][0] : 300 + static_cast<int32_t>(i);
}

// A tokenizer with the bytes as ids 0 to 255, "ab" = 256, "abc" = 257 and the given added tokens,
// of which the ones that begin with '<' are special.
Json small_tokenizer(const std::vector<std::string>& added) {
  Json vocab = Json::Object{};
  for (int byte = 0; byte < 256; ++byte) vocab.set(symbol_of(byte), byte);
  vocab.set("ab", 256).set("abc", 257);
  Json tokens = Json::Array{};
  for (size_t i = 0; i < added.size(); ++i) {
    tokens.push_back(Json()
                         .set("id", added_id(added, i))
                         .set("content", added[i])
                         .set("special", added[i].front() == '<'));
  }
  const Json merges = Json().push_back("a b").push_back(Json().push_back("ab").push_back("c"));
  const Json steps = Json()
                         .push_back(split_step(kSplitNumbers))
                         .push_back(split_step(kSplitHanAndKana))
                         .push_back(split_step(kSplitWords))
                         .push_back(Json()
                                        .set("type", "ByteLevel")
                                        .set("add_prefix_space", false)
                                        .set("use_regex", false));
  return Json()
      .set("added_tokens", tokens)
      .set("normalizer", nullptr)
      .set("pre_tokenizer", Json().set("type", "Sequence").set("pretokenizers", steps))
      .set("model", Json().set("type", "BPE").set("vocab", vocab).set("merges", merges));
}

Tokenizer make_tokenizer(const std::vector<std::string>& added) {
  return Tokenizer::parse(small_tokenizer(added).print(), "test");
}

using Ids = std::vector<int32_t>;

TEST(Tokenizer, accepts_both_spellings_of_merges) {
  EXPECT_EQ(make_tokenizer({}).encode("abcab", ParseSpecial::kYes), (Ids{257, 256}));
}

TEST(Tokenizer, every_byte_survives) {
  const Tokenizer tokenizer = make_tokenizer({});
  for (int byte = 0; byte < 256; ++byte) {
    EXPECT_EQ(tokenizer.token_bytes(byte), std::string(1, static_cast<char>(byte)));
  }
}

TEST(Tokenizer, ill_formed_text_counts_as_replacement_characters) {
  const Tokenizer tokenizer = make_tokenizer({"<x>"});
  EXPECT_EQ(tokenizer.encode("a\xFF<x>", ParseSpecial::kYes),
            tokenizer.encode("a\uFFFD<x>", ParseSpecial::kYes));
  EXPECT_EQ(tokenizer.decode(Ids{'a', 0xE4, 0xBD, 'b', -5, 299, 100000}, SkipSpecial::kNo),
            "a\uFFFD"
            "b");
}

TEST(Tokenizer, special_tokens_can_be_skipped) {
  const Tokenizer tokenizer = make_tokenizer({"<x>", "yy"});
  EXPECT_EQ(tokenizer.decode(Ids{300, 'a', 301}, SkipSpecial::kNo), "<x>ayy");
  EXPECT_EQ(tokenizer.decode(Ids{300, 'a', 301}, SkipSpecial::kYes), "ayy");
}

TEST(Tokenizer, added_tokens_match_leftmost_then_longest) {
  const Tokenizer tokenizer = make_tokenizer({"<a>", "<a><b>", "><", "b><"});
  EXPECT_EQ(tokenizer.encode("<a><b>", ParseSpecial::kYes), (Ids{301}));
  EXPECT_EQ(tokenizer.encode("<a><c", ParseSpecial::kYes), (Ids{300, '<', 'c'}));
  EXPECT_EQ(tokenizer.encode("b><b>", ParseSpecial::kYes), (Ids{303, 'b', '>'}));
  EXPECT_EQ(tokenizer.encode("<a>", ParseSpecial::kNo), (Ids{'<', 'a', '>'}));
}

// Oracle: at each position try every token.
TEST(Tokenizer, added_tokens_equal_a_plain_search) {
  std::mt19937 random(8);
  const auto random_text = [&](size_t n) {
    std::string text;
    for (; n > 0; --n) text += static_cast<char>('x' + random() % 2);
    return text;
  };
  for (int round = 0; round < 200; ++round) {
    std::vector<std::string> added;
    for (size_t n = 1 + random() % 5; n > 0; --n) {
      const std::string token = random_text(1 + random() % 5);
      if (std::find(added.begin(), added.end(), token) == added.end()) added.push_back(token);
    }
    const Tokenizer tokenizer = make_tokenizer(added);
    const std::string text = random_text(30);
    Ids expected;
    for (size_t i = 0; i < text.size();) {
      size_t best = added.size();
      for (size_t t = 0; t < added.size(); ++t) {
        if (std::string_view(text).substr(i).starts_with(added[t]) &&
            (best == added.size() || added[t].size() > added[best].size())) {
          best = t;
        }
      }
      expected.push_back(best < added.size() ? added_id(added, best) : text[i]);
      i += best < added.size() ? added[best].size() : 1;
    }
    EXPECT_EQ(tokenizer.encode(text, ParseSpecial::kYes), expected);
  }
}

TEST(Tokenizer, spans_are_one_text_with_tokens_in_the_trusted_part_only) {
  const Tokenizer tokenizer = make_tokenizer({"<x>", "<y"});
  const auto encode = [&](std::vector<TextSpan> spans) { return tokenizer.encode(spans); };
  const Trust yes = Trust::kTrusted;
  const Trust no = Trust::kUntrusted;
  EXPECT_EQ(encode({}), Ids{});
  EXPECT_EQ(encode({{"<x>", yes}, {"<x>", no}}), (Ids{300, '<', 'x', '>'}));
  EXPECT_EQ(encode({{"<", yes}, {"x>", yes}}), (Ids{300}));
  EXPECT_EQ(encode({{"<", yes}, {"x>", no}}), (Ids{'<', 'x', '>'}));
  EXPECT_EQ(encode({{"a", no}, {"b", yes}, {"c", no}}), (Ids{257}));  // one word
  EXPECT_EQ(encode({{"\xE4", no}, {"\xBD\xA0", no}}),
            tokenizer.encode("\uFFFD\uFFFD\uFFFD", ParseSpecial::kYes));
}

TEST(Tokenizer, spans_without_tokens_in_user_text_equal_the_joined_text) {
  const Tokenizer tokenizer = make_tokenizer({"<x>", "<yy>", "x<"});
  std::mt19937 random(9);
  for (int round = 0; round < 2000; ++round) {
    std::vector<TextSpan> spans;
    std::string joined;
    for (size_t n = random() % 8; n > 0; --n) {
      const char* trusted[] = {"<x>", "<yy>", "x", ">", "\n\n", " b"};
      const char* untrusted[] = {"a", "bc ", "  ", "1", "<y", "", "x>", "你"};
      const bool trust = random() % 2 == 0;
      spans.push_back({trust ? trusted[random() % 6] : untrusted[random() % 8],
                       trust ? Trust::kTrusted : Trust::kUntrusted});
      joined += spans.back().text;
    }
    // The reference differs only where a token crosses the border of user text.
    bool crosses = false;
    size_t begin = 0;
    for (const TextSpan& span : spans) {
      const size_t end = begin + span.text.size();
      for (const std::string token : {"<x>", "<yy>", "x<"}) {
        for (size_t i = joined.find(token); i != std::string::npos; i = joined.find(token, i + 1)) {
          crosses |= span.trust == Trust::kUntrusted && i < end && i + token.size() > begin;
        }
      }
      begin = end;
    }
    if (!crosses) {
      EXPECT_EQ(tokenizer.encode(spans), tokenizer.encode(joined, ParseSpecial::kYes)) << joined;
    }
  }
}

TEST(Tokenizer, hostile_added_tokens_take_linear_time) {
  std::vector<std::string> added = {std::string(100000, 'x') + "y", "x"};
  const Tokenizer tokenizer = make_tokenizer(added);
  const std::string text(1000000, 'x');
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(tokenizer.encode(text, ParseSpecial::kYes).size(), text.size());
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(10));
}

std::string load_error(const Json& json) {
  try {
    Tokenizer::parse(json.print(), "t.json");
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

// The small tokenizer with the member at `path` replaced (or removed, for nullopt).
Json changed(std::vector<std::string> path, const std::function<void(Json&)>& change) {
  const std::function<Json(const Json&, size_t)> copy = [&](const Json& json, size_t depth) {
    Json out = json;
    if (depth == path.size()) {
      change(out);
    } else {
      out.set(path[depth], copy(json.at(path[depth], "test"), depth + 1));
    }
    return out;
  };
  return copy(small_tokenizer({"<x>"}), 0);
}

TEST(Tokenizer, refuses_contradictions_with_the_place) {
  const auto set = [](const char* key, const Json& value) {
    return [=](Json& json) { json.set(key, value); };
  };
  const auto becomes = [](const Json& value) { return [=](Json& json) { json = value; }; };
  const auto parse = [](const char* text) { return Json::parse(text, "test"); };
  const std::tuple<std::vector<std::string>, std::function<void(Json&)>, const char*> cases[] = {
      {{}, becomes(3), "t.json: expected an object, found an integer"},
      {{"model"}, becomes(Json::Object{}), "t.json: model: \"vocab\" is missing"},
      {{"model"}, set("type", "Unigram"), "t.json: model.type: expected \"BPE\""},
      {{"model"}, set("dropout", 0.1), "t.json: model.dropout: expected null"},
      {{"model"}, set("ignore_merges", true), "t.json: model.ignore_merges: expected false"},
      {{"model", "vocab"}, becomes(7), "t.json: model.vocab: expected an object"},
      {{"model", "vocab"}, set("a", -1), "t.json: model.vocab: id -1 is not in 0..1048575"},
      {{"model", "vocab"}, set("a", 1 << 20), "id 1048576 is not in"},
      {{"model", "vocab"}, set("a", "x"), "t.json: model.vocab: expected an integer"},
      {{"model", "vocab"}, set("zz", 5), "t.json: model.vocab: id 5 has two tokens"},
      {{"model", "merges"},
       becomes(parse(R"(["a b", "b a"])")),
       "t.json: model.merges[1]: \"ba\" is not in the vocabulary"},
      {{"model", "merges"}, becomes(parse(R"(["a qq"])")), "\"qq\" is not in the vocabulary"},
      {{"model", "merges"}, becomes(parse(R"(["a b c"])")), "model.merges[0]: expected two tokens"},
      {{"model", "merges"}, becomes(parse(R"([["a"]])")), "model.merges[0]: expected two tokens"},
      {{"model", "merges"}, becomes(parse(R"([["", "ab"]])")), "expected two tokens"},
      {{"model", "merges"},
       becomes(parse(R"(["a b", "a b"])")),
       "t.json: model.merges: merge 1 repeats the pair of an earlier one"},
      {{"added_tokens"},
       becomes(parse(R"([{"id": 300}])")),
       "t.json: added_tokens[0]: \"content\" is missing"},
      {{"added_tokens"},
       becomes(parse(R"([{"id": 5, "content": "q!"}])")),
       "t.json: added_tokens[0]: id 5 contradicts another token"},
      {{"added_tokens"},
       becomes(parse(R"([{"id": 400, "content": "ab"}])")),
       "id 400 contradicts another token"},
      {{"added_tokens"},
       becomes(parse(R"([{"id": 400, "content": "qq"}, {"id": 401, "content": "qq"}])")),
       "t.json: added_tokens: \"qq\" occurs twice"},
      {{"added_tokens"}, becomes(parse(R"([{"id": 400, "content": ""}])")), "is empty"},
      {{"added_tokens"},
       becomes(parse(R"([{"id": 32, "content": "Ġ"}])")),
       "\"Ġ\" is an ordinary token of other bytes"},
      {{"added_tokens"},
       becomes(parse(R"([{"id": 400, "content": "q", "lstrip": true}])")),
       "expected \"lstrip\" to be false"},
      {{"normalizer"}, becomes(parse(R"({"type": "NFC"})")), "t.json: normalizer: expected none"},
      {{"pre_tokenizer"},
       becomes(parse(R"({"type": "ByteLevel"})")),
       "t.json: pre_tokenizer: \"pretokenizers\" is missing"},
      {{"pre_tokenizer"},
       becomes(parse(R"({"pretokenizers": []})")),
       "t.json: pre_tokenizer: expected the three splitting expressions"},
  };
  for (const auto& [path, change, message] : cases) {
    EXPECT_NE(load_error(changed(path, change)).find(message), std::string::npos)
        << load_error(changed(path, change)) << "\nexpected: " << message;
  }
  EXPECT_EQ(load_error(small_tokenizer({"<x>"})), "no error");
}

TEST(Tokenizer, needs_a_token_for_every_byte) {
  const Json json = changed({"model"}, [](Json& model) {
    Json vocab = Json::Object{};
    for (const Json::Member& member : model.at("vocab", "test").as_object("test")) {
      if (member.key != symbol_of(' ')) vocab.set(member.key, member.value);
    }
    model.set("vocab", vocab);
  });
  EXPECT_NE(load_error(json).find("the token of byte 32 (\"Ġ\") is missing"), std::string::npos);
}

TEST(Tokenizer, ids_may_have_gaps) {
  const Tokenizer tokenizer = make_tokenizer({"<x>"});
  EXPECT_EQ(tokenizer.vocab_size(), 301);
  EXPECT_FALSE(tokenizer.has_token(280));
}

TEST(Tokenizer, loads_a_file_or_a_folder_with_one) {
  const std::filesystem::path folder = testing::TempDir() + "/dsv4_tokenizer_test";
  std::filesystem::create_directories(folder);
  std::ofstream(folder / "tokenizer.json") << small_tokenizer({"<x>"}).print();
  EXPECT_EQ(Tokenizer::load(folder).vocab_size(), 301);
  EXPECT_EQ(Tokenizer::load(folder / "tokenizer.json").vocab_size(), 301);
  std::filesystem::remove_all(folder);
  EXPECT_THROW(Tokenizer::load(folder), Error);
}

}  // namespace
}  // namespace dsv4
