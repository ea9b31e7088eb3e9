#include "grammar/schema_numbers.h"

#include "base/error.h"

#include <fmt/core.h>

#include <cmath>
#include <numeric>

namespace dsv4 {

namespace {

Decimal decimal_of(const SchemaNode& node) {
  if ((kind_of(*node.json) & kNumberKinds) == 0) node.json->as_double(node.path);  // throws
  const std::optional<Decimal> value = parse_decimal(node.json->print());
  if (value) return *value;
  throw Error(
      ErrorCode::kUnsupported, node.path,
      fmt::format("expected a bound of at most {} digits before and behind the point", kMaxDigits));
}

void keep_stricter(std::optional<Bound>& bound, const Bound& other, int stricter) {
  const int order = bound ? compare(other.value, bound->value) : stricter;
  if (order == stricter) bound = other;
  if (order == 0 && other.is_exclusive) bound->is_exclusive = true;
}

uint32_t multiple_of(const SchemaNode& node) {
  const double value = node.json->kind() == Json::Kind::kDouble
                           ? node.json->as_double(node.path)
                           : static_cast<double>(node.json->as_int(node.path));
  if (value >= 1 && value <= kMaxMultiple && std::trunc(value) == value) {
    return static_cast<uint32_t>(value);
  }
  throw Error(ErrorCode::kUnsupported, node.path,
              fmt::format("multipleOf is supported for integers from 1 to {}", kMaxMultiple));
}

}  // namespace

SchemaNumbers read_numbers(const Conjunction& schemas) {
  SchemaNumbers out;
  for (const SchemaNode& node : schemas) {
    if (const auto min = child(node, "minimum")) {
      keep_stricter(out.range.low, {decimal_of(*min), false}, 1);
    }
    if (const auto min = child(node, "exclusiveMinimum")) {
      keep_stricter(out.range.low, {decimal_of(*min), true}, 1);
    }
    if (const auto max = child(node, "maximum")) {
      keep_stricter(out.range.high, {decimal_of(*max), false}, -1);
    }
    if (const auto max = child(node, "exclusiveMaximum")) {
      keep_stricter(out.range.high, {decimal_of(*max), true}, -1);
    }
    if (const auto multiple = child(node, "multipleOf")) {
      out.is_integer = true;
      out.range.multiple_of = std::lcm(out.range.multiple_of, multiple_of(*multiple));
      if (out.range.multiple_of > kMaxMultiple) {
        throw Error(ErrorCode::kUnsupported, multiple->path,
                    fmt::format("the common multiple is above {}", kMaxMultiple));
      }
    }
  }
  return out;
}

bool is_in_range(const Conjunction& schemas, const Json& number) {
  const SchemaNumbers numbers = read_numbers(schemas);
  const std::optional<Decimal> value = parse_decimal(number.print());
  if (!value) return !numbers.range.low && !numbers.range.high && !numbers.is_integer;
  const auto& [low, high, multiple] = numbers.range;
  if (low && compare(*value, low->value) < (low->is_exclusive ? 1 : 0)) return false;
  if (high && compare(*value, high->value) > (high->is_exclusive ? -1 : 0)) return false;
  if (!numbers.is_integer) return true;
  return value->fraction.empty() && std::stoull(value->whole) % multiple == 0;
}

}  // namespace dsv4
