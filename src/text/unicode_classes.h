// The classes of characters that the splitting rules of the tokenizer tell apart (Unicode 16.0, as
// the reference engine sees it). The table is generated: scripts/make-unicode-classes.py.
#pragma once

#include <cstdint>

namespace dsv4 {

enum class CharClass : uint8_t {
  kOther,        // control, format, private use, unassigned
  kLetter,       // \p{L}
  kMark,         // \p{M}
  kNumber,       // \p{N}
  kPunctuation,  // \p{P} and \p{S}
  kSpace,        // \s: the White_Space property, which has no character of the classes above
};

CharClass char_class(char32_t code_point);

}  // namespace dsv4
