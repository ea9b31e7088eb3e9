#include "grammar/dsml_rules.h"

#include "base/error.h"
#include "grammar/regex.h"
#include "text/special_tokens.h"

#include <fmt/core.h>

#include <algorithm>
#include <map>
#include <optional>
#include <utility>

namespace dsv4 {

namespace {

constexpr std::string_view kBlockTail = "tool_calls>\n";
constexpr std::string_view kBlockEnd = "\n</｜DSML｜tool_calls>";
constexpr std::string_view kInvoke = "<｜DSML｜invoke name=\"";
constexpr std::string_view kInvokeEnd = "\n</｜DSML｜invoke>";
constexpr std::string_view kParameter = "<｜DSML｜parameter name=\"";
constexpr std::string_view kParameterEnd = "</｜DSML｜parameter>";
constexpr std::string_view kIsString = "\" string=\"true\">";
constexpr std::string_view kIsJson = "\" string=\"false\">";
// What a name of a parameter that is not declared may consist of.
constexpr std::string_view kNames = "^[^\"<>\\n\\r]{1,64}$";

}  // namespace

void DsmlRules::add_block(StateId from, std::span<const ReplyTool> tools, ParallelCalls parallel,
                          StateId to) {
  GrammarBuilder& builder = json_.builder();
  const StateId call = builder.add_text(from, kBlockTail);
  const StateId after = builder.add_state();
  for (const ReplyTool& tool : tools) add_call(call, tool, after);
  if (parallel == ParallelCalls::kYes) builder.add_text(after, "\n", call);
  builder.add_text(after, kBlockEnd, to);
}

void DsmlRules::add_call(StateId from, const ReplyTool& tool, StateId to) {
  GrammarBuilder& builder = json_.builder();
  const StateId at = builder.add_text(from, kInvoke);
  const StateId begin = builder.add_text(at, tool.name + "\">\n");
  const StateId close = builder.add_state();
  if (tool.parameters == nullptr) {
    builder.add_jump(begin, close);
  } else if (tool.is_strict) {
    add_strict_arguments(begin, tool, close);
  } else {
    add_loose_arguments(begin, tool, close);
  }
  builder.add_text(close, kInvokeEnd, to);
}

void DsmlRules::add_strict_arguments(StateId from, const ReplyTool& tool, StateId to) {
  const SchemaNode root{tool.parameters, tool.where};
  SchemaBudget budget;
  SchemaRules rules(json_, root, Undeclared::kForbidden, budget);
  for (const Conjunction& alternative : rules.resolver().alternatives({root})) {
    if ((rules.kinds(alternative) & kObjectKind) == 0) {
      throw Error(ErrorCode::kInvalidInput, tool.where, "expected the schema of an object");
    }
    add_strict_shape(from, rules, rules.shape_of(alternative), to);
  }
  rules.build();
}

// As SchemaRules::add_object, with line ends between the parameters.
void DsmlRules::add_strict_shape(StateId from, SchemaRules& rules, const ObjectShape& shape,
                                 StateId to) {
  GrammarBuilder& builder = json_.builder();
  StateId first = from;
  StateId next = builder.add_state();
  StateId after = builder.add_state();
  for (const ObjectShape::Property& property : shape.properties) {
    const StateId tag = builder.add_state();
    builder.add_jump(first, tag);
    builder.add_jump(next, tag);
    builder.add_text(after, "\n", next);
    const StateId first_later = builder.add_state();
    const StateId next_later = builder.add_state();
    const StateId after_later = builder.add_state();
    if (!property.is_required) {
      builder.add_jump(first, first_later);
      builder.add_jump(next, next_later);
      builder.add_jump(after, after_later);
    }
    const StateId named = builder.add_text(builder.add_text(tag, kParameter), property.name);
    add_strict_value(named, rules, property.value, after_later);
    first = first_later;
    next = next_later;
    after = after_later;
  }
  builder.add_jump(first, to);
  builder.add_jump(after, to);
  builder.add_jump(first, next);
  builder.add_text(after, "\n", next);
  for (const ObjectShape::Others& others : shape.others) {
    const StateId named = builder.add_state();
    const CharDfa names = others.names ? *others.names : CharDfa::any();
    add_any_name(builder.add_text(next, kParameter), names, rules.budget(), named);
    add_strict_value(named, rules, others.value, after);
  }
}

void DsmlRules::add_any_name(StateId from, const CharDfa& names, AutomatonBudget& budget,
                             StateId to) {
  const std::string_view where = "parameters";
  const CharDfa plain = names.intersect(compile_regex(kNames, budget, where), budget, where);
  json_.encoder().add_dfa(from, plain, to, TextForm::kRaw, Escapes::kNeeded);
}

void DsmlRules::add_strict_value(StateId from, SchemaRules& rules, const Conjunction& value,
                                 StateId to) {
  GrammarBuilder& builder = json_.builder();
  const KindSet kinds = rules.kinds(value);
  if ((kinds & kStringKind) != 0) {
    const StateId end = builder.add_state();
    builder.add_call(builder.add_text(from, kIsString), rules.rule(value, ValueForm::kRawString),
                     end);
    builder.add_text(end, kParameterEnd, to);
  }
  if ((kinds & ~kStringKind) != 0) {
    add_json_value(from, rules.rule(value, ValueForm::kNotString), to);
  }
}

void DsmlRules::add_string_value(StateId from, StateId to) {
  GrammarBuilder& builder = json_.builder();
  const StateId end = builder.add_state();
  json_.encoder().add_text(builder.add_text(from, kIsString), 0, kUnbounded, end, TextForm::kRaw);
  builder.add_text(end, kParameterEnd, to);
}

void DsmlRules::add_json_value(StateId from, RuleId value, StateId to) {
  GrammarBuilder& builder = json_.builder();
  const StateId end = builder.add_state();
  builder.add_call(builder.add_text(from, kIsJson), value, end);
  builder.add_text(end, kParameterEnd, to);
}

void DsmlRules::add_any_value(StateId from, StateId to) {
  add_string_value(from, to);
  add_json_value(from, json_.any_value(), to);
}

// Any of the declared parameters in any order.
void DsmlRules::add_loose_arguments(StateId from, const ReplyTool& tool, StateId to) {
  GrammarBuilder& builder = json_.builder();
  std::map<std::string, std::vector<Conjunction>> values;
  std::vector<std::string> names;  // in the declared order
  try {
    const SchemaNode root{tool.parameters, tool.where};
    SchemaRules rules(json_, root, Undeclared::kAllowed, loose_);
    for (const Conjunction& alternative : rules.resolver().alternatives({root})) {
      for (ObjectShape::Property& property : rules.shape_of(alternative).properties) {
        if (!values.contains(property.name)) names.push_back(property.name);
        values[property.name].push_back(std::move(property.value));
      }
    }
  } catch (const Error&) {
    values.clear();  // the schema is not understood: any names
    names.clear();
  }
  builder.add_jump(from, to);
  const StateId tag = builder.add_text(from, kParameter);
  const StateId after = builder.add_state();
  builder.add_text(after, "\n" + std::string(kParameter), tag);
  builder.add_jump(after, to);
  for (const std::string& name : names) {
    const StateId named = builder.add_text(tag, name);
    for (const Conjunction& value : values[name]) add_loose_value(named, tool, value, after);
  }
  if (!names.empty()) return;
  AutomatonBudget budget;
  const StateId named = builder.add_state();
  add_any_name(tag, CharDfa::any(), budget, named);
  add_any_value(named, after);
}

void DsmlRules::add_loose_value(StateId from, const ReplyTool& tool, const Conjunction& value,
                                StateId to) {
  GrammarBuilder& builder = json_.builder();
  try {
    // Large schemas are a burden here, not a promise.
    if (loose_.is_spent() || builder.n_states() > GrammarBuilder::kMaxStates / 2) {
      add_any_value(from, to);
      return;
    }
    SchemaRules rules(json_, {tool.parameters, tool.where}, Undeclared::kAllowed, loose_);
    const KindSet kinds = rules.kinds(value);
    std::optional<RuleId> rule;
    if ((kinds & ~kStringKind) != 0) rule = rules.rule(value, ValueForm::kNotString);
    rules.build();
    if ((kinds & kStringKind) != 0) add_string_value(from, to);
    if (rule) add_json_value(from, *rule, to);
  } catch (const Error&) {
    add_any_value(from, to);
  }
}

}  // namespace dsv4
