// Regular expressions of JSON schemas ("pattern"): the regular part of ECMA 262 with the flag "u".
//
// Understood: literals, `.`, classes, \d \w \s and their opposites, \p{L} \p{N} \p{M}, escapes
// (\n \t \r \f \v \0 \cX \xHH \uHHHH \u{H}), groups (also named), alternation, ^ and $, and the
// quantifiers * + ? {m} {m,} {m,n}, also lazy. Refused: look-around, references to groups, \b,
// other properties.
#pragma once

#include "grammar/char_dfa.h"

#include <string_view>

namespace dsv4 {

// The strings that contain a match. Throws Error(kInvalidInput) at `where` with the byte offset for
// what is no regular expression, and Error(kUnsupported) for what is not understood or too large.
CharDfa compile_regex(std::string_view pattern, AutomatonBudget& budget, std::string_view where);

}  // namespace dsv4
