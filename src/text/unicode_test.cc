#include "text/unicode.h"

#include <gtest/gtest.h>

namespace dsv4 {
namespace {

TEST(Unicode, ill_formed_sequences_become_one_replacement_per_maximal_subpart) {
  const std::string r = "\uFFFD";
  EXPECT_EQ(replace_ill_formed_utf8("a\xE4\xBD"), "a" + r);
  EXPECT_EQ(replace_ill_formed_utf8("\xF0\x9F\x98"
                                    "A"),
            r + "A");
  EXPECT_EQ(replace_ill_formed_utf8("\xED\xA0\x80"), r + r + r);
  EXPECT_EQ(replace_ill_formed_utf8("\xC0\xAF"), r + r);
  EXPECT_EQ(replace_ill_formed_utf8("\xF4\x90\x80\x80"), r + r + r + r);
  EXPECT_EQ(replace_ill_formed_utf8("\xE0\x80\xAFx"), r + r + r + "x");
  EXPECT_EQ(replace_ill_formed_utf8("\xE4\xE4\xBD\xA0"), r + "你");
  EXPECT_EQ(replace_ill_formed_utf8("12345678\xFF"
                                    "12345678"),
            "12345678" + r + "12345678");
}

TEST(Unicode, every_code_point_survives) {
  for (char32_t c = 0; c <= 0x10FFFF; ++c) {
    if (c >= 0xD800 && c <= 0xDFFF) continue;
    std::string text;
    append_utf8(text, c);
    const CodePoint decoded = decode_utf8(text, 0);
    ASSERT_EQ(decoded.value, c);
    ASSERT_EQ(decoded.length, text.size());
    ASSERT_EQ(decoded.status, Utf8Status::kWellFormed);
    for (size_t n = 1; n < text.size(); ++n) {
      ASSERT_EQ(decode_utf8(text.substr(0, n), 0).status, Utf8Status::kIncomplete);
    }
  }
}

// Brute force over all short byte strings: a sequence is well-formed exactly if it is the encoding
// of some code point, and replacing is idempotent.
TEST(Unicode, all_two_byte_strings) {
  for (int a = 0; a < 256; ++a) {
    for (int b = 0; b < 256; ++b) {
      const std::string text{static_cast<char>(a), static_cast<char>(b)};
      const bool good = (a < 0x80 && b < 0x80) || (a >= 0xC2 && a < 0xE0 && (b & 0xC0) == 0x80);
      EXPECT_EQ(well_formed_utf8_prefix(text) == 2, good);
      const std::string once = replace_ill_formed_utf8(text);
      EXPECT_EQ(once == text, good);
      EXPECT_EQ(replace_ill_formed_utf8(once), once);
    }
  }
}

}  // namespace
}  // namespace dsv4
