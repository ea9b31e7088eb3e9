// Rules of JSON values as replies have them: white space, strings, numbers, and any value.
//
// White space is allowed behind '{', '[' and ',' and before '}' and ']': nothing, one space, or a
// line end with up to kMaxIndent spaces; behind ':' nothing or one space. So it always ends.
#pragma once

#include "grammar/char_encoding.h"
#include "grammar/grammar.h"

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace dsv4 {

inline constexpr uint32_t kMaxIndent = 64;

// Adds rules to a grammar the first time that they are asked for.
class JsonRules {
 public:
  explicit JsonRules(GrammarBuilder& builder) : builder_(builder), encoder_(builder) {}

  GrammarBuilder& builder() { return builder_; }
  CharEncoder& encoder() { return encoder_; }

  void add_space(StateId from, StateId to);  // as above
  StateId add_space(StateId from);
  StateId add_colon(StateId from);  // with the space behind it
  // A string of that many characters, with its quotes.
  void add_string(StateId from, uint32_t min, uint32_t max, StateId to);
  // Any number or integer, in the digits that number_rules.h allows.
  void add_any_number(StateId from, StateId to);
  void add_any_integer(StateId from, StateId to);
  // An array that begins with the items `first`, as far as it is long enough, and goes on with
  // `rest`, if any; of `min` to `max` items.
  void add_array(StateId from, std::span<const RuleId> first, std::optional<RuleId> rest,
                 uint32_t min, uint32_t max, StateId to);

  RuleId any_value();
  RuleId any_object();

 private:
  RuleId space();
  RuleId string();

  GrammarBuilder& builder_;
  CharEncoder encoder_;
  std::optional<RuleId> space_;
  std::optional<RuleId> string_;
  std::optional<RuleId> number_;
  std::optional<RuleId> integer_;
  std::optional<RuleId> any_value_;
  std::optional<RuleId> any_object_;
};

}  // namespace dsv4
