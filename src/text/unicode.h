// UTF-8 as the tokenizer needs it: decoding one code point at a time, with every ill-formed
// sequence read as U+FFFD by the rule of maximal subparts (Unicode standard, section 3.9).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace dsv4 {

inline constexpr char32_t kReplacementCharacter = 0xFFFD;

enum class Utf8Status : uint8_t {
  kWellFormed,
  kIllFormed,   // `value` is U+FFFD, `length` the bytes it stands for
  kIncomplete,  // the text ends inside a sequence that was well-formed so far
};

struct CodePoint {
  char32_t value;
  uint8_t length;  // bytes, 1 to 4
  Utf8Status status;
};

// The code point at `position`, which must be inside the text.
CodePoint decode_utf8(std::string_view text, size_t position);

void append_utf8(std::string& out, char32_t code_point);

// Position of the first byte that is not part of a well-formed sequence, or text.size().
size_t well_formed_utf8_prefix(std::string_view text);

// The text with U+FFFD for every ill-formed or incomplete sequence.
std::string replace_ill_formed_utf8(std::string_view text);

}  // namespace dsv4
