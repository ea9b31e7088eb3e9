// Blocks of tool calls (docs/text.md has their format) as rules of a grammar.
#pragma once

#include "grammar/json_rules.h"
#include "grammar/schema_rules.h"
#include "text/json.h"

#include <span>
#include <string>
#include <string_view>

namespace dsv4 {

// A function that the reply may call.
struct ReplyTool {
  std::string name;
  const Json* parameters = nullptr;  // JSON schema of an object; nullptr: there are none
  // Whether arguments satisfy the schema: required ones are there, in the declared order, and
  // strings keep to enum, pattern and length. Else only names and types are enforced, and a schema
  // that is not supported is none.
  bool is_strict = false;
  std::string where = {};  // path of `parameters` in the request
};

enum class ParallelCalls { kNo, kYes };

class DsmlRules {
 public:
  explicit DsmlRules(JsonRules& json) : json_(json) {}

  // What follows `<｜DSML｜` of a block's first tag, to the end of the block. Throws Error for
  // schemas of strict tools as compile_json_schema does.
  void add_block(StateId from, std::span<const ReplyTool> tools, ParallelCalls parallel,
                 StateId to);

 private:
  void add_call(StateId from, const ReplyTool& tool, StateId to);
  void add_strict_arguments(StateId from, const ReplyTool& tool, StateId to);
  void add_loose_arguments(StateId from, const ReplyTool& tool, StateId to);
  void add_strict_shape(StateId from, SchemaRules& rules, const ObjectShape& shape, StateId to);
  // `from` is behind the name of a parameter.
  void add_strict_value(StateId from, SchemaRules& rules, const Conjunction& value, StateId to);
  void add_loose_value(StateId from, const ReplyTool& tool, const Conjunction& value, StateId to);
  void add_any_value(StateId from, StateId to);
  void add_string_value(StateId from, StateId to);
  void add_json_value(StateId from, RuleId value, StateId to);
  void add_any_name(StateId from, const CharDfa& names, AutomatonBudget& budget, StateId to);

  JsonRules& json_;
  SchemaBudget loose_;  // for the schemas of all tools that are not strict
};

}  // namespace dsv4
