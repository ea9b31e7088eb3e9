// Deterministic automata over code points: the languages of patterns, lengths and sets of strings,
// and how they are combined. Grammars get them in bytes (char_encoding.h).
#pragma once

#include "grammar/work_budget.h"

#include <compare>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace dsv4 {

// A bound on the size of automata and on the work to build them: patterns may be exponential.
// Throws Error(kUnsupported) at `where` when it is spent.
class AutomatonBudget : public WorkBudget {
 public:
  AutomatonBudget()
      : WorkBudget(5'000'000, ErrorCode::kUnsupported,
                   "the pattern or combination of patterns is too complex; make it simpler") {}
  static void check_states(size_t n_states, std::string_view where);
  static constexpr size_t kMaxStates = 20'000;
};

struct CharRange {
  char32_t low, high;
  auto operator<=>(const CharRange&) const = default;
};

// All code points that text can have: without surrogates.
inline constexpr CharRange kAllChars[] = {{0, 0xD7FF}, {0xE000, 0x10FFFF}};

// Sorted, without overlaps or neighbours that touch.
std::vector<CharRange> normalise(std::vector<CharRange> ranges);
std::vector<CharRange> complement(std::vector<CharRange> ranges);

// A value. From every state an accepting one can be reached; the empty language has no state.
class CharDfa {
 public:
  struct Edge {
    char32_t low, high;
    uint32_t to;
    bool operator==(const Edge&) const = default;
  };
  struct State {
    std::vector<Edge> edges;  // sorted, without overlaps
    bool accepts = false;
  };

  CharDfa() = default;
  // State 0 begins.
  explicit CharDfa(std::vector<State> states);

  static CharDfa any();
  static CharDfa of_strings(std::span<const std::string> strings, AutomatonBudget& budget,
                            std::string_view where);
  // All strings without `word`, which must not be empty.
  static CharDfa without(std::string_view word);

  bool is_empty() const { return states_.empty(); }
  const std::vector<State>& states() const { return states_; }
  // Whether the text, in UTF-8, is in the language.
  bool matches(std::string_view text) const;

  CharDfa intersect(const CharDfa& other, AutomatonBudget& budget, std::string_view where) const;
  // The strings of `min` to `max` characters; `max` may be the largest number, for no bound.
  CharDfa intersect_length(uint64_t min, uint64_t max, AutomatonBudget& budget,
                           std::string_view where) const;
  CharDfa subtract(const CharDfa& other, AutomatonBudget& budget, std::string_view where) const;

 private:
  static CharDfa of_length(uint64_t min, uint64_t max, AutomatonBudget& budget,
                           std::string_view where);
  enum class Combine { kBoth, kFirstOnly };
  CharDfa product(const CharDfa& other, Combine combine, AutomatonBudget& budget,
                  std::string_view where) const;
  void remove_dead_states();
  uint64_t longest() const;

  std::vector<State> states_;
};

}  // namespace dsv4
