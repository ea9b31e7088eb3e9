#include "text/pretokenize.h"

#include "text/unicode.h"
#include "text/unicode_classes.h"

#include <optional>

namespace dsv4 {

namespace {

// One character of the text with its class.
struct Char {
  char32_t code_point;
  size_t length;  // bytes
  CharClass char_class;

  bool is_line_end() const { return code_point == '\r' || code_point == '\n'; }
  bool is_ascii_letter() const {
    const char32_t lower = code_point | 0x20;
    return code_point < 0x80 && lower >= 'a' && lower <= 'z';
  }
  bool is_word() const {
    return char_class == CharClass::kLetter || char_class == CharClass::kMark;
  }
  bool is_space() const { return char_class == CharClass::kSpace; }
  bool is_punctuation() const { return char_class == CharClass::kPunctuation; }
  bool is_han_or_kana() const {
    return (code_point >= 0x4E00 && code_point <= 0x9FA5) ||
           (code_point >= 0x3040 && code_point <= 0x30FF);
  }
};

constexpr CharClass ascii_class(char32_t c) {
  if (c == ' ' || (c >= '\t' && c <= '\r')) return CharClass::kSpace;
  if (c < 0x20 || c == 0x7F) return CharClass::kOther;
  if (c >= '0' && c <= '9') return CharClass::kNumber;
  const char32_t lower = c | 0x20;
  return lower >= 'a' && lower <= 'z' ? CharClass::kLetter : CharClass::kPunctuation;
}

// The character at `position`; nothing at the end of the text.
std::optional<Char> char_at(std::string_view text, size_t position) {
  if (position >= text.size()) return std::nullopt;
  const auto byte = static_cast<unsigned char>(text[position]);
  if (byte < 0x80) return Char{byte, 1, ascii_class(byte)};
  const CodePoint c = decode_utf8(text, position);
  return Char{c.value, c.length, char_class(c.value)};
}

// The end of the longest run from `position` whose characters all satisfy `predicate`.
template <typename Predicate>
size_t run_end(std::string_view text, size_t position, const Predicate& predicate) {
  std::optional<Char> c = char_at(text, position);
  while (c && predicate(*c)) {
    position += c->length;
    c = char_at(text, position);
  }
  return position;
}

// Where a match of white space beginning at `position` ends (alternatives D, E and F of the third
// expression): behind the last line end of the run if it has one; else before its last character,
// which stays for the word behind it, unless the run is one character or ends the piece.
size_t match_space(std::string_view piece, size_t position) {
  size_t last_line_end = 0;
  size_t last_start = position;
  size_t end = position;
  for (std::optional<Char> c = char_at(piece, end); c && c->is_space(); c = char_at(piece, end)) {
    last_start = end;
    end += c->length;
    if (c->is_line_end()) last_line_end = end;
  }
  if (last_line_end != 0) return last_line_end;
  return end == piece.size() || last_start == position ? end : last_start;
}

// The end of the match of the third expression at `position`, or `position` if there is none.
size_t match_word(std::string_view piece, size_t position) {
  const auto is_ascii_letter = [](const Char& c) { return c.is_ascii_letter(); };
  const auto is_word = [](const Char& c) { return c.is_word(); };
  const auto is_punctuation = [](const Char& c) { return c.is_punctuation(); };
  const auto is_line_end = [](const Char& c) { return c.is_line_end(); };

  const Char first = *char_at(piece, position);
  const size_t behind = position + first.length;
  const std::optional<Char> second = char_at(piece, behind);

  // A: one ASCII punctuation character with ASCII letters.
  if (first.is_punctuation() && first.code_point < 0x80 && second && second->is_ascii_letter()) {
    return run_end(piece, behind, is_ascii_letter);
  }
  // B: letters and marks, with one character before them that is none of these.
  if (first.is_word()) return run_end(piece, behind, is_word);
  if (!first.is_line_end() && !first.is_punctuation() && second && second->is_word()) {
    return run_end(piece, behind, is_word);
  }
  // C: punctuation with one space before and line ends behind it.
  if (first.is_punctuation() || (first.code_point == ' ' && second && second->is_punctuation())) {
    return run_end(piece, run_end(piece, behind, is_punctuation), is_line_end);
  }
  return first.is_space() ? match_space(piece, position) : position;
}

// The third expression over one piece of the first two.
void split_words(std::string_view piece, std::vector<std::string_view>& out) {
  size_t gap = 0;  // start of the characters that no match has taken
  size_t position = 0;
  while (position < piece.size()) {
    const size_t end = match_word(piece, position);
    if (end == position) {
      position += char_at(piece, position)->length;
      continue;
    }
    if (gap != position) out.push_back(piece.substr(gap, position - gap));
    out.push_back(piece.substr(position, end - position));
    gap = position = end;
  }
  if (gap != piece.size()) out.push_back(piece.substr(gap));
}

// A run of numbers in groups of three.
void split_numbers(std::string_view run, std::vector<std::string_view>& out) {
  constexpr int kGroup = 3;
  while (!run.empty()) {
    size_t end = 0;
    for (int i = 0; i < kGroup && end < run.size(); ++i) end += char_at(run, end)->length;
    out.push_back(run.substr(0, end));
    run.remove_prefix(end);
  }
}

enum class PieceKind { kNumbers, kHanAndKana, kOther };

PieceKind piece_kind(const Char& c) {
  if (c.char_class == CharClass::kNumber) return PieceKind::kNumbers;
  return c.is_han_or_kana() ? PieceKind::kHanAndKana : PieceKind::kOther;
}

}  // namespace

std::vector<std::string_view> pretokenize(std::string_view text) {
  std::vector<std::string_view> out;
  out.reserve(text.size() / 4);
  size_t position = 0;
  while (position < text.size()) {
    const PieceKind kind = piece_kind(*char_at(text, position));
    const size_t end =
        run_end(text, position, [kind](const Char& c) { return piece_kind(c) == kind; });
    const std::string_view piece = text.substr(position, end - position);
    // The third expression applies to Han and kana too: it splits at the kana punctuation.
    kind == PieceKind::kNumbers ? split_numbers(piece, out) : split_words(piece, out);
    position = end;
  }
  return out;
}

}  // namespace dsv4
