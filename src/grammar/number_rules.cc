// A number between two bounds is read with two marks: whether the digits so far are still those of
// the lower and of the upper bound. Once a mark is off, its bound no longer matters.
#include "grammar/number_rules.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <tuple>

namespace dsv4 {

namespace {

enum class Fraction { kNo, kYes };

// Magnitudes from `low` to `high`, which is absent for no bound.
struct Magnitudes {
  Bound low;
  std::optional<Bound> high;
};

int compare_magnitudes(const Decimal& a, const Decimal& b) {
  if (a.whole.size() != b.whole.size()) return a.whole.size() < b.whole.size() ? -1 : 1;
  const int order = a.whole.compare(b.whole);
  const int result = order != 0 ? order : a.fraction.compare(b.fraction);
  return (result > 0) - (result < 0);
}

class MagnitudeWriter {
 public:
  MagnitudeWriter(GrammarBuilder& builder, const Magnitudes& range, uint32_t multiple_of,
                  Fraction fraction, StateId to)
      : builder_(builder), range_(range), multiple_of_(multiple_of), fraction_(fraction), to_(to) {}

  void add(StateId from) {
    const size_t n_low = range_.low.value.whole.size();
    const size_t n_high = range_.high ? range_.high->value.whole.size() : kMaxDigits;
    const bool is_open = !range_.high && fraction_ == Fraction::kNo && multiple_of_ == 1;
    for (size_t n = n_low; n <= std::min<size_t>(is_open ? n_low : n_high, kMaxDigits); ++n) {
      n_whole_ = n;
      states_.clear();
      const bool at_high = range_.high && n == n_high;
      builder_.add_jump(from, state_at({0, n == n_low, at_high, 0, false}));
    }
    if (is_open) add_longer(from, n_low);
  }

 private:
  // Integers of more than `n` digits: the bounds do not matter.
  void add_longer(StateId from, size_t n) {
    for (size_t i = 0; i < kMaxDigits; ++i) {
      const StateId next = builder_.add_state();
      builder_.add_bytes(from, i == 0 ? '1' : '0', '9', next);
      if (i >= n) builder_.add_jump(next, to_);
      from = next;
    }
  }

  struct Place {
    size_t n_digits;  // read, of the whole part and then of the fraction
    bool at_low, at_high;
    uint32_t remainder;
    bool in_fraction;
    auto key() const { return std::tuple(n_digits, at_low, at_high, remainder, in_fraction); }
    bool operator<(const Place& other) const { return key() < other.key(); }
  };

  static char digit_of(const Decimal& value, const Place& place) {
    const std::string& digits = place.in_fraction ? value.fraction : value.whole;
    return place.n_digits < digits.size() ? digits[place.n_digits] : '0';
  }

  // Whether the digits of the bound behind those read are all zero.
  static bool is_read(const Decimal& value, const Place& place) {
    return place.in_fraction ? place.n_digits >= value.fraction.size() : value.fraction.empty();
  }

  bool may_end(const Place& place) const {
    if (place.in_fraction ? place.n_digits == 0 : place.n_digits < n_whole_) return false;
    if (place.remainder != 0) return false;
    // The number equals the bound if the rest of the bound is zero; else it is below the bound.
    if (place.at_low && (range_.low.is_exclusive || !is_read(range_.low.value, place)))
      return false;
    return !place.at_high || !range_.high->is_exclusive || !is_read(range_.high->value, place);
  }

  // Of a number with more digits than a double has, who reads it may find a bound exceeded.
  size_t max_fraction() const {
    constexpr size_t kExactDigits = 15;
    return fraction_ == Fraction::kNo || n_whole_ > kExactDigits ? 0 : kExactDigits - n_whole_;
  }

  // Recursion over digits: at most kMaxDigits in each part.
  StateId state_at(const Place& place) {
    const auto [it, is_new] = states_.try_emplace(place, kNoState);
    if (!is_new) return it->second;
    const StateId state = builder_.add_state();
    it->second = state;
    if (may_end(place)) builder_.add_jump(state, to_);
    if (!place.in_fraction && place.n_digits == n_whole_) {
      if (max_fraction() == 0) return state;
      const Place next{0, place.at_low, place.at_high, 0, true};
      builder_.add_byte(state, '.', state_at(next));
      return state;
    }
    if (place.in_fraction && place.n_digits == max_fraction()) return state;
    add_digits(state, place);
    return state;
  }

  void add_digits(StateId state, const Place& place) {
    const bool is_first_of_many = !place.in_fraction && place.n_digits == 0 && n_whole_ > 1;
    const char low = place.at_low ? digit_of(range_.low.value, place) : '0';
    const char high = place.at_high ? digit_of(range_.high->value, place) : '9';
    for (char digit = is_first_of_many ? std::max(low, '1') : low; digit <= high; ++digit) {
      Place next = place;
      ++next.n_digits;
      next.at_low = place.at_low && digit == low;
      next.at_high = place.at_high && digit == high;
      next.remainder = (place.remainder * 10 + static_cast<uint32_t>(digit - '0')) % multiple_of_;
      builder_.add_byte(state, digit, state_at(next));
    }
  }

  GrammarBuilder& builder_;
  const Magnitudes& range_;
  uint32_t multiple_of_;
  Fraction fraction_;
  StateId to_;
  size_t n_whole_ = 0;
  std::map<Place, StateId> states_;
};

// The part of the range on one side of zero, as magnitudes; the other side has the zero itself.
std::optional<Magnitudes> negative_part(const NumberRange& range) {
  Magnitudes out{{Decimal{}, true}, std::nullopt};
  if (range.high && range.high->value.is_negative) out.low = *range.high;
  if (range.low) {
    if (!range.low->value.is_negative) return std::nullopt;
    out.high = range.low;
  }
  return out;
}

std::optional<Magnitudes> positive_part(const NumberRange& range) {
  Magnitudes out{{Decimal{}, false}, std::nullopt};
  if (range.low && !range.low->value.is_negative) out.low = *range.low;
  if (range.high) {
    if (range.high->value.is_negative) return std::nullopt;
    out.high = range.high;
  }
  return out;
}

void add_range(GrammarBuilder& builder, StateId from, const NumberRange& range, Fraction fraction,
               StateId to) {
  const uint32_t multiple = fraction == Fraction::kNo ? range.multiple_of : 1;
  const auto add = [&](StateId start, const std::optional<Magnitudes>& part) {
    if (!part) return;
    if (part->high && compare_magnitudes(part->low.value, part->high->value) > 0) return;
    MagnitudeWriter(builder, *part, multiple, fraction, to).add(start);
  };
  const StateId minus = builder.add_state();
  builder.add_byte(from, '-', minus);
  add(minus, negative_part(range));
  add(from, positive_part(range));
}

// At least one and at most `n` digits.
void add_digits(GrammarBuilder& builder, StateId from, uint32_t n, StateId to) {
  for (uint32_t i = 0; i < n; ++i) {
    const StateId next = builder.add_state();
    builder.add_bytes(from, '0', '9', next);
    builder.add_jump(next, to);
    from = next;
  }
}

void add_unbounded_numbers(GrammarBuilder& builder, StateId from, StateId to) {
  const StateId unsigned_number = builder.add_state();
  const StateId whole = builder.add_state();
  const StateId mantissa = builder.add_state();
  builder.add_byte(from, '-', unsigned_number);
  builder.add_jump(from, unsigned_number);
  builder.add_byte(unsigned_number, '0', whole);
  const StateId first = builder.add_state();
  builder.add_bytes(unsigned_number, '1', '9', first);
  builder.add_jump(first, whole);
  add_digits(builder, first, kMaxDigits - 1, whole);

  const StateId point = builder.add_state();
  builder.add_jump(whole, mantissa);
  builder.add_byte(whole, '.', point);
  add_digits(builder, point, kMaxDigits, mantissa);

  const StateId exponent = builder.add_state();
  const StateId sign = builder.add_state();
  builder.add_jump(mantissa, to);
  builder.add_byte(mantissa, 'e', exponent);
  builder.add_byte(mantissa, 'E', exponent);
  builder.add_jump(exponent, sign);
  builder.add_byte(exponent, '+', sign);
  builder.add_byte(exponent, '-', sign);
  add_digits(builder, sign, 2, to);
}

}  // namespace

std::optional<Decimal> parse_decimal(std::string_view number) {
  Decimal out;
  out.is_negative = number.starts_with('-');
  if (out.is_negative) number.remove_prefix(1);
  const size_t e = std::min(number.find_first_of("eE"), number.size());
  const std::string_view mantissa = number.substr(0, e);
  const size_t point = std::min(mantissa.find('.'), mantissa.size());
  std::string digits(mantissa.substr(0, point));
  if (point < mantissa.size()) digits += mantissa.substr(point + 1);
  int64_t exponent = 0;
  if (e < number.size()) {
    std::string_view text = number.substr(e + 1);
    if (text.starts_with('+')) text.remove_prefix(1);
    const auto result = std::from_chars(text.data(), text.data() + text.size(), exponent);
    if (result.ec != std::errc() || exponent > 1000 || exponent < -1000) return std::nullopt;
  }
  int64_t n_whole = static_cast<int64_t>(point) + exponent;
  if (n_whole < 0) {
    digits.insert(0, static_cast<size_t>(-n_whole), '0');
    n_whole = 0;
  }
  if (n_whole > static_cast<int64_t>(digits.size())) {
    digits.append(static_cast<size_t>(n_whole) - digits.size(), '0');
  }
  out.whole = digits.substr(0, static_cast<size_t>(n_whole));
  out.fraction = digits.substr(static_cast<size_t>(n_whole));
  out.whole.erase(0, std::min(out.whole.find_first_not_of('0'), out.whole.size()));
  if (out.whole.empty()) out.whole = "0";
  out.fraction.erase(out.fraction.find_last_not_of('0') + 1);
  if (out.whole.size() > kMaxDigits || out.fraction.size() > kMaxDigits) return std::nullopt;
  if (out.is_zero()) out.is_negative = false;
  return out;
}

int compare(const Decimal& a, const Decimal& b) {
  if (a.is_negative != b.is_negative) return a.is_negative ? -1 : 1;
  return a.is_negative ? compare_magnitudes(b, a) : compare_magnitudes(a, b);
}

void add_integers(GrammarBuilder& builder, StateId from, const NumberRange& range, StateId to) {
  add_range(builder, from, range, Fraction::kNo, to);
}

void add_numbers(GrammarBuilder& builder, StateId from, const NumberRange& range, StateId to) {
  if (!range.low && !range.high) {
    add_unbounded_numbers(builder, from, to);
  } else {
    add_range(builder, from, range, Fraction::kYes, to);
  }
}

}  // namespace dsv4
