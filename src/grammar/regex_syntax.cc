// Recursive descent over the pattern; groups may be nested kMaxDepth deep.
#include "grammar/regex_syntax.h"

#include "base/error.h"
#include "text/unicode.h"
#include "text/unicode_classes.h"

#include <fmt/core.h>

#include <algorithm>
#include <optional>
#include <utility>

namespace dsv4 {

namespace {

constexpr int kMaxDepth = 100;
constexpr uint32_t kMaxRepeat = 1'000'000;

using Ranges = std::vector<CharRange>;

const Ranges& digits() {
  static const Ranges ranges = {{'0', '9'}};
  return ranges;
}

const Ranges& word_chars() {
  static const Ranges ranges = {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
  return ranges;
}

// White space and line ends of ECMA 262.
const Ranges& spaces() {
  static const Ranges ranges = {
      {0x09, 0x0D},     {0x20, 0x20},     {0xA0, 0xA0},     {0x1680, 0x1680}, {0x2000, 0x200A},
      {0x2028, 0x2029}, {0x202F, 0x202F}, {0x205F, 0x205F}, {0x3000, 0x3000}, {0xFEFF, 0xFEFF}};
  return ranges;
}

const Ranges& line_ends() {
  static const Ranges ranges = {{'\n', '\n'}, {'\r', '\r'}, {0x2028, 0x2029}};
  return ranges;
}

Ranges chars_of_class(CharClass wanted) {
  Ranges out;
  for (char32_t c = 0; c <= 0x10FFFF; ++c) {
    if (char_class(c) != wanted) continue;
    if (!out.empty() && out.back().high + 1 == c) {
      out.back().high = c;
    } else {
      out.push_back({c, c});
    }
  }
  return out;
}

const Ranges* property(std::string_view name) {
  static const Ranges letters = chars_of_class(CharClass::kLetter);
  static const Ranges marks = chars_of_class(CharClass::kMark);
  static const Ranges numbers = chars_of_class(CharClass::kNumber);
  if (name == "L" || name == "Letter") return &letters;
  if (name == "M" || name == "Mark") return &marks;
  if (name == "N" || name == "Number") return &numbers;
  return nullptr;
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }

class RegexParser {
 public:
  RegexParser(std::string_view text, std::string_view where) : text_(text), where_(where) {}

  RegexNode parse() {
    RegexNode node = parse_alternation(0);
    if (!at_end()) fail("unmatched ')'");
    return node;
  }

 private:
  using Kind = RegexNode::Kind;

  [[noreturn]] void fail(std::string_view what) const {
    throw Error(ErrorCode::kInvalidInput, std::string(where_),
                fmt::format("not a regular expression, at byte {}: {}", position_, what));
  }
  [[noreturn]] void refuse(std::string_view what) const {
    throw Error(ErrorCode::kUnsupported, std::string(where_),
                fmt::format("{} (at byte {}) is not supported", what, position_));
  }

  bool at_end() const { return position_ == text_.size(); }
  char peek() const { return at_end() ? '\0' : text_[position_]; }
  bool next_is(std::string_view word) const { return text_.substr(position_).starts_with(word); }
  bool take(std::string_view word) {
    if (!next_is(word)) return false;
    position_ += word.size();
    return true;
  }

  char32_t take_char() {
    const CodePoint c = decode_utf8(text_, position_);
    position_ += c.length;
    return c.value;
  }

  RegexNode parse_alternation(int depth) {
    if (depth > kMaxDepth) refuse("a group nested this deep");
    RegexNode node{Kind::kAlternation};
    do {
      node.children.push_back(parse_sequence(depth));
    } while (take("|"));
    if (node.children.size() > 1) return node;
    RegexNode only = std::move(node.children.front());
    return only;
  }

  RegexNode parse_sequence(int depth) {
    RegexNode node{Kind::kSequence};
    while (!at_end() && peek() != '|' && peek() != ')') {
      node.children.push_back(parse_quantified(depth));
    }
    return node;
  }

  RegexNode parse_quantified(int depth) {
    RegexNode atom = parse_atom(depth);
    const bool is_assertion = atom.kind == Kind::kBegin || atom.kind == Kind::kEnd;
    RegexNode repeat{Kind::kRepeat};
    if (take("*")) {
      repeat.max = RegexNode::kNoLimit;
    } else if (take("+")) {
      repeat.min = 1;
      repeat.max = RegexNode::kNoLimit;
    } else if (take("?")) {
      repeat.max = 1;
    } else if (peek() == '{') {
      parse_bounds(repeat);
    } else {
      return atom;
    }
    if (is_assertion) fail("nothing to repeat");
    take("?");  // lazy: which match is found does not matter
    if (next_is("*") || next_is("+") || next_is("?") || next_is("{")) fail("nothing to repeat");
    repeat.children.push_back(std::move(atom));
    return repeat;
  }

  void parse_bounds(RegexNode& repeat) {
    ++position_;
    repeat.min = parse_count();
    repeat.max = repeat.min;
    if (take(",")) repeat.max = peek() == '}' ? RegexNode::kNoLimit : parse_count();
    if (!take("}")) fail("expected '}'");
    if (repeat.max < repeat.min) fail("the bounds of the repetition are out of order");
  }

  uint32_t parse_count() {
    if (!is_digit(peek())) fail("expected a number of repetitions");
    uint32_t value = 0;
    while (is_digit(peek())) {
      value = value * 10 + static_cast<uint32_t>(peek() - '0');
      if (value > kMaxRepeat) refuse("a repetition this large");
      ++position_;
    }
    return value;
  }

  RegexNode parse_atom(int depth) {
    switch (peek()) {
      case '^':
        ++position_;
        return {Kind::kBegin};
      case '$':
        ++position_;
        return {Kind::kEnd};
      case '(':
        return parse_group(depth);
      case '[':
        return {Kind::kChars, parse_class()};
      case '.':
        ++position_;
        return {Kind::kChars, complement(line_ends())};
      case '\\':
        return {Kind::kChars, parse_escape(Place::kOutside)};
      case '*':
      case '+':
      case '?':
      case '{':
        fail("nothing to repeat");
      default: {
        const char32_t c = take_char();
        return {Kind::kChars, {{c, c}}};
      }
    }
  }

  RegexNode parse_group(int depth) {
    ++position_;
    if (next_is("?=") || next_is("?!")) refuse("a look-ahead");
    if (next_is("?<=") || next_is("?<!")) refuse("a look-behind");
    if (take("?<")) {
      const size_t end = text_.find('>', position_);
      if (end == text_.npos) fail("expected '>' behind the name of a group");
      position_ = end + 1;
    } else if (next_is("?") && !take("?:")) {
      refuse("this kind of group");
    }
    RegexNode node = parse_alternation(depth + 1);
    if (!take(")")) fail("expected ')'");
    return node;
  }

  Ranges parse_class() {
    ++position_;
    const bool is_negated = take("^");
    Ranges ranges;
    while (!take("]")) {
      if (at_end()) fail("expected ']'");
      const Ranges low = parse_class_atom();
      if (peek() != '-' || next_is("-]")) {
        ranges.insert(ranges.end(), low.begin(), low.end());
        continue;
      }
      ++position_;
      if (at_end()) fail("expected ']'");
      const Ranges high = parse_class_atom();
      const auto is_single = [](const Ranges& r) {
        return r.size() == 1 && r.front().low == r.front().high;
      };
      if (!is_single(low) || !is_single(high)) fail("a class cannot bound a range");
      if (low.front().low > high.front().low) fail("the range is out of order");
      ranges.push_back({low.front().low, high.front().low});
    }
    return is_negated ? complement(std::move(ranges)) : without_surrogates(std::move(ranges));
  }

  static Ranges without_surrogates(Ranges ranges) {
    return complement(complement(std::move(ranges)));
  }

  Ranges parse_class_atom() {
    if (peek() == '\\') return parse_escape(Place::kInClass);
    const char32_t c = take_char();
    return {{c, c}};
  }

  enum class Place { kOutside, kInClass };

  Ranges parse_escape(Place place) {
    ++position_;
    if (at_end()) fail("'\\' at the end");
    const char letter = peek();
    if (letter == 'b' && place == Place::kInClass) return single(1, '\b');
    if (letter == 'b' || letter == 'B') refuse("a word boundary");
    if (letter == 'k' || (letter >= '1' && letter <= '9')) refuse("a reference to a group");
    switch (letter) {
      case 'd':
        return take_set(digits(), false);
      case 'D':
        return take_set(digits(), true);
      case 'w':
        return take_set(word_chars(), false);
      case 'W':
        return take_set(word_chars(), true);
      case 's':
        return take_set(spaces(), false);
      case 'S':
        return take_set(spaces(), true);
      case 'p':
      case 'P':
        return parse_property();
      default:
        return parse_char_escape();
    }
  }

  Ranges take_set(const Ranges& ranges, bool is_negated) {
    ++position_;
    return is_negated ? complement(ranges) : ranges;
  }

  Ranges single(size_t n_bytes, char32_t c) {
    position_ += n_bytes;
    return {{c, c}};
  }

  Ranges parse_property() {
    const bool is_negated = peek() == 'P';
    ++position_;
    if (!take("{")) fail("expected '{' behind \\p");
    const size_t end = text_.find('}', position_);
    if (end == text_.npos) fail("expected '}' behind the name of a property");
    const Ranges* ranges = property(text_.substr(position_, end - position_));
    if (ranges == nullptr) refuse("a property other than L, M and N");
    position_ = end + 1;
    return is_negated ? complement(*ranges) : *ranges;
  }

  Ranges parse_char_escape() {
    constexpr std::string_view kLetters = "nrtfv0";
    constexpr std::string_view kMeanings("\n\r\t\f\v\0", 6);
    const char letter = peek();
    if (letter == '0' && position_ + 1 < text_.size() && is_digit(text_[position_ + 1])) {
      refuse("an octal escape");
    }
    if (const size_t i = kLetters.find(letter); i != kLetters.npos) {
      return single(1, static_cast<char32_t>(kMeanings[i]));
    }
    if (letter == 'x') return single(3, parse_hex(position_ + 1, 2));
    if (letter == 'c') return parse_control();
    if (letter == 'u') return parse_unicode();
    const bool is_letter = (letter >= 'a' && letter <= 'z') || (letter >= 'A' && letter <= 'Z');
    if (is_letter) refuse(fmt::format("the escape \\{}", letter));
    const char32_t c = take_char();
    return {{c, c}};
  }

  Ranges parse_control() {
    const char letter = position_ + 1 < text_.size() ? text_[position_ + 1] : '\0';
    const char upper = static_cast<char>(letter & ~0x20);
    if (upper < 'A' || upper > 'Z') fail("expected a letter behind \\c");
    return single(2, static_cast<char32_t>(upper - 'A' + 1));
  }

  Ranges parse_unicode() {
    if (position_ + 1 < text_.size() && text_[position_ + 1] == '{') {
      const size_t end = text_.find('}', position_);
      if (end == text_.npos || end == position_ + 2 || end > position_ + 8) {
        fail("expected \\u{...}");
      }
      const size_t n_digits = end - position_ - 2;
      return single(n_digits + 3, scalar(parse_hex(position_ + 2, n_digits)));
    }
    const char32_t first = parse_hex(position_ + 1, 4);
    const bool is_pair = first >= 0xD800 && first < 0xDC00 &&
                         text_.substr(position_ + 5).starts_with("\\u") &&
                         position_ + 11 <= text_.size();
    if (!is_pair) return single(5, scalar(first));
    const char32_t second = parse_hex(position_ + 7, 4);
    if (second < 0xDC00 || second > 0xDFFF) fail("half of a surrogate pair");
    return single(11, 0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00));
  }

  char32_t scalar(char32_t c) const {
    if (c > 0x10FFFF) fail("a code point above U+10FFFF");
    if (c >= 0xD800 && c <= 0xDFFF) fail("half of a surrogate pair");
    return c;
  }

  char32_t parse_hex(size_t begin, size_t n_digits) const {
    char32_t value = 0;
    for (size_t i = begin; i < begin + n_digits; ++i) {
      const char c = i < text_.size() ? text_[i] : '\0';
      const char lower = static_cast<char>(c | 0x20);
      if (is_digit(c)) {
        value = value * 16 + static_cast<char32_t>(c - '0');
      } else if (lower >= 'a' && lower <= 'f') {
        value = value * 16 + static_cast<char32_t>(lower - 'a' + 10);
      } else {
        fail("expected a hexadecimal digit");
      }
    }
    return value;
  }

  std::string_view text_;
  std::string_view where_;
  size_t position_ = 0;
};

}  // namespace

RegexNode parse_regex(std::string_view pattern, std::string_view where) {
  return RegexParser(pattern, where).parse();
}

}  // namespace dsv4
