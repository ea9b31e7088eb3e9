// The keywords of numbers: minimum, maximum, exclusiveMinimum, exclusiveMaximum, multipleOf.
#pragma once

#include "grammar/number_rules.h"
#include "grammar/schema_nodes.h"

namespace dsv4 {

struct SchemaNumbers {
  NumberRange range;
  bool is_integer = false;  // because of multipleOf
};

// Throws Error(kUnsupported) for a bound of too many digits or a multipleOf that is not an integer
// from 1 to kMaxMultiple.
SchemaNumbers read_numbers(const Conjunction& schemas);
bool is_in_range(const Conjunction& schemas, const Json& number);

}  // namespace dsv4
