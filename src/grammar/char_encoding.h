// How strings stand in a reply: inside JSON quotes with escapes, or as they are in a parameter of a
// tool call. Adds the byte automata of sets of strings to a grammar.
#pragma once

#include "grammar/char_dfa.h"
#include "grammar/grammar.h"

#include <cstdint>
#include <map>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

namespace dsv4 {

enum class TextForm {
  kRaw,   // as it is
  kJson,  // between quotes, which are not part of what is added here
};
// Which spellings of a character in JSON are read.
enum class Escapes {
  kAll,     // also \/ and \uXXXX for any character
  kNeeded,  // only what must be escaped, with the short escape
};

// The words that must not stand in free text, because they would end it for who reads the reply.
std::string_view forbidden_word(TextForm form);

class CharEncoder {
 public:
  explicit CharEncoder(GrammarBuilder& builder) : builder_(builder) {}

  // One of the characters from `from` to `to`.
  void add_chars(StateId from, char32_t low, char32_t high, StateId to, TextForm form,
                 Escapes escapes);
  // The language of `dfa`, from `from` to `to`.
  void add_dfa(StateId from, const CharDfa& dfa, StateId to, TextForm form, Escapes escapes);
  // The bytes as they are; texts that begin alike share their states.
  void add_literal(StateId from, std::string_view bytes, StateId to);
  // Text of `min` to `max` characters without forbidden_word(form).
  void add_text(StateId from, uint32_t min, uint32_t max, StateId to, TextForm form);

 private:
  void add_utf8(StateId from, char32_t low, char32_t high, StateId to);
  void add_utf8_of_length(StateId from, char32_t low, char32_t high, int length, StateId to);
  StateId tail(uint8_t low, uint8_t high, StateId to);
  void add_needed_escapes(StateId from, char32_t low, char32_t high, StateId to);
  void add_hex_escapes(StateId from, char32_t low, char32_t high, StateId to);
  void add_hex_digits(StateId from, char32_t low, char32_t high, int n_digits, StateId to);
  StateId behind(StateId from, char byte);
  RuleId char_rule(const std::vector<CharRange>& chars, TextForm form);

  GrammarBuilder& builder_;
  std::map<std::tuple<StateId, uint8_t, uint8_t>, StateId> tails_;
  std::map<std::pair<StateId, char>, StateId> behind_;
  std::map<std::tuple<StateId, char32_t, char32_t, int>, StateId> hex_tails_;
  std::map<std::pair<TextForm, std::vector<CharRange>>, RuleId> char_rules_;
};

}  // namespace dsv4
