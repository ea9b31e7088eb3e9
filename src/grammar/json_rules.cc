#include "grammar/json_rules.h"

#include "grammar/number_rules.h"

#include <algorithm>

namespace dsv4 {

RuleId JsonRules::space() {
  if (space_) return *space_;
  space_ = builder_.add_rule();
  const GrammarBuilder::Rule rule = builder_.rule(*space_);
  builder_.add_jump(rule.start, rule.end);
  builder_.add_byte(rule.start, ' ', rule.end);
  StateId at = builder_.add_state();
  builder_.add_byte(rule.start, '\n', at);
  builder_.add_jump(at, rule.end);
  for (uint32_t i = 0; i < kMaxIndent; ++i) {
    const StateId next = builder_.add_state();
    builder_.add_byte(at, ' ', next);
    builder_.add_jump(next, rule.end);
    at = next;
  }
  return *space_;
}

void JsonRules::add_space(StateId from, StateId to) { builder_.add_call(from, space(), to); }

StateId JsonRules::add_space(StateId from) {
  const StateId to = builder_.add_state();
  add_space(from, to);
  return to;
}

StateId JsonRules::add_colon(StateId from) {
  const StateId colon = builder_.add_state();
  const StateId to = builder_.add_state();
  builder_.add_byte(from, ':', colon);
  builder_.add_byte(colon, ' ', to);
  builder_.add_jump(colon, to);
  return to;
}

RuleId JsonRules::string() {
  if (string_) return *string_;
  string_ = builder_.add_rule();
  const GrammarBuilder::Rule rule = builder_.rule(*string_);
  const StateId open = builder_.add_state();
  const StateId close = builder_.add_state();
  builder_.add_byte(rule.start, '"', open);
  encoder_.add_text(open, 0, kUnbounded, close, TextForm::kJson);
  builder_.add_byte(close, '"', rule.end);
  return *string_;
}

void JsonRules::add_string(StateId from, uint32_t min, uint32_t max, StateId to) {
  if (min == 0 && max == kUnbounded) {
    builder_.add_call(from, string(), to);
    return;
  }
  const StateId open = builder_.add_state();
  const StateId close = builder_.add_state();
  builder_.add_byte(from, '"', open);
  encoder_.add_text(open, min, max, close, TextForm::kJson);
  builder_.add_byte(close, '"', to);
}

void JsonRules::add_any_number(StateId from, StateId to) {
  if (!number_) {
    number_ = builder_.add_rule();
    const GrammarBuilder::Rule rule = builder_.rule(*number_);
    add_numbers(builder_, rule.start, {}, rule.end);
  }
  builder_.add_call(from, *number_, to);
}

void JsonRules::add_any_integer(StateId from, StateId to) {
  if (!integer_) {
    integer_ = builder_.add_rule();
    const GrammarBuilder::Rule rule = builder_.rule(*integer_);
    add_integers(builder_, rule.start, {}, rule.end);
  }
  builder_.add_call(from, *integer_, to);
}

void JsonRules::add_array(StateId from, std::span<const RuleId> first, std::optional<RuleId> rest,
                          uint32_t min, uint32_t max, StateId to) {
  const StateId bracket = builder_.add_state();
  builder_.add_byte(from, '[', bracket);
  StateId before = add_space(bracket);  // the next item
  const StateId last = builder_.add_state();
  builder_.add_byte(add_space(last), ']', to);
  if (min == 0) builder_.add_byte(before, ']', to);

  const auto item_and_comma = [&](RuleId item, uint32_t n_after) {
    const StateId after = builder_.add_state();
    builder_.add_call(before, item, after);
    if (n_after >= min) builder_.add_jump(after, last);
    const StateId comma = builder_.add_state();
    builder_.add_byte(after, ',', comma);
    before = add_space(comma);
  };
  uint32_t n = 0;
  for (; n < std::min<size_t>(first.size(), max); ++n) item_and_comma(first[n], n + 1);
  if (!rest || n >= max) return;
  // `before` is the place of item n; behind it come any number of ", item".
  const RuleId more = builder_.add_rule();
  const GrammarBuilder::Rule rule = builder_.rule(more);
  const StateId comma = builder_.add_state();
  builder_.add_byte(rule.start, ',', comma);
  builder_.add_call(add_space(comma), *rest, rule.end);
  ++n;
  const StateId loop =
      builder_.add_counted(min > n ? min - n : 0, max == kUnbounded ? kUnbounded : max - n);
  builder_.add_call(before, *rest, loop);
  builder_.add_call(loop, more, loop);
  builder_.add_jump(loop, last);
}

RuleId JsonRules::any_value() {
  if (any_value_) return *any_value_;
  any_value_ = builder_.add_rule();
  const GrammarBuilder::Rule rule = builder_.rule(*any_value_);
  for (const std::string_view word : {"true", "false", "null"}) {
    builder_.add_text(rule.start, word, rule.end);
  }
  add_string(rule.start, 0, kUnbounded, rule.end);
  add_any_number(rule.start, rule.end);
  add_array(rule.start, {}, *any_value_, 0, kUnbounded, rule.end);
  builder_.add_call(rule.start, any_object(), rule.end);
  return *any_value_;
}

RuleId JsonRules::any_object() {
  if (any_object_) return *any_object_;
  any_object_ = builder_.add_rule();
  const GrammarBuilder::Rule rule = builder_.rule(*any_object_);
  const StateId brace = builder_.add_state();
  const StateId key = builder_.add_state();
  const StateId colon = builder_.add_state();
  const StateId after = builder_.add_state();
  const StateId comma = builder_.add_state();
  builder_.add_byte(rule.start, '{', brace);
  const StateId first = add_space(brace);
  builder_.add_jump(first, key);
  builder_.add_byte(first, '}', rule.end);
  add_string(key, 0, kUnbounded, colon);
  builder_.add_call(add_colon(colon), any_value(), after);
  builder_.add_byte(after, ',', comma);
  add_space(comma, key);
  builder_.add_byte(add_space(after), '}', rule.end);
  return *any_object_;
}

}  // namespace dsv4
