#include "grammar/regex.h"

#include "base/error.h"

#include <gtest/gtest.h>

#include <random>
#include <regex>
#include <string>

namespace dsv4 {
namespace {

CharDfa compile(std::string_view pattern) {
  AutomatonBudget budget;
  return compile_regex(pattern, budget, "pattern");
}

ErrorCode code_of(std::string_view pattern) {
  try {
    compile(pattern);
  } catch (const Error& error) {
    EXPECT_EQ(error.where(), "pattern");
    return error.code();
  }
  ADD_FAILURE() << pattern << " compiles";
  return ErrorCode::kIo;
}

// A random pattern over a few letters, of what both implementations understand.
std::string random_pattern(std::mt19937_64& rng, int depth) {
  const auto pick = [&](std::initializer_list<const char*> list) {
    return std::string(list.begin()[rng() % list.size()]);
  };
  if (depth == 0 || rng() % 4 == 0) {
    return pick(
        {"a", "b", "c", ".", "[ab]", "[^a]", "\\d", "\\w", "1", "\\s", "[a-c1]", "\\.", " "});
  }
  switch (rng() % 6) {
    case 0:
      return random_pattern(rng, depth - 1) + random_pattern(rng, depth - 1);
    case 1:
      return "(" + random_pattern(rng, depth - 1) + "|" + random_pattern(rng, depth - 1) + ")";
    case 2:
      return "(?:" + random_pattern(rng, depth - 1) + ")" +
             pick({"*", "+", "?", "{2}", "{1,2}", "{0,3}", "{2,}", "*?"});
    case 3:
      return "^" + random_pattern(rng, depth - 1);
    case 4:
      return random_pattern(rng, depth - 1) + "$";
    default:
      return random_pattern(rng, depth - 1) + random_pattern(rng, depth - 1) +
             random_pattern(rng, depth - 1);
  }
}

TEST(Regex, agrees_with_the_standard_library_on_random_patterns) {
  std::mt19937_64 rng(3);
  int n_matches = 0;
  for (int i = 0; i < 1500; ++i) {
    const std::string pattern = random_pattern(rng, 4);
    const std::regex expected(pattern);
    const CharDfa dfa = compile(pattern);
    for (int k = 0; k < 40; ++k) {
      std::string text;
      for (uint64_t n = rng() % 8; n > 0; --n) text += "abc1. "[rng() % 6];
      const bool matches = std::regex_search(text, expected);
      n_matches += matches;
      ASSERT_EQ(dfa.matches(text), matches) << pattern << " on \"" << text << "\"";
    }
  }
  EXPECT_GT(n_matches, 5000);  // of 60,000: both outcomes are there
}

TEST(Regex, reads_characters_and_not_bytes) {
  EXPECT_TRUE(compile("^.{3}$").matches("日é😀"));
  EXPECT_FALSE(compile("^.{3}$").matches("日é"));
  EXPECT_TRUE(compile("^[😀-😂]$").matches("😁"));
  EXPECT_TRUE(
      compile("^\\u{1F600}\\ud83d\\ude00\\x41\\cJ\\0$").matches(std::string_view("😀😀A\n\0", 11)));
  EXPECT_TRUE(compile("^\\p{L}\\P{L}\\p{N}$").matches("é-٣"));
  EXPECT_FALSE(compile("^.$").matches("\n"));
  EXPECT_TRUE(compile("^[^]$").matches("\n"));
}

TEST(Regex, refuses_what_it_does_not_understand) {
  for (const char* pattern : {"(?=a)", "(?!a)", "(?<=a)", "(?<!a)", "\\ba", "(a)\\1", "\\k<n>",
                              "\\p{Script=Greek}", "\\q", "a{2000000}", "\\01", "(?i:a)"}) {
    EXPECT_EQ(code_of(pattern), ErrorCode::kUnsupported) << pattern;
  }
  for (const char* pattern : {"(", ")", "[", "a{", "*", "a**", "a{2,1}", "[b-a]", "\\", "\\x1",
                              "\\u{110000}", "\\ud800", "[\\d-a]", "^*", "(?<n", "a{1", "\\p{L"}) {
    EXPECT_EQ(code_of(pattern), ErrorCode::kInvalidInput) << pattern;
  }
}

TEST(Regex, refuses_exponential_automata_in_bounded_time) {
  for (const char* pattern :
       {"a.{60}$", "(a|b)*a(a|b){40}$", "((a{100}){100}){100}", "(x+x+)+{9}",
        "(.*a.*b.*c.*d.*e.*f.*g.*h.*i.*j.*k.*l){20}", "((((a?){50}){50}){50}){50}"}) {
    EXPECT_THROW(compile(pattern), Error) << pattern;
  }
  EXPECT_THROW(compile(std::string(100'000, '(')), Error);
  EXPECT_THROW(compile(std::string(100'000, '[')), Error);
}

TEST(CharDfa, combines_languages) {
  AutomatonBudget budget;
  const CharDfa a = compile("^a+$");
  const CharDfa even = compile("^(..)*$");
  EXPECT_TRUE(a.intersect(even, budget, "").matches("aa"));
  EXPECT_FALSE(a.intersect(even, budget, "").matches("a"));
  EXPECT_TRUE(a.subtract(even, budget, "").matches("a"));
  EXPECT_FALSE(a.subtract(even, budget, "").matches("aa"));
  EXPECT_TRUE(a.intersect(compile("^b+$"), budget, "").is_empty());
  EXPECT_TRUE(a.intersect_length(2, 3, budget, "").matches("aaa"));
  EXPECT_FALSE(a.intersect_length(2, 3, budget, "").matches("aaaa"));
  const CharDfa without = CharDfa::without("aab");
  for (const char* text : {"", "a", "aa", "ab", "aaab", "aaaab", "aabaab", "baba"}) {
    EXPECT_EQ(without.matches(text), std::string_view(text).find("aab") == std::string_view::npos)
        << text;
  }
}

}  // namespace
}  // namespace dsv4
