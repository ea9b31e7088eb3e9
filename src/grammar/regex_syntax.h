// The syntax tree of a regular expression.
#pragma once

#include "grammar/char_dfa.h"

#include <cstdint>
#include <string_view>
#include <vector>

namespace dsv4 {

struct RegexNode {
  enum class Kind {
    kChars,        // one of `chars`
    kSequence,     // the children one after the other; of none: the empty string
    kAlternation,  // one of the children
    kRepeat,       // the only child `min` to `max` times
    kBegin,        // ^
    kEnd,          // $
  };
  static constexpr uint32_t kNoLimit = ~uint32_t{0};

  Kind kind = Kind::kSequence;
  std::vector<CharRange> chars = {};  // normalised
  std::vector<RegexNode> children = {};
  uint32_t min = 0;
  uint32_t max = 0;  // kNoLimit: any number
};

// Errors as compile_regex (regex.h).
RegexNode parse_regex(std::string_view pattern, std::string_view where);

}  // namespace dsv4
