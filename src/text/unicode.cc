#include "text/unicode.h"

#include <cstring>

namespace dsv4 {

CodePoint decode_utf8(std::string_view text, size_t position) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[position + i]); };
  const unsigned char lead = byte(0);
  if (lead < 0x80) return {lead, 1, Utf8Status::kWellFormed};
  const auto ill_formed = [](int length) {
    return CodePoint{kReplacementCharacter, static_cast<uint8_t>(length), Utf8Status::kIllFormed};
  };
  if (lead < 0xC2 || lead > 0xF4) return ill_formed(1);

  // The second byte has a narrower range after E0, ED, F0 and F4: no overlong forms, surrogates or
  // values above U+10FFFF.
  const int length = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  const unsigned char low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  const unsigned char high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  char32_t value = lead & (0x7Fu >> length);
  for (int i = 1; i < length; ++i) {
    if (position + static_cast<size_t>(i) >= text.size()) {
      return {kReplacementCharacter, static_cast<uint8_t>(i), Utf8Status::kIncomplete};
    }
    const unsigned char next = byte(static_cast<size_t>(i));
    if (next < (i == 1 ? low : 0x80) || next > (i == 1 ? high : 0xBF)) return ill_formed(i);
    value = value << 6 | (next & 0x3Fu);
  }
  return {value, static_cast<uint8_t>(length), Utf8Status::kWellFormed};
}

void append_utf8(std::string& out, char32_t code_point) {
  const auto put = [&](char32_t bits) { out += static_cast<char>(bits); };
  if (code_point < 0x80) {
    put(code_point);
  } else if (code_point < 0x800) {
    put(0xC0 | code_point >> 6);
    put(0x80 | (code_point & 0x3F));
  } else if (code_point < 0x10000) {
    put(0xE0 | code_point >> 12);
    put(0x80 | (code_point >> 6 & 0x3F));
    put(0x80 | (code_point & 0x3F));
  } else {
    put(0xF0 | code_point >> 18);
    put(0x80 | (code_point >> 12 & 0x3F));
    put(0x80 | (code_point >> 6 & 0x3F));
    put(0x80 | (code_point & 0x3F));
  }
}

size_t well_formed_utf8_prefix(std::string_view text) {
  size_t position = 0;
  while (position < text.size()) {
    // Eight ASCII bytes at a time: most of what is checked is ASCII.
    uint64_t block = 0;
    if (position + sizeof block <= text.size()) {
      std::memcpy(&block, text.data() + position, sizeof block);
      if ((block & 0x8080808080808080u) == 0) {
        position += sizeof block;
        continue;
      }
    }
    const CodePoint code_point = decode_utf8(text, position);
    if (code_point.status != Utf8Status::kWellFormed) return position;
    position += code_point.length;
  }
  return position;
}

std::string replace_ill_formed_utf8(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const size_t n_good = well_formed_utf8_prefix(text);
    out += text.substr(0, n_good);
    text.remove_prefix(n_good);
    if (text.empty()) break;
    append_utf8(out, kReplacementCharacter);
    text.remove_prefix(decode_utf8(text, 0).length);
  }
  return out;
}

}  // namespace dsv4
