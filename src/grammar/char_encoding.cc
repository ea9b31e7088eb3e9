#include "grammar/char_encoding.h"

#include "base/check.h"
#include "text/special_tokens.h"
#include "text/unicode.h"

#include <algorithm>
#include <string>

namespace dsv4 {

namespace {

constexpr std::string_view kShortEscapes = "\"\\bfnrt";
constexpr std::string_view kShortMeanings = "\"\\\b\f\n\r\t";
constexpr char32_t kLastOfLength[] = {0x7F, 0x7FF, 0xFFFF, 0x10FFFF};

std::string utf8(char32_t c) {
  std::string bytes;
  append_utf8(bytes, c);
  return bytes;
}

}  // namespace

std::string_view forbidden_word(TextForm form) {
  return form == TextForm::kJson ? kDsml : std::string_view("</｜DSML｜");
}

// A state with one edge; the same for all that end in the same way.
StateId CharEncoder::tail(uint8_t low, uint8_t high, StateId to) {
  const auto [it, is_new] = tails_.try_emplace({to, low, high}, kNoState);
  if (is_new) {
    it->second = builder_.add_state();
    builder_.add_bytes(it->second, low, high, to);
  }
  return it->second;
}

// Splits so that the bytes behind the first differing one run over all of their values: then each
// byte is a range of its own.
void CharEncoder::add_utf8_of_length(StateId from, char32_t low, char32_t high, int length,
                                     StateId to) {
  for (int i = 1; i < length; ++i) {
    const char32_t rest = (char32_t{1} << (6 * i)) - 1;
    if ((low & ~rest) == (high & ~rest)) continue;
    if ((low & rest) != 0) {
      add_utf8_of_length(from, low, low | rest, length, to);
      add_utf8_of_length(from, (low | rest) + 1, high, length, to);
      return;
    }
    if ((high & rest) != rest) {
      add_utf8_of_length(from, low, (high & ~rest) - 1, length, to);
      add_utf8_of_length(from, high & ~rest, high, length, to);
      return;
    }
  }
  const std::string first = utf8(low);
  const std::string last = utf8(high);
  StateId next = to;
  for (size_t i = first.size() - 1; i > 0; --i) {
    next = tail(static_cast<uint8_t>(first[i]), static_cast<uint8_t>(last[i]), next);
  }
  builder_.add_bytes(from, static_cast<uint8_t>(first[0]), static_cast<uint8_t>(last[0]), next);
}

void CharEncoder::add_utf8(StateId from, char32_t low, char32_t high, StateId to) {
  char32_t begin = 0;
  for (int length = 1; length <= 4; ++length) {
    const char32_t last = kLastOfLength[length - 1];
    if (low <= last && high >= begin) {
      add_utf8_of_length(from, std::max(low, begin), std::min(high, last), length, to);
    }
    begin = last + 1;
  }
}

StateId CharEncoder::behind(StateId from, char byte) {
  const auto [it, is_new] = behind_.try_emplace({from, byte}, kNoState);
  if (is_new) {
    it->second = builder_.add_state();
    builder_.add_byte(from, byte, it->second);
  }
  return it->second;
}

void CharEncoder::add_literal(StateId from, std::string_view bytes, StateId to) {
  for (const char byte : bytes) from = behind(from, byte);
  builder_.add_jump(from, to);
}

void CharEncoder::add_needed_escapes(StateId from, char32_t low, char32_t high, StateId to) {
  for (size_t i = 0; i < kShortEscapes.size(); ++i) {
    const char32_t c = static_cast<unsigned char>(kShortMeanings[i]);
    if (c >= low && c <= high) builder_.add_byte(behind(from, '\\'), kShortEscapes[i], to);
  }
}

void CharEncoder::add_hex_digits(StateId from, char32_t low, char32_t high, int n_digits,
                                 StateId to) {
  const int shift = 4 * (n_digits - 1);
  const char32_t rest = (char32_t{1} << shift) - 1;
  for (char32_t digit = low >> shift; digit <= high >> shift; ++digit) {
    const char32_t first = std::max<char32_t>(low, digit << shift);
    const char32_t last = std::min<char32_t>(high, digit << shift | rest);
    StateId next = to;
    if (n_digits > 1) {
      const auto [it, is_new] =
          hex_tails_.try_emplace({to, first & rest, last & rest, n_digits}, kNoState);
      if (is_new) {
        it->second = builder_.add_state();
        const StateId state = it->second;
        add_hex_digits(state, first & rest, last & rest, n_digits - 1, to);
      }
      next = hex_tails_.at({to, first & rest, last & rest, n_digits});
    }
    builder_.add_byte(from, "0123456789abcdef"[digit], next);
    if (digit >= 10) builder_.add_byte(from, "ABCDEF"[digit - 10], next);
  }
}

// \uXXXX, above U+FFFF in pairs, of which a half cannot stand alone.
void CharEncoder::add_hex_escapes(StateId from, char32_t low, char32_t high, StateId to) {
  const StateId u = behind(behind(from, '\\'), 'u');
  if (low <= 0xFFFF) add_hex_digits(u, low, std::min<char32_t>(high, 0xFFFF), 4, to);
  if (high <= 0xFFFF) return;
  CHECK(low <= 0x10000 && high == 0x10FFFF, static_cast<uint32_t>(low));
  const StateId slash = builder_.add_state();
  add_hex_digits(u, 0xD800, 0xDBFF, 4, slash);
  add_hex_digits(behind(behind(slash, '\\'), 'u'), 0xDC00, 0xDFFF, 4, to);
}

void CharEncoder::add_chars(StateId from, char32_t low, char32_t high, StateId to, TextForm form,
                            Escapes escapes) {
  if (form == TextForm::kRaw) {
    add_utf8(from, low, high, to);
    return;
  }
  constexpr CharRange kPlain[] = {{' ', '!'}, {'#', '['}, {']', 0x10FFFF}};
  for (const CharRange& plain : kPlain) {
    const char32_t first = std::max(low, plain.low);
    const char32_t last = std::min(high, plain.high);
    if (first <= last) add_utf8(from, first, last, to);
  }
  add_needed_escapes(from, low, high, to);
  if (escapes == Escapes::kNeeded) return;
  if (low <= '/' && high >= '/') builder_.add_byte(behind(from, '\\'), '/', to);
  add_hex_escapes(from, low, high, to);
}

void CharEncoder::add_dfa(StateId from, const CharDfa& dfa, StateId to, TextForm form,
                          Escapes escapes) {
  if (dfa.is_empty()) return;
  std::vector<StateId> states;
  for (size_t i = 0; i < dfa.states().size(); ++i) states.push_back(builder_.add_state());
  builder_.add_jump(from, states[0]);
  for (size_t i = 0; i < states.size(); ++i) {
    const CharDfa::State& state = dfa.states()[i];
    if (state.accepts) builder_.add_jump(states[i], to);
    for (const CharDfa::Edge& edge : state.edges) {
      add_chars(states[i], edge.low, edge.high, states[edge.to], form, escapes);
    }
  }
}

// One of the characters as a rule, for counted states.
RuleId CharEncoder::char_rule(const std::vector<CharRange>& chars, TextForm form) {
  const auto [it, is_new] = char_rules_.try_emplace({form, chars}, 0);
  if (is_new) {
    it->second = builder_.add_rule();
    const GrammarBuilder::Rule rule = builder_.rule(it->second);
    for (const CharRange& range : chars) {
      add_chars(rule.start, range.low, range.high, rule.end, form, Escapes::kAll);
    }
  }
  return it->second;
}

void CharEncoder::add_text(StateId from, uint32_t min, uint32_t max, StateId to, TextForm form) {
  const CharDfa dfa = CharDfa::without(forbidden_word(form));
  if (min == 0 && max == kUnbounded) {
    add_dfa(from, dfa, to, form, Escapes::kAll);
    return;
  }
  // The states of the automaton, each counted, with the characters by where they lead.
  std::vector<StateId> states;
  for (size_t i = 0; i < dfa.states().size(); ++i) states.push_back(builder_.add_counted(min, max));
  builder_.add_jump(from, states[0]);
  for (size_t i = 0; i < states.size(); ++i) {
    builder_.add_jump(states[i], to);
    std::map<uint32_t, std::vector<CharRange>> by_target;
    for (const CharDfa::Edge& edge : dfa.states()[i].edges) {
      by_target[edge.to].push_back({edge.low, edge.high});
    }
    for (const auto& [target, chars] : by_target) {
      builder_.add_call(states[i], char_rule(chars, form), states[target]);
    }
  }
}

}  // namespace dsv4
