// Reading of JSON text: recursive descent with a cap on depth, linear in the text.
#include "text/json.h"

#include "base/error.h"
#include "base/json.h"
#include "text/string_index.h"
#include "text/unicode.h"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <limits>
#include <optional>

namespace dsv4 {

namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// from_chars does not tell an overflow from an underflow: the power of ten of the first digit that
// is not zero does. `number` is a JSON number that no double represents.
double out_of_range_value(std::string_view number) {
  const bool negative = number.front() == '-';
  if (negative) number.remove_prefix(1);
  const size_t e = std::min(number.find_first_of("eE"), number.size());
  int64_t exponent = 0;
  if (e < number.size()) {
    std::string_view digits = number.substr(e + 1);
    const bool minus = digits.front() == '-';
    if (!is_digit(digits.front())) digits.remove_prefix(1);
    // Anything with more digits than the text can have zeros decides by its sign alone.
    const auto result = std::from_chars(digits.data(), digits.data() + digits.size(), exponent);
    if (result.ec != std::errc()) exponent = std::numeric_limits<int64_t>::max() / 2;
    if (minus) exponent = -exponent;
  }
  const std::string_view mantissa = number.substr(0, e);
  const size_t point = std::min(mantissa.find('.'), mantissa.size());
  const size_t first = mantissa.find_first_not_of("0.");
  exponent += static_cast<int64_t>(point) - static_cast<int64_t>(std::min(first, mantissa.size()));
  const double value = exponent > 0 ? std::numeric_limits<double>::infinity() : 0.0;
  return negative ? -value : value;
}

// Of a repeated key the first position and the last value stay. Sorting finds the repetitions: a
// hash table would be slow for keys that were chosen to collide.
void merge_repeated_keys(Json::Object& members) {
  struct Item {
    uint64_t beginning;
    size_t index;
  };
  std::vector<Item> items(members.size());
  for (size_t i = 0; i < members.size(); ++i) {
    items[i] = {string_beginning(members[i].key), i};
  }
  std::sort(items.begin(), items.end(), [&](const Item& a, const Item& b) {
    if (a.beginning != b.beginning) return a.beginning < b.beginning;
    const int order = members[a.index].key.compare(members[b.index].key);
    return order != 0 ? order < 0 : a.index < b.index;
  });
  std::vector<bool> repeated(members.size());
  bool any = false;
  size_t first = 0;  // the item with the first position of the current key
  for (size_t i = 1; i < items.size(); ++i) {
    if (members[items[i].index].key != members[items[first].index].key) {
      first = i;
      continue;
    }
    members[items[first].index].value = std::move(members[items[i].index].value);
    repeated[items[i].index] = any = true;
  }
  if (!any) return;
  size_t n_kept = 0;
  for (size_t i = 0; i < members.size(); ++i) {
    if (repeated[i]) continue;
    if (n_kept != i) members[n_kept] = std::move(members[i]);
    ++n_kept;
  }
  members.resize(n_kept);
}

}  // namespace

class JsonParser {
 public:
  JsonParser(std::string_view text, std::string_view where, Json::NonFinite non_finite)
      : text_(text), where_(where), non_finite_(non_finite) {}

  Json parse_document() {
    if (const size_t bad = well_formed_utf8_prefix(text_); bad != text_.size()) {
      position_ = bad;
      fail("ill-formed UTF-8");
    }
    Json value = parse_value();
    skip_space();
    if (position_ != text_.size()) fail("expected the end of the text");
    return value;
  }

 private:
  [[noreturn]] void fail(std::string_view what) const {
    throw Error(ErrorCode::kInvalidInput, std::string(where_),
                fmt::format("not valid JSON at byte {}: {}{}", position_, what,
                            position_ == text_.size() ? ", but the text ends here" : ""));
  }

  // The byte at the cursor; NUL, which is no part of any token, at the end.
  char peek() const { return position_ < text_.size() ? text_[position_] : '\0'; }

  void skip_space() {
    while (position_ < text_.size() &&
           std::string_view(" \t\n\r").find(text_[position_]) != std::string_view::npos) {
      ++position_;
    }
  }

  bool take(char c) {
    if (peek() != c || position_ == text_.size()) return false;
    ++position_;
    return true;
  }

  bool take_word(std::string_view word) {
    if (!text_.substr(position_).starts_with(word)) return false;
    position_ += word.size();
    return true;
  }

  Json parse_value() {
    skip_space();
    switch (peek()) {
      case '{':
        return parse_object();
      case '[':
        return parse_array();
      case '"':
        return Json(parse_string());
      default:
        if (is_digit(peek()) || peek() == '-') return parse_number();
        if (take_word("true")) return Json(true);
        if (take_word("false")) return Json(false);
        if (take_word("null")) return Json();
        return parse_non_finite();
    }
  }

  Json parse_non_finite() {
    if (non_finite_ == Json::NonFinite::kAccept) {
      if (take_word("NaN")) return Json(std::numeric_limits<double>::quiet_NaN());
      if (take_word("Infinity")) return Json(std::numeric_limits<double>::infinity());
      if (take_word("-Infinity")) return Json(-std::numeric_limits<double>::infinity());
    }
    fail("expected a value");
  }

  Json parse_array() {
    enter();
    Json::Array items;
    if (skip_space(); !take(']')) {
      do {
        items.push_back(parse_value());
        skip_space();
      } while (take(','));
      if (!take(']')) fail("expected ',' or ']'");
    }
    --depth_;
    return Json(std::move(items));
  }

  Json parse_object() {
    enter();
    Json::Object members;
    if (skip_space(); !take('}')) {
      do {
        skip_space();
        if (peek() != '"') fail("expected a key in double quotes");
        std::string key = parse_string();
        skip_space();
        if (!take(':')) fail("expected ':'");
        members.push_back({std::move(key), parse_value()});
        skip_space();
      } while (take(','));
      if (!take('}')) fail("expected ',' or '}'");
    }
    --depth_;
    merge_repeated_keys(members);
    return Json(std::move(members));
  }

  void enter() {
    if (++depth_ > kMaxJsonDepth) fail(fmt::format("nested deeper than {} levels", kMaxJsonDepth));
    ++position_;
  }

  Json parse_number() {
    const size_t begin = position_;
    take('-');
    if (!is_digit(peek())) {
      position_ = begin;
      return parse_non_finite();
    }
    if (!take('0')) skip_digits();
    bool is_integer = true;
    if (peek() == '.') {
      ++position_;
      if (!is_digit(peek())) fail("expected a digit after the decimal point");
      skip_digits();
      is_integer = false;
    }
    if (peek() == 'e' || peek() == 'E') {
      ++position_;
      if (peek() == '+' || peek() == '-') ++position_;
      if (!is_digit(peek())) fail("expected a digit in the exponent");
      skip_digits();
      is_integer = false;
    }
    const std::string_view number = text_.substr(begin, position_ - begin);
    if (is_integer) {
      Json value;
      value.set_digits(std::string(number == "-0" ? "0" : number));
      return value;
    }
    double parsed = 0;
    const auto result = std::from_chars(number.data(), number.data() + number.size(), parsed);
    if (result.ec == std::errc::result_out_of_range) parsed = out_of_range_value(number);
    return Json(parsed);
  }

  void skip_digits() {
    while (is_digit(peek())) ++position_;
  }

  // The cursor is on the opening quote.
  std::string parse_string() {
    std::string out;
    ++position_;
    for (;;) {
      size_t end = position_;
      while (end < text_.size() && text_[end] != '"' && text_[end] != '\\' &&
             static_cast<unsigned char>(text_[end]) >= 0x20) {
        ++end;
      }
      out += text_.substr(position_, end - position_);
      position_ = end;
      if (take('"')) return out;
      if (!take('\\')) {
        fail(position_ == text_.size() ? "unterminated string"
                                       : "control characters in strings must be escaped");
      }
      parse_escape(out);
    }
  }

  void parse_escape(std::string& out) {
    constexpr std::string_view kLetters = "\"\\/bfnrt";
    constexpr std::string_view kMeanings = "\"\\/\b\f\n\r\t";
    if (position_ == text_.size()) fail("unterminated string");
    const char letter = text_[position_];
    if (const size_t i = kLetters.find(letter); i != std::string_view::npos) {
      out += kMeanings[i];
      ++position_;
      return;
    }
    if (letter != 'u') fail("unknown escape");
    ++position_;
    const std::optional<char32_t> unit = take_hex4();
    if (!unit) fail("expected four hexadecimal digits after \\u");
    append_utf8(out, join_surrogates(*unit));
  }

  // A high surrogate takes the low one behind it; one without a partner is U+FFFD.
  char32_t join_surrogates(char32_t unit) {
    if (unit < 0xD800 || unit > 0xDFFF) return unit;
    const size_t begin = position_;
    if (unit < 0xDC00 && take_word("\\u")) {
      const std::optional<char32_t> low = take_hex4();
      if (low && *low >= 0xDC00 && *low <= 0xDFFF) {
        return 0x10000 + ((unit - 0xD800) << 10) + (*low - 0xDC00);
      }
      position_ = begin;
    }
    return kReplacementCharacter;
  }

  std::optional<char32_t> take_hex4() {
    const std::string_view digits = text_.substr(position_, 4);
    uint32_t value = 0;
    const auto [end, error] =
        std::from_chars(digits.data(), digits.data() + digits.size(), value, 16);
    if (error != std::errc() || end != digits.data() + 4) return std::nullopt;
    position_ += 4;
    return value;
  }

  std::string_view text_;
  std::string_view where_;
  Json::NonFinite non_finite_;
  size_t position_ = 0;
  int depth_ = 0;
};

Json Json::parse(std::string_view text, std::string_view where, NonFinite non_finite) {
  return JsonParser(text, where, non_finite).parse_document();
}

}  // namespace dsv4
