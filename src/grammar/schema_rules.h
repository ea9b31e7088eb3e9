// From JSON schemas to rules of a grammar: one rule for each set of schemas that some value must
// satisfy. Values are built kind by kind; objects have their properties in the declared order.
#pragma once

#include "grammar/char_dfa.h"
#include "grammar/json_rules.h"
#include "grammar/schema_nodes.h"

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace dsv4 {

// How objects treat properties that they do not declare, where the schema does not say.
enum class Undeclared { kAllowed, kForbidden };

// How a value stands in the reply.
enum class ValueForm {
  kJson,       // any value as JSON
  kRawString,  // strings only, without quotes and escapes
  kNotString,  // other values as JSON
};

// What schemas say about the properties of an object.
struct ObjectShape {
  struct Property {
    std::string name;
    Conjunction value;
    bool is_required = false;
  };
  struct Others {
    std::optional<CharDfa> names;  // any, if absent
    Conjunction value;
  };
  std::vector<Property> properties;
  std::vector<Others> others;  // properties that are not declared, by their names
};

// Bounds of the work for schemas, of one or of several together.
struct SchemaBudget {
  AlternativesBudget alternatives;
  AutomatonBudget automata;
  bool is_spent() const { return alternatives.is_spent() || automata.is_spent(); }
};

class SchemaRules {
 public:
  // `root` is what references refer to; it and `budget` must outlive this.
  SchemaRules(JsonRules& json, SchemaNode root, Undeclared undeclared, SchemaBudget& budget)
      : json_(json),
        resolver_(std::move(root), budget.alternatives),
        undeclared_(undeclared),
        budget_(budget) {}

  // The rule of values that satisfy all schemas. It has no states before build().
  RuleId rule(const Conjunction& schemas, ValueForm form);
  // Adds the states of all rules that were asked for. Throws Error for unsupported schemas.
  void build();

  // `schemas` is one of the resolver's alternatives.
  ObjectShape shape_of(const Conjunction& schemas);
  SchemaResolver& resolver() { return resolver_; }
  // The kinds of values that may satisfy all schemas, by their types and listed values.
  KindSet kinds(const Conjunction& schemas);
  AutomatonBudget& budget() { return budget_.automata; }

  static constexpr size_t kMaxPatterns = 4;  // patternProperties of one object

 private:
  using Key = std::pair<std::vector<const Json*>, ValueForm>;
  struct Open {
    RuleId rule;
    Conjunction schemas;
    ValueForm form;
  };
  struct Bounds {
    uint32_t min = 0;
    uint32_t max = kUnbounded;
  };

  KindSet kinds_of_alternative(const Conjunction& schemas);
  void add_alternative(const Conjunction& schemas, ValueForm form, GrammarBuilder::Rule rule);
  void add_listed(const Conjunction& schemas, const std::vector<const Json*>& values, KindSet kinds,
                  ValueForm form, GrammarBuilder::Rule rule);
  bool accepts(const Conjunction& schemas, const std::optional<CharDfa>& pattern,
               const Json& value);
  void add_value(StateId from, const Json& value, StateId to);
  void add_number(const Conjunction& schemas, KindSet kinds, GrammarBuilder::Rule rule);
  void add_string(const Conjunction& schemas, TextForm form, GrammarBuilder::Rule rule);
  void add_array(const Conjunction& schemas, GrammarBuilder::Rule rule);
  void add_object(const Conjunction& schemas, GrammarBuilder::Rule rule);
  void add_key(StateId from, const ObjectShape::Others& others, StateId to);

  Bounds bounds(const Conjunction& schemas, std::string_view min_key, std::string_view max_key);
  const CharDfa& regex(const std::string& pattern, const std::string& path);
  std::optional<CharDfa> pattern_of(const Conjunction& schemas);
  void add_others(const Conjunction& schemas, ObjectShape& shape);

  JsonRules& json_;
  SchemaResolver resolver_;
  Undeclared undeclared_;
  SchemaBudget& budget_;
  std::map<std::string, CharDfa> regexes_;  // those compiled so far
  std::map<Key, RuleId> rules_;
  std::deque<Open> open_;
};

}  // namespace dsv4
