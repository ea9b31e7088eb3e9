// Splitting of text into pre-tokens, the pieces inside which byte pairs are merged. The rules are
// the three regular expressions of the published tokenizer.json, matched by hand: linear time on
// any input, and the character classes of the reference instead of a library's.
#pragma once

#include <string_view>
#include <vector>

namespace dsv4 {

// The expressions that pretokenize() implements, in their order; each one splits every piece that
// the one before left ("isolated": matches and what is between them become pieces).
inline constexpr std::string_view kSplitNumbers = R"(\p{N}{1,3})";
inline constexpr std::string_view kSplitHanAndKana = "[一-龥\u3040-ゟ゠-ヿ]+";
inline constexpr std::string_view kSplitWords =
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+"
    "|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"
    "| ?[\\p{P}\\p{S}]+[\r\n]*"
    "|\\s*[\r\n]+"
    "|\\s+(?!\\S)"
    "|\\s+";

// The pieces of `text` in order, without gaps; they view it. Ill-formed UTF-8 counts as U+FFFD.
std::vector<std::string_view> pretokenize(std::string_view text);

}  // namespace dsv4
