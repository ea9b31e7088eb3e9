#include "text/pretokenize.h"

#include "text/unicode.h"
#include "text/unicode_classes.h"

#include <gtest/gtest.h>

#include <functional>
#include <random>
#include <string>

namespace dsv4 {
namespace {

using Pieces = std::vector<std::string>;

Pieces split(std::string_view text) {
  Pieces pieces;
  for (const std::string_view piece : pretokenize(text)) pieces.emplace_back(piece);
  return pieces;
}

TEST(Pretokenize, examples_of_each_rule) {
  EXPECT_EQ(split(""), Pieces{});
  EXPECT_EQ(split("1234567"), (Pieces{"123", "456", "7"}));
  EXPECT_EQ(split("½①Ⅷ９"), (Pieces{"½①Ⅷ", "９"}));
  EXPECT_EQ(split("(foo((foo"), (Pieces{"(foo", "((", "foo"}));
  EXPECT_EQ(split(".été"), (Pieces{".", "été"}));
  EXPECT_EQ(split(" hello world"), (Pieces{" hello", " world"}));
  EXPECT_EQ(split("a   b"), (Pieces{"a", "  ", " b"}));
  EXPECT_EQ(split("a   1"), (Pieces{"a", "   ", "1"}));
  EXPECT_EQ(split("a   你"), (Pieces{"a", "   ", "你"}));
  EXPECT_EQ(split("x;\n\n  y"), (Pieces{"x", ";\n\n", " ", " y"}));
  EXPECT_EQ(split(" \n \n  x"), (Pieces{" \n \n", " ", " x"}));
  EXPECT_EQ(split("a\t\tb "), (Pieces{"a", "\t", "\tb", " "}));
  EXPECT_EQ(split("你好，世界"), (Pieces{"你好", "，", "世界"}));
  EXPECT_EQ(split("カ・ナ"), (Pieces{"カ", "・", "ナ"}));
  EXPECT_EQ(split("\x01\x02z\x01"), (Pieces{"\x01", "\x02z", "\x01"}));
  EXPECT_EQ(split("e\u0301\u0301 \u0301"), (Pieces{"e\u0301\u0301", " \u0301"}));
  EXPECT_EQ(split("<div>"), (Pieces{"<div", ">"}));
}

// A literal backtracking matcher of the three expressions over code points, as an oracle.
class Oracle {
 public:
  static Pieces split(const std::u32string& text) {
    std::vector<std::u32string> pieces = {text};
    for (const Matcher& matcher : {Matcher(numbers), Matcher(han), Matcher(words)}) {
      std::vector<std::u32string> next;
      for (const std::u32string& piece : pieces) isolate(piece, matcher, next);
      pieces = std::move(next);
    }
    Pieces out;
    for (const std::u32string& piece : pieces) {
      std::string utf8;
      for (const char32_t c : piece) append_utf8(utf8, c);
      out.push_back(utf8);
    }
    return out;
  }

 private:
  using Matcher = std::function<size_t(const std::u32string&, size_t)>;  // length, 0 if none
  using Set = std::function<bool(char32_t)>;

  static void isolate(const std::u32string& piece, const Matcher& matcher,
                      std::vector<std::u32string>& out) {
    std::u32string gap;
    for (size_t i = 0; i < piece.size();) {
      const size_t n = matcher(piece, i);
      if (n == 0) {
        gap += piece[i++];
        continue;
      }
      if (!gap.empty()) out.push_back(std::exchange(gap, {}));
      out.push_back(piece.substr(i, n));
      i += n;
    }
    if (!gap.empty()) out.push_back(gap);
  }

  static size_t count(const std::u32string& t, size_t i, const Set& set) {
    size_t n = 0;
    while (i + n < t.size() && set(t[i + n])) ++n;
    return n;
  }

  static bool is(char32_t c, CharClass wanted) { return char_class(c) == wanted; }
  static bool line_end(char32_t c) { return c == '\r' || c == '\n'; }
  static bool letter_or_mark(char32_t c) {
    return is(c, CharClass::kLetter) || is(c, CharClass::kMark);
  }
  static bool punctuation(char32_t c) { return is(c, CharClass::kPunctuation); }
  static bool space(char32_t c) { return is(c, CharClass::kSpace); }
  static bool ascii_letter(char32_t c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

  static size_t numbers(const std::u32string& t, size_t i) {
    return std::min<size_t>(3, count(t, i, [](char32_t c) { return is(c, CharClass::kNumber); }));
  }

  static size_t han(const std::u32string& t, size_t i) {
    return count(t, i, [](char32_t c) {
      return (c >= 0x4E00 && c <= 0x9FA5) || (c >= 0x3040 && c <= 0x309F) ||
             (c >= 0x30A0 && c <= 0x30FF);
    });
  }

  static size_t words(const std::u32string& t, size_t i) {
    // A
    if (t[i] < 0x80 && std::ispunct(static_cast<int>(t[i]))) {
      if (const size_t n = count(t, i + 1, ascii_letter)) return n + 1;
    }
    // B, with and without the optional character
    if (!line_end(t[i]) && !is(t[i], CharClass::kLetter) && !punctuation(t[i])) {
      if (const size_t n = count(t, i + 1, letter_or_mark)) return n + 1;
    }
    if (const size_t n = count(t, i, letter_or_mark)) return n;
    // C
    for (const size_t skip : {size_t{1}, size_t{0}}) {
      if (skip == 1 && t[i] != ' ') continue;
      const size_t n = count(t, i + skip, punctuation);
      if (n > 0) return skip + n + count(t, i + skip + n, line_end);
    }
    // D: \s* gives back one character at a time
    for (size_t n = count(t, i, space) + 1; n-- > 0;) {
      if (const size_t m = count(t, i + n, line_end)) return n + m;
    }
    // E
    for (size_t n = count(t, i, space); n > 0; --n) {
      if (i + n == t.size() || space(t[i + n])) return n;
    }
    return count(t, i, space);  // F
  }
};

TEST(Pretokenize, equals_a_backtracking_matcher) {
  const std::u32string alphabet =
      U"aZ.'(_ \u00A0\t\r\n1½é中カ・\u3099\u0301\u200D\x01，、\u3000\u2028ⅧЯ한😀々";
  std::mt19937 random(6);
  for (int round = 0; round < 60000; ++round) {
    std::u32string text;
    for (size_t n = random() % 12; n > 0; --n) text += alphabet[random() % alphabet.size()];
    std::string utf8;
    for (const char32_t c : text) append_utf8(utf8, c);
    ASSERT_EQ(split(utf8), Oracle::split(text)) << utf8;
  }
}

TEST(Pretokenize, loses_no_byte_of_ill_formed_text) {
  std::mt19937 random(7);
  for (int round = 0; round < 3000; ++round) {
    std::string bytes;
    for (size_t n = random() % 16; n > 0; --n) bytes += static_cast<char>(random());
    std::string joined;
    for (const std::string& piece : split(bytes)) {
      EXPECT_FALSE(piece.empty());
      joined += piece;
    }
    EXPECT_EQ(joined, bytes);
  }
}

}  // namespace
}  // namespace dsv4
