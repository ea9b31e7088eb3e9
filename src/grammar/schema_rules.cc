// Kinds of values other than objects, which are in schema_objects.cc.
#include "grammar/schema_rules.h"

#include "base/error.h"
#include "grammar/number_rules.h"
#include "grammar/regex.h"
#include "grammar/schema_numbers.h"
#include "grammar/string_formats.h"
#include "text/unicode.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

namespace dsv4 {

namespace {

// A size such as minItems; larger ones than any reply has count as kUnbounded - 1.
uint32_t size_of(const SchemaNode& node) {
  const bool is_whole = node.json->kind() == Json::Kind::kDouble &&
                        std::trunc(node.json->as_double("")) == node.json->as_double("");
  const double value = is_whole ? node.json->as_double(node.path)
                                : static_cast<double>(node.json->as_int(node.path));
  if (value < 0) throw Error(ErrorCode::kInvalidInput, node.path, "expected 0 or more");
  return static_cast<uint32_t>(std::min<double>(value, kUnbounded - 1));
}

size_t count_chars(std::string_view text) {
  size_t n = 0;
  for (size_t i = 0; i < text.size(); ++n) i += decode_utf8(text, i).length;
  return n;
}

// The elements of prefixItems, or of items as a list, which is its older spelling.
std::optional<SchemaNode> prefix_of(const SchemaNode& node) {
  if (auto prefix = child(node, "prefixItems")) return prefix;
  if (auto items = child(node, "items"); items && items->json->is_array()) return items;
  return std::nullopt;
}

std::optional<SchemaNode> rest_of(const SchemaNode& node) {
  auto items = child(node, "items");
  return items && items->json->is_array() ? child(node, "additionalItems") : items;
}

}  // namespace

RuleId SchemaRules::rule(const Conjunction& schemas, ValueForm form) {
  if (form == ValueForm::kJson && schemas.empty()) return json_.any_value();
  Key key{{}, form};
  for (const SchemaNode& node : schemas) key.first.push_back(node.json);
  std::ranges::sort(key.first);
  key.first.erase(std::unique(key.first.begin(), key.first.end()), key.first.end());
  const auto [it, is_new] = rules_.try_emplace(std::move(key), 0);
  if (is_new) {
    it->second = json_.builder().add_rule();
    open_.push_back({it->second, schemas, form});
  }
  return it->second;
}

void SchemaRules::build() {
  while (!open_.empty()) {
    const Open open = std::move(open_.front());
    open_.pop_front();
    for (const Conjunction& alternative : resolver_.alternatives(open.schemas)) {
      add_alternative(alternative, open.form, json_.builder().rule(open.rule));
    }
  }
}

KindSet SchemaRules::kinds_of_alternative(const Conjunction& schemas) {
  KindSet kinds = kAllKinds;
  for (const SchemaNode& node : schemas) {
    budget_.alternatives.spend(work_of_lists(node), node.path);
    // Listed values say their kinds themselves.
    const bool is_listed = node.json->find("type") == nullptr && listed_values(node);
    if (!is_listed) kinds &= kinds_of(node);
  }
  return kinds;
}

KindSet SchemaRules::kinds(const Conjunction& schemas) {
  KindSet all = 0;
  for (const Conjunction& alternative : resolver_.alternatives(schemas)) {
    KindSet kinds = kinds_of_alternative(alternative);
    for (const SchemaNode& node : alternative) {
      const auto values = listed_values(node);
      if (!values) continue;
      KindSet listed = 0;
      for (const Json* value : *values) listed |= kind_of(*value);
      kinds &= listed;
    }
    all |= kinds;
  }
  return all;
}

void SchemaRules::add_alternative(const Conjunction& schemas, ValueForm form,
                                  GrammarBuilder::Rule rule) {
  GrammarBuilder& builder = json_.builder();
  KindSet kinds = kinds_of_alternative(schemas);
  std::optional<std::vector<const Json*>> values;
  for (const SchemaNode& node : schemas) {
    if (!values) values = listed_values(node);
  }
  if (form == ValueForm::kRawString) kinds &= kStringKind;
  if (form == ValueForm::kNotString) kinds &= static_cast<KindSet>(~kStringKind);
  if (values) {
    add_listed(schemas, *values, kinds, form, rule);
    return;
  }
  if (schemas.empty() && form == ValueForm::kJson) {
    builder.add_call(rule.start, json_.any_value(), rule.end);
    return;
  }
  if (kinds & kNullKind) builder.add_text(rule.start, "null", rule.end);
  if (kinds & kBoolKind) builder.add_text(rule.start, "true", rule.end);
  if (kinds & kBoolKind) builder.add_text(rule.start, "false", rule.end);
  if (kinds & kNumberKinds) add_number(schemas, kinds, rule);
  if (kinds & kArrayKind) add_array(schemas, rule);
  if (kinds & kObjectKind) add_object(schemas, rule);
  if (kinds & kStringKind) {
    const bool is_raw = form == ValueForm::kRawString;
    add_string(schemas, is_raw ? TextForm::kRaw : TextForm::kJson, rule);
  }
}

void SchemaRules::add_listed(const Conjunction& schemas, const std::vector<const Json*>& values,
                             KindSet kinds, ValueForm form, GrammarBuilder::Rule rule) {
  // The lists beside the one that `values` came from, by how their values print.
  std::vector<std::set<std::string>> lists;
  for (const SchemaNode& node : schemas) {
    const auto listed = listed_values(node);
    if (!listed || *listed == values) continue;
    lists.emplace_back();
    for (const Json* value : *listed) lists.back().insert(value->print());
  }
  const bool has_texts =
      std::ranges::any_of(values, [](const Json* value) { return value->is_string(); });
  const std::optional<CharDfa> pattern = has_texts ? pattern_of(schemas) : std::nullopt;
  for (const Json* value : values) {
    const auto has_value = [&](const auto& list) { return list.contains(value->print()); };
    if (!std::ranges::all_of(lists, has_value)) continue;
    // A number without fraction is an integer, however it is written.
    KindSet kind = kind_of(*value);
    if (kind == kFractionKind && std::trunc(value->as_double("")) == value->as_double("")) {
      kind = kIntegerKind;
    }
    if ((kind & kinds) == 0 || !accepts(schemas, pattern, *value)) continue;
    if (form == ValueForm::kRawString) {
      json_.encoder().add_literal(rule.start, value->as_string(""), rule.end);
    } else {
      add_value(rule.start, *value, rule.end);
    }
  }
}

// Whether a listed value satisfies the keywords beside the list, and `pattern` of them.
bool SchemaRules::accepts(const Conjunction& schemas, const std::optional<CharDfa>& pattern,
                          const Json& value) {
  for (const SchemaNode& node : schemas) {
    const bool is_compound = value.is_array() || value.is_object();
    for (const std::string_view key : {"items", "prefixItems", "minItems", "maxItems", "properties",
                                       "required", "additionalProperties", "patternProperties"}) {
      if (!is_compound || node.json->find(key) == nullptr) continue;
      throw Error(ErrorCode::kUnsupported, node.path,
                  fmt::format("\"{}\" beside an enumeration of objects or arrays", key));
    }
  }
  if (value.is_string()) {
    const std::string& text = value.as_string("");
    const Bounds length = bounds(schemas, "minLength", "maxLength");
    const size_t n = count_chars(text);
    if (n < length.min || n > length.max) return false;
    return !pattern || pattern->matches(text);
  }
  return (kind_of(value) & kNumberKinds) == 0 || is_in_range(schemas, value);
}

void SchemaRules::add_value(StateId from, const Json& value, StateId to) {
  GrammarBuilder& builder = json_.builder();
  if (value.is_array()) {
    std::vector<RuleId> items;
    for (const Json& item : value.as_array("")) {
      items.push_back(builder.add_rule());
      const GrammarBuilder::Rule rule = builder.rule(items.back());
      add_value(rule.start, item, rule.end);
    }
    const uint32_t n = static_cast<uint32_t>(items.size());
    json_.add_array(from, items, std::nullopt, n, n, to);
    return;
  }
  if (!value.is_object()) {
    json_.encoder().add_literal(from, value.print(), to);
    return;
  }
  StateId at = builder.add_state();
  builder.add_byte(from, '{', at);
  at = json_.add_space(at);
  const Json::Object& members = value.as_object("");
  for (const Json::Member& member : members) {
    if (&member != &members.front()) {
      const StateId comma = builder.add_state();
      builder.add_byte(at, ',', comma);
      at = json_.add_space(comma);
    }
    const StateId behind = builder.add_state();
    std::string key;
    append_json_quoted(key, member.key);
    add_value(json_.add_colon(builder.add_text(at, key)), member.value, behind);
    at = behind;
  }
  builder.add_byte(members.empty() ? at : json_.add_space(at), '}', to);
}

void SchemaRules::add_number(const Conjunction& schemas, KindSet kinds, GrammarBuilder::Rule rule) {
  const SchemaNumbers numbers = read_numbers(schemas);
  const bool is_integer = numbers.is_integer || (kinds & kFractionKind) == 0;
  const bool is_any = !numbers.range.low && !numbers.range.high && numbers.range.multiple_of == 1;
  if (is_integer && is_any) {
    json_.add_any_integer(rule.start, rule.end);
  } else if (is_any) {
    json_.add_any_number(rule.start, rule.end);
  } else if (is_integer) {
    add_integers(json_.builder(), rule.start, numbers.range, rule.end);
  } else {
    add_numbers(json_.builder(), rule.start, numbers.range, rule.end);
  }
}

SchemaRules::Bounds SchemaRules::bounds(const Conjunction& schemas, std::string_view min_key,
                                        std::string_view max_key) {
  Bounds out;
  for (const SchemaNode& node : schemas) {
    if (const auto min = child(node, min_key)) out.min = std::max(out.min, size_of(*min));
    if (const auto max = child(node, max_key)) out.max = std::min(out.max, size_of(*max));
  }
  return out;
}

const CharDfa& SchemaRules::regex(const std::string& pattern, const std::string& path) {
  const auto found = regexes_.find(pattern);
  if (found != regexes_.end()) return found->second;
  return regexes_.emplace(pattern, compile_regex(pattern, budget_.automata, path)).first->second;
}

// What pattern and format leave; nothing without them.
std::optional<CharDfa> SchemaRules::pattern_of(const Conjunction& schemas) {
  std::optional<CharDfa> all;
  const auto add = [&](const std::string& pattern, const std::string& path) {
    const CharDfa& dfa = regex(pattern, path);
    all = all ? all->intersect(dfa, budget_.automata, path) : dfa;
  };
  for (const SchemaNode& node : schemas) {
    if (const auto pattern = child(node, "pattern")) {
      add(pattern->json->as_string(pattern->path), pattern->path);
    }
    if (const auto format = child(node, "format")) {
      const auto pattern = regex_of_format(format->json->as_string(format->path));
      if (pattern) add(std::string(*pattern), format->path);
    }
  }
  return all;
}

void SchemaRules::add_string(const Conjunction& schemas, TextForm form, GrammarBuilder::Rule rule) {
  GrammarBuilder& builder = json_.builder();
  const Bounds length = bounds(schemas, "minLength", "maxLength");
  std::optional<CharDfa> pattern = pattern_of(schemas);
  if (length.min > length.max) return;
  if (!pattern) {
    if (form == TextForm::kRaw) {
      json_.encoder().add_text(rule.start, length.min, length.max, rule.end, form);
    } else {
      json_.add_string(rule.start, length.min, length.max, rule.end);
    }
    return;
  }
  const std::string& path = schemas.front().path;
  if (length.min > 0 || length.max != kUnbounded) {
    const uint64_t max =
        length.max == kUnbounded ? std::numeric_limits<uint64_t>::max() : length.max;
    *pattern = pattern->intersect_length(length.min, max, budget_.automata, path);
  }
  *pattern = pattern->intersect(CharDfa::without(forbidden_word(form)), budget_.automata, path);
  StateId from = rule.start;
  StateId to = rule.end;
  if (form == TextForm::kJson) {
    from = builder.add_state();
    to = builder.add_state();
    builder.add_byte(rule.start, '"', from);
    builder.add_byte(to, '"', rule.end);
  }
  json_.encoder().add_dfa(from, *pattern, to, form, Escapes::kNeeded);
}

void SchemaRules::add_array(const Conjunction& schemas, GrammarBuilder::Rule rule) {
  Bounds size = bounds(schemas, "minItems", "maxItems");
  size_t n_first = 0;
  for (const SchemaNode& node : schemas) {
    if (const auto prefix = prefix_of(node)) {
      n_first = std::max(n_first, prefix->json->as_array(prefix->path).size());
    }
  }
  // Of the item at `i`; n_first for those behind.
  const auto item_at = [&](size_t i) {
    Conjunction item;
    for (const SchemaNode& node : schemas) {
      const auto prefix = prefix_of(node);
      if (prefix && i < prefix->json->as_array(prefix->path).size()) {
        item.push_back(element(*prefix, i));
      } else if (const auto rest = rest_of(node)) {
        item.push_back(*rest);
      }
    }
    return item;
  };
  std::vector<RuleId> first;
  for (size_t i = 0; i < std::min<size_t>(n_first, size.max); ++i) {
    const Conjunction item = item_at(i);
    if (is_impossible(item)) {
      size.max = static_cast<uint32_t>(i);
      break;
    }
    first.push_back(this->rule(item, ValueForm::kJson));
  }
  std::optional<RuleId> rest;
  if (size.max > first.size()) {
    const Conjunction item = item_at(n_first);
    if (!is_impossible(item)) rest = this->rule(item, ValueForm::kJson);
  }
  if (size.min > size.max || (!rest && size.min > first.size())) return;
  json_.add_array(rule.start, first, rest, size.min, size.max, rule.end);
}

}  // namespace dsv4
