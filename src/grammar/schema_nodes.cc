#include "grammar/schema_nodes.h"

#include "base/error.h"

#include <fmt/core.h>

#include <algorithm>
#include <utility>

namespace dsv4 {

namespace {

constexpr std::pair<std::string_view, KindSet> kTypes[] = {
    {"null", kNullKind},      {"boolean", kBoolKind},  {"integer", kIntegerKind},
    {"number", kNumberKinds}, {"string", kStringKind}, {"array", kArrayKind},
    {"object", kObjectKind},
};

constexpr std::string_view kUnsupportedKeywords[] = {
    "not",
    "if",
    "then",
    "else",
    "dependentSchemas",
    "dependentRequired",
    "dependencies",
    "propertyNames",
    "contains",
    "minContains",
    "maxContains",
    "unevaluatedItems",
    "$dynamicRef",
    "$recursiveRef",
    "unevaluatedProperties",
    "minProperties",
    "maxProperties",
};

// What a keyword says something about.
constexpr std::pair<std::string_view, KindSet> kAbout[] = {
    {"properties", kObjectKind},
    {"required", kObjectKind},
    {"patternProperties", kObjectKind},
    {"additionalProperties", kObjectKind},
    {"items", kArrayKind},
    {"prefixItems", kArrayKind},
    {"minItems", kArrayKind},
    {"maxItems", kArrayKind},
    {"pattern", kStringKind},
    {"format", kStringKind},
    {"minLength", kStringKind},
    {"maxLength", kStringKind},
    {"minimum", kNumberKinds},
    {"maximum", kNumberKinds},
    {"exclusiveMinimum", kNumberKinds},
    {"exclusiveMaximum", kNumberKinds},
    {"multipleOf", kNumberKinds},
};

KindSet kind_named(const Json& name, const std::string& path) {
  const std::string& text = name.as_string(path);
  for (const auto& [type, kinds] : kTypes) {
    if (type == text) return kinds;
  }
  throw Error(ErrorCode::kInvalidInput, path, fmt::format("unknown type \"{}\"", text));
}

bool is_true(const Json* json) {
  return json != nullptr && json->kind() == Json::Kind::kBool && json->as_bool("");
}

bool is_false(const Json* json) {
  return json != nullptr && json->kind() == Json::Kind::kBool && !json->as_bool("");
}

void check_array(const SchemaNode& node, std::string_view key) {
  const auto list = child(node, key);
  if (!list) return;
  if (list->json->as_array(list->path).empty()) {
    throw Error(ErrorCode::kInvalidInput, list->path, "expected at least one element");
  }
}

void check_objects(const SchemaNode& node) {
  for (const std::string_view key : {"properties", "patternProperties"}) {
    if (const auto map = child(node, key)) map->json->as_object(map->path);
  }
  if (const auto required = child(node, "required")) {
    const Json::Array& names = required->json->as_array(required->path);
    for (size_t i = 0; i < names.size(); ++i) names[i].as_string(element(*required, i).path);
  }
}

// Of an array or object that the schema has there.
size_t n_items(const SchemaNode& node, std::string_view key) {
  const auto list = child(node, key);
  if (!list) return 0;
  return list->json->is_array() ? list->json->as_array("").size()
                                : list->json->as_object(list->path).size();
}

// Whether `a` requires a property that `b` does not have.
bool lacks_place(const SchemaNode& a, const SchemaNode& b) {
  const bool is_closed = is_false(b.json->find("additionalProperties"));
  const auto required = child(a, "required");
  if (!is_closed || !required || b.json->find("patternProperties") != nullptr) return false;
  for (const std::string_view key : {"allOf", "anyOf", "oneOf", "$ref"}) {
    if (b.json->find(key) != nullptr) return false;
  }
  const Json* properties = b.json->find("properties");
  return std::ranges::any_of(required->json->as_array(required->path), [&](const Json& name) {
    return properties == nullptr || properties->find(name.as_string(required->path)) == nullptr;
  });
}

// Without what kinds_of guesses, and with 1 and 1.0 as one value.
KindSet certain_kinds(const SchemaNode& node,
                      const std::optional<std::vector<const Json*>>& values) {
  if (!values) return node.json->find("type") != nullptr ? kinds_of(node) : kAllKinds;
  KindSet set = 0;
  for (const Json* value : *values) set |= kind_of(*value);
  return (set & kNumberKinds) != 0 ? set | kNumberKinds : set;
}

// The key that a part of a JSON pointer means.
std::string unescaped(std::string_view part) {
  std::string key;
  for (size_t i = 0; i < part.size(); ++i) {
    const std::string_view escape = part.substr(i, 2);
    const bool is_escape = escape == "~0" || escape == "~1";
    key += is_escape ? (escape == "~0" ? '~' : '/') : part[i];
    if (is_escape) ++i;
  }
  return key;
}

bool may_be_equal(const Json& a, const Json& b) {
  const KindSet kinds = kind_of(a) | kind_of(b);
  return a == b || kinds == kNumberKinds;
}

}  // namespace

KindSet kind_of(const Json& value) {
  switch (value.kind()) {
    case Json::Kind::kNull:
      return kNullKind;
    case Json::Kind::kBool:
      return kBoolKind;
    case Json::Kind::kInteger:
      return kIntegerKind;
    case Json::Kind::kDouble:
      return kFractionKind;
    case Json::Kind::kString:
      return kStringKind;
    case Json::Kind::kArray:
      return kArrayKind;
    case Json::Kind::kObject:
      return kObjectKind;
  }
  return 0;
}

KindSet kinds_of(const SchemaNode& node) {
  const auto type = child(node, "type");
  KindSet kinds = 0;
  if (!type) {
    for (const auto& [key, about] : kAbout) {
      if (node.json->find(key) != nullptr) kinds |= about;
    }
    return kinds == 0 ? kAllKinds : kinds;
  }
  if (type->json->is_array()) {
    const Json::Array& names = type->json->as_array(type->path);
    for (size_t i = 0; i < names.size(); ++i) {
      kinds |= kind_named(names[i], element(*type, i).path);
    }
  } else {
    kinds = kind_named(*type->json, type->path);
  }
  return is_true(node.json->find("nullable")) ? kinds | kNullKind : kinds;
}

std::optional<SchemaNode> child(const SchemaNode& node, std::string_view key) {
  const Json* json = node.json->find(key);
  if (json == nullptr) return std::nullopt;
  return SchemaNode{json, fmt::format("{}.{}", node.path, key)};
}

SchemaNode element(const SchemaNode& node, size_t i) {
  return {&node.json->as_array(node.path)[i], fmt::format("{}[{}]", node.path, i)};
}

std::optional<std::vector<const Json*>> listed_values(const SchemaNode& node) {
  const Json* constant = node.json->find("const");
  const auto list = child(node, "enum");
  if (constant == nullptr && !list) return std::nullopt;
  std::vector<const Json*> values;
  if (!list) {
    values.push_back(constant);
    return values;
  }
  for (const Json& value : list->json->as_array(list->path)) {
    if (constant == nullptr || *constant == value) values.push_back(&value);
  }
  return values;
}

bool requires_property(const SchemaNode& node, std::string_view name) {
  const auto required = child(node, "required");
  if (!required) return false;
  return std::ranges::any_of(required->json->as_array(required->path), [&](const Json& item) {
    return item.as_string(required->path) == name;
  });
}

bool is_impossible(const Conjunction& schemas) {
  return std::ranges::any_of(schemas, [](const SchemaNode& node) { return is_false(node.json); });
}

size_t work_of_lists(const SchemaNode& node) {
  constexpr size_t kPerWork = 8;
  return (n_items(node, "enum") + n_items(node, "required")) / kPerWork;
}

void check_keywords(const SchemaNode& node) {
  for (const std::string_view key : kUnsupportedKeywords) {
    if (const auto found = child(node, key)) {
      throw Error(ErrorCode::kUnsupported, found->path,
                  fmt::format("the keyword \"{}\" is not supported in structured output", key));
    }
  }
  if (const auto unique = child(node, "uniqueItems");
      unique && unique->json->as_bool(unique->path)) {
    throw Error(ErrorCode::kUnsupported, unique->path,
                "the keyword \"uniqueItems\" is not supported in structured output");
  }
  for (const std::string_view key : {"anyOf", "oneOf", "allOf", "enum"}) check_array(node, key);
  check_objects(node);
  kinds_of(node);
}

// About the cost of a copy.
size_t SchemaResolver::size_of(const Partial& partial) {
  size_t size = 1 + partial.done.size();
  for (const Pending& pending : partial.pending) size += 1 + pending.trail.size();
  return size;
}

void SchemaResolver::spend_comparisons(size_t n_comparisons, const std::string& path) {
  constexpr size_t kPerWork = 64;
  budget_.spend(1 + n_comparisons / kPerWork, path);
}

void SchemaResolver::check_once(const SchemaNode& node) {
  if (!checked_.insert(node.json).second) return;
  check_keywords(node);
  budget_.spend(work_of_lists(node), node.path);
}

// Follows a JSON pointer inside the document. What is read for it is paid for: its text, the path
// so far, and keys that are looked through.
SchemaNode SchemaResolver::target(const SchemaNode& node) const {
  const SchemaNode ref = *child(node, "$ref");
  const std::string& text = ref.json->as_string(ref.path);
  if (text != "#" && !text.starts_with("#/")) {
    throw Error(
        ErrorCode::kUnsupported, ref.path,
        fmt::format("only references within the schema (#/...) are supported, found \"{}\"", text));
  }
  constexpr size_t kPerWork = 64;
  budget_.spend(text.size() / kPerWork, ref.path);
  SchemaNode at = root_;
  for (size_t begin = 1; begin < text.size();) {
    const size_t end = std::min(text.find('/', begin + 1), text.size());
    const std::string key = unescaped(std::string_view(text).substr(begin + 1, end - begin - 1));
    begin = end;
    const size_t n_keys = at.json->is_object() ? at.json->as_object("").size() : 0;
    budget_.spend((at.path.size() + n_keys) / kPerWork, ref.path);
    std::optional<SchemaNode> next = child(at, key);
    const bool is_index = at.json->is_array() && !key.empty() && key.size() < 7 &&
                          key.find_first_not_of("0123456789") == key.npos;
    if (is_index && std::stoul(key) < at.json->as_array("").size()) {
      next = element(at, std::stoul(key));
    }
    if (!next) {
      throw Error(ErrorCode::kInvalidInput, ref.path, fmt::format("there is no \"{}\"", text));
    }
    at = *next;
  }
  return at;
}

std::vector<Conjunction> SchemaResolver::alternatives(const Conjunction& schemas) {
  std::vector<Conjunction> result;
  std::vector<Partial> open(1);
  for (size_t i = schemas.size(); i > 0; --i) open[0].pending.push_back({schemas[i - 1], {}});
  while (!open.empty()) {
    Partial partial = std::move(open.back());
    open.pop_back();
    if (partial.pending.empty()) {
      result.push_back(std::move(partial.done));
      if (result.size() > kMaxAlternatives) {
        throw Error(ErrorCode::kOutOfRange, schemas.front().path,
                    fmt::format("more than {} alternatives for one value", kMaxAlternatives));
      }
      continue;
    }
    expand(std::move(partial), open);
  }
  return result;
}

void SchemaResolver::expand(Partial partial, std::vector<Partial>& open) {
  const Pending next = std::move(partial.pending.back());
  partial.pending.pop_back();
  const SchemaNode& node = next.node;
  budget_.spend(1 + next.trail.size(), node.path);
  if (node.json->kind() == Json::Kind::kBool) {
    if (node.json->as_bool(node.path)) open.push_back(std::move(partial));
    return;
  }
  node.json->as_object(node.path);
  if (std::ranges::find(next.trail, node.json) != next.trail.end()) {
    throw Error(ErrorCode::kInvalidInput, node.path, "the schema refers to itself without end");
  }
  check_once(node);
  const bool is_done = std::ranges::any_of(
      partial.done, [&](const SchemaNode& other) { return other.json == node.json; });
  if (!is_done) partial.done.push_back(node);

  std::vector<const Json*> trail = next.trail;
  trail.push_back(node.json);
  if (const auto all = child(node, "allOf")) {
    for (size_t i = all->json->as_array(all->path).size(); i > 0; --i) {
      partial.pending.push_back({element(*all, i - 1), trail});
    }
  }
  if (node.json->find("$ref") != nullptr) partial.pending.push_back({target(node), trail});
  std::vector<Partial> choices;
  choices.push_back(std::move(partial));
  for (const std::string_view key : {"anyOf", "oneOf"}) {
    const auto list = child(node, key);
    if (!list) continue;
    const Json::Array& branches = list->json->as_array(list->path);
    if (key == "oneOf" && disjoint_.insert(node.json).second) check_disjoint(node);
    std::vector<Partial> extended;
    for (const Partial& choice : choices) {
      for (size_t i = 0; i < branches.size(); ++i) {
        budget_.spend(size_of(choice), node.path);
        extended.push_back(choice);
        extended.back().pending.push_back({element(*list, i), trail});
      }
    }
    choices = std::move(extended);
  }
  // The first alternative is taken from the end first.
  for (size_t i = choices.size(); i > 0; --i) open.push_back(std::move(choices[i - 1]));
}

// Through references that have nothing beside them.
SchemaNode SchemaResolver::resolve(const SchemaNode& node) const {
  SchemaNode at = node;
  for (int i = 0; i < 20 && at.json->find("$ref") != nullptr; ++i) at = target(at);
  return at;
}

void SchemaResolver::check_disjoint(const SchemaNode& node) {
  const SchemaNode list = *child(node, "oneOf");
  const Json::Array& branches = list.json->as_array(list.path);
  const KindSet context = certain_kinds(node, std::nullopt);
  constexpr size_t kMaxBranches = 200;
  constexpr int kMaxDepth = 3;
  if (branches.size() > kMaxBranches) {
    throw Error(ErrorCode::kOutOfRange, list.path,
                fmt::format("oneOf with more than {} branches", kMaxBranches));
  }
  for (size_t i = 0; i < branches.size(); ++i) {
    for (size_t j = 0; j < i; ++j) {
      if (are_disjoint(element(list, j), element(list, i), context, kMaxDepth)) continue;
      throw Error(ErrorCode::kUnsupported, list.path,
                  fmt::format("oneOf is supported where branches exclude each other by type, by "
                              "constants or by required properties; {} and {} may overlap: use "
                              "anyOf",
                              j, i));
    }
  }
}

bool SchemaResolver::are_disjoint(const SchemaNode& first, const SchemaNode& second,
                                  KindSet context, int depth) {
  budget_.spend(1, first.path);
  const SchemaNode a = resolve(first);
  const SchemaNode b = resolve(second);
  if (!a.json->is_object() || !b.json->is_object()) return false;
  check_once(a);
  check_once(b);
  budget_.spend(work_of_lists(a) + work_of_lists(b), first.path);
  const auto values_a = listed_values(a);
  const auto values_b = listed_values(b);
  const KindSet shared = certain_kinds(a, values_a) & certain_kinds(b, values_b) & context;
  if (shared == 0) return true;
  if (values_a && values_b) {
    spend_comparisons(values_a->size() * values_b->size(), first.path);
    return std::ranges::none_of(*values_a, [&](const Json* x) {
      return std::ranges::any_of(*values_b, [&](const Json* y) { return may_be_equal(*x, *y); });
    });
  }
  if (shared != kObjectKind || depth == 0) return false;
  const size_t n_required = n_items(a, "required") + n_items(b, "required");
  spend_comparisons(n_required * (n_items(a, "properties") + n_items(b, "properties")), first.path);
  if (lacks_place(a, b) || lacks_place(b, a)) return true;
  const auto properties_a = child(a, "properties");
  const auto properties_b = child(b, "properties");
  if (!properties_a || !properties_b) return false;
  for (const Json::Member& member : properties_a->json->as_object(properties_a->path)) {
    spend_comparisons(n_items(b, "properties") + n_required, first.path);
    const auto other = child(*properties_b, member.key);
    if (!other) continue;
    if (!requires_property(a, member.key) && !requires_property(b, member.key)) continue;
    if (are_disjoint(*child(*properties_a, member.key), *other, kAllKinds, depth - 1)) return true;
  }
  return false;
}

}  // namespace dsv4
