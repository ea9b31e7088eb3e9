// Numbers within bounds as byte automata: digit by digit, exactly.
#pragma once

#include "grammar/grammar.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace dsv4 {

// A decimal number as written: sign, digits before and behind the point.
struct Decimal {
  bool is_negative = false;
  std::string whole = "0";    // without leading zeros
  std::string fraction = "";  // without trailing zeros
  bool is_zero() const { return whole == "0" && fraction.empty(); }
};

// A JSON number. Nothing if it has more digits than kMaxDigits allows.
std::optional<Decimal> parse_decimal(std::string_view number);
// -1, 0, 1 as a is below, equal to, above b.
int compare(const Decimal& a, const Decimal& b);

struct Bound {
  Decimal value;
  bool is_exclusive = false;
};

struct NumberRange {
  std::optional<Bound> low = {};
  std::optional<Bound> high = {};
  uint32_t multiple_of = 1;  // of integers
};

// Digits before and behind the point that a generated number has at most.
inline constexpr uint32_t kMaxDigits = 18;
inline constexpr uint32_t kMaxMultiple = 1000;

// Adds the integers of the range between two states: no fraction, no exponent, no "-0".
void add_integers(GrammarBuilder& builder, StateId from, const NumberRange& range, StateId to);
// Adds the numbers of the range, without exponent if it has a bound, else with one of at most two
// digits. `multiple_of` is not looked at.
void add_numbers(GrammarBuilder& builder, StateId from, const NumberRange& range, StateId to);

}  // namespace dsv4
