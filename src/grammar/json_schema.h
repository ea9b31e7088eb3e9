// Grammars of JSON documents: any object, or what a JSON schema allows. docs/serving.md has the
// table of keywords.
#pragma once

#include "grammar/grammar.h"
#include "grammar/schema_rules.h"
#include "text/json.h"

#include <memory>
#include <string_view>

namespace dsv4 {

// One JSON value without white space around it. Errors name the path in the request, which begins
// with `where`: Error(kUnsupported) for keywords that are not enforced, Error(kInvalidInput) for
// what is no schema or allows no value, Error(kOutOfRange) for a schema above the limits. `schema`
// is not kept.
std::shared_ptr<const Grammar> compile_json_schema(const Json& schema, std::string_view where,
                                                   Undeclared undeclared = Undeclared::kAllowed);

// Any JSON object.
std::shared_ptr<const Grammar> compile_json_object();

}  // namespace dsv4
