// Objects: which properties there may be, and their order. A property that may be left out is
// jumped over, so that the automaton grows with the number of properties and not with their
// combinations.
#include "base/error.h"
#include "grammar/schema_rules.h"

#include <fmt/core.h>

#include <algorithm>
#include <optional>
#include <set>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>

namespace dsv4 {

namespace {

struct NamePattern {
  std::string text;
  const CharDfa* dfa;
};

Error too_many_patterns(const std::string& path) {
  return {ErrorCode::kUnsupported, path,
          fmt::format("more than {} patternProperties", SchemaRules::kMaxPatterns)};
}

// What one schema says about properties, to be looked up by name.
struct Members {
  std::unordered_map<std::string_view, SchemaNode> properties;
  std::unordered_set<std::string_view> required;
  std::vector<std::pair<std::string, SchemaNode>> patterns;
  std::optional<SchemaNode> additional;
};

Members members_of(const SchemaNode& node) {
  Members members;
  if (const auto properties = child(node, "properties")) {
    for (const Json::Member& member : properties->json->as_object(properties->path)) {
      members.properties.emplace(
          member.key,
          SchemaNode{&member.value, fmt::format("{}.{}", properties->path, member.key)});
    }
  }
  if (const auto required = child(node, "required")) {
    for (const Json& name : required->json->as_array(required->path)) {
      members.required.insert(name.as_string(required->path));
    }
  }
  if (const auto patterns = child(node, "patternProperties")) {
    const Json::Object& object = patterns->json->as_object(patterns->path);
    if (object.size() > SchemaRules::kMaxPatterns) throw too_many_patterns(patterns->path);
    for (const Json::Member& member : object) {
      members.patterns.emplace_back(member.key, *child(*patterns, member.key));
    }
  }
  members.additional = child(node, "additionalProperties");
  return members;
}

// Names in the order of "properties" of each schema, then those that are only required.
std::vector<std::string> declared_names(const Conjunction& schemas) {
  std::vector<std::string> names;
  std::set<std::string> seen;
  const auto add = [&](const std::string& name) {
    if (seen.insert(name).second) names.push_back(name);
  };
  for (const SchemaNode& node : schemas) {
    const auto properties = child(node, "properties");
    if (!properties) continue;
    for (const auto& member : properties->json->as_object(properties->path)) add(member.key);
  }
  for (const SchemaNode& node : schemas) {
    const auto required = child(node, "required");
    if (!required) continue;
    for (const Json& name : required->json->as_array(required->path)) {
      add(name.as_string(required->path));
    }
  }
  return names;
}

}  // namespace

ObjectShape SchemaRules::shape_of(const Conjunction& schemas) {
  std::vector<Members> all;
  for (const SchemaNode& node : schemas) all.push_back(members_of(node));
  const std::vector<std::string> declared = declared_names(schemas);
  for (const SchemaNode& node : schemas) {
    budget_.alternatives.spend(declared.size(), node.path);
  }
  ObjectShape shape;
  for (const std::string& name : declared) {
    ObjectShape::Property property{name, {}, false};
    for (const Members& members : all) {
      if (members.required.contains(name)) property.is_required = true;
      const size_t n_before = property.value.size();
      const auto known = members.properties.find(name);
      if (known != members.properties.end()) {
        property.value.push_back(known->second);
      }
      for (const auto& [pattern, value] : members.patterns) {
        if (regex(pattern, value.path).matches(name)) property.value.push_back(value);
      }
      const bool is_known = property.value.size() > n_before;
      if (!is_known && members.additional) property.value.push_back(*members.additional);
    }
    shape.properties.push_back(std::move(property));
  }
  add_others(schemas, shape);
  return shape;
}

// The names that are not declared fall into classes by which patterns match them.
void SchemaRules::add_others(const Conjunction& schemas, ObjectShape& shape) {
  std::vector<NamePattern> patterns;
  bool is_told = false;  // whether there is a word about undeclared properties
  for (const SchemaNode& node : schemas) {
    if (node.json->find("additionalProperties") != nullptr) is_told = true;
    const auto map = child(node, "patternProperties");
    if (!map) continue;
    for (const Json::Member& member : map->json->as_object(map->path)) {
      const auto is_same = [&](const NamePattern& p) { return p.text == member.key; };
      if (std::ranges::any_of(patterns, is_same)) continue;
      patterns.push_back({member.key, &regex(member.key, map->path)});
    }
    if (patterns.size() > kMaxPatterns) {
      throw too_many_patterns(map->path);
    }
  }
  const bool is_silent = !is_told && undeclared_ == Undeclared::kForbidden &&
                         (!shape.properties.empty() || !patterns.empty());
  std::vector<std::string> names;
  for (const auto& property : shape.properties) names.push_back(property.name);
  for (size_t matching = 0; matching < size_t{1} << patterns.size(); ++matching) {
    if (matching == 0 && is_silent) continue;
    ObjectShape::Others others;
    for (const SchemaNode& node : schemas) {
      bool is_known = false;
      const auto map = child(node, "patternProperties");
      for (size_t i = 0; i < patterns.size() && map; ++i) {
        const auto value = child(*map, patterns[i].text);
        if (!value || (matching >> i & 1) == 0) continue;
        others.value.push_back(*value);
        is_known = true;
      }
      const auto additional = child(node, "additionalProperties");
      if (!is_known && additional) others.value.push_back(*additional);
    }
    if (is_impossible(others.value)) continue;
    if (!patterns.empty() || !names.empty()) {
      const std::string& path = schemas.front().path;
      CharDfa dfa = CharDfa::any();
      if (!names.empty())
        dfa = dfa.subtract(CharDfa::of_strings(names, budget_.automata, path), budget_.automata,
                           path);
      for (size_t i = 0; i < patterns.size(); ++i) {
        dfa = (matching >> i & 1) != 0 ? dfa.intersect(*patterns[i].dfa, budget_.automata, path)
                                       : dfa.subtract(*patterns[i].dfa, budget_.automata, path);
      }
      if (dfa.is_empty()) continue;
      others.names = std::move(dfa);
    }
    shape.others.push_back(std::move(others));
  }
}

void SchemaRules::add_key(StateId from, const ObjectShape::Others& others, StateId to) {
  if (!others.names) {
    json_.add_string(from, 0, kUnbounded, to);
    return;
  }
  GrammarBuilder& builder = json_.builder();
  const StateId open = builder.add_state();
  const StateId close = builder.add_state();
  builder.add_byte(from, '"', open);
  json_.encoder().add_dfa(open, *others.names, close, TextForm::kJson, Escapes::kNeeded);
  builder.add_byte(close, '"', to);
}

// Before property i there are two places: at the beginning of the object, and behind a comma. After
// it, one: a comma may come or the end, as what is left allows.
void SchemaRules::add_object(const Conjunction& schemas, GrammarBuilder::Rule rule) {
  GrammarBuilder& builder = json_.builder();
  const ObjectShape shape = shape_of(schemas);
  const StateId brace = builder.add_state();
  const StateId close = builder.add_state();  // white space may come
  builder.add_byte(rule.start, '{', brace);
  builder.add_byte(json_.add_space(close), '}', rule.end);
  StateId first = json_.add_space(brace);
  StateId next = builder.add_state();   // behind a comma
  StateId after = builder.add_state();  // a property
  const auto add_comma = [&](StateId from, StateId to) {
    const StateId comma = builder.add_state();
    builder.add_byte(from, ',', comma);
    json_.add_space(comma, to);
  };
  for (const ObjectShape::Property& property : shape.properties) {
    const StateId key = builder.add_state();
    builder.add_jump(first, key);
    builder.add_jump(next, key);
    add_comma(after, next);
    const StateId first_later = builder.add_state();
    const StateId next_later = builder.add_state();
    const StateId after_later = builder.add_state();
    if (!property.is_required) {
      builder.add_jump(first, first_later);
      builder.add_jump(next, next_later);
      builder.add_jump(after, after_later);
    }
    if (!is_impossible(property.value)) {
      std::string name;
      append_json_quoted(name, property.name);
      const StateId value = json_.add_colon(builder.add_text(key, name));
      builder.add_call(value, this->rule(property.value, ValueForm::kJson), after_later);
    }
    first = first_later;
    next = next_later;
    after = after_later;
  }
  builder.add_byte(first, '}', rule.end);
  builder.add_jump(after, close);
  if (shape.others.empty()) return;
  builder.add_jump(first, next);
  add_comma(after, next);
  for (const ObjectShape::Others& others : shape.others) {
    const StateId colon = builder.add_state();
    add_key(next, others, colon);
    builder.add_call(json_.add_colon(colon), this->rule(others.value, ValueForm::kJson), after);
  }
}

}  // namespace dsv4
