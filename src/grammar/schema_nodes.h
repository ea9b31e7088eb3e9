// JSON schemas as they stand in a request: what they refer to, which keywords they may have, and
// the alternatives that anyOf, oneOf, allOf and $ref come to.
#pragma once

#include "grammar/work_budget.h"
#include "text/json.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace dsv4 {

// A schema and its path in the request, for errors.
struct SchemaNode {
  const Json* json;
  std::string path;
};

// A value must satisfy all of these.
using Conjunction = std::vector<SchemaNode>;

// Kinds of values as bits.
using KindSet = uint8_t;
inline constexpr KindSet kNullKind = 1;
inline constexpr KindSet kBoolKind = 2;
inline constexpr KindSet kIntegerKind = 4;
inline constexpr KindSet kFractionKind = 8;  // numbers that are not written as integers
inline constexpr KindSet kStringKind = 16;
inline constexpr KindSet kArrayKind = 32;
inline constexpr KindSet kObjectKind = 64;
inline constexpr KindSet kNumberKinds = kIntegerKind | kFractionKind;
inline constexpr KindSet kAllKinds = 127;

KindSet kind_of(const Json& value);
// By "type" and "nullable"; without "type" those that the other keywords are about, or all.
KindSet kinds_of(const SchemaNode& node);

// The schema at a keyword; the path goes on with it.
std::optional<SchemaNode> child(const SchemaNode& node, std::string_view key);
SchemaNode element(const SchemaNode& node, size_t i);
// The values that "enum" and "const" leave; nothing without them.
std::optional<std::vector<const Json*>> listed_values(const SchemaNode& node);
bool requires_property(const SchemaNode& node, std::string_view name);
// Whether a schema is `false`, so that no value satisfies all.
bool is_impossible(const Conjunction& schemas);

// For AlternativesBudget: to look once at all that "enum" and "required" list. The schema has
// passed check_keywords.
size_t work_of_lists(const SchemaNode& node);

// Refuses keywords that are not enforced and values of the wrong type. Throws Error(kUnsupported)
// or Error(kInvalidInput) with the path.
void check_keywords(const SchemaNode& node);

// A bound on the work for alternatives, of which there may be exponentially many: about the
// schemas that are looked at and copied. Throws Error(kOutOfRange) at `path` when it is spent.
class AlternativesBudget : public WorkBudget {
 public:
  AlternativesBudget()
      : WorkBudget(
            500'000, ErrorCode::kOutOfRange,
            "the schema has too many combinations of alternatives; use fewer anyOf and allOf") {}
};

class SchemaResolver {
 public:
  // `root` and `budget` must outlive the resolver.
  SchemaResolver(SchemaNode root, AlternativesBudget& budget)
      : root_(std::move(root)), budget_(budget) {}

  // Conjunctions of schema objects of which a value must satisfy one, and in which $ref, allOf,
  // anyOf and oneOf no longer count. Throws Error(kUnsupported, kInvalidInput, kOutOfRange).
  std::vector<Conjunction> alternatives(const Conjunction& schemas);

  static constexpr size_t kMaxAlternatives = 500;  // of one value

 private:
  struct Pending {
    SchemaNode node;
    std::vector<const Json*> trail;  // what it was reached through without reading anything
  };
  struct Partial {
    std::vector<Pending> pending;  // the next last
    Conjunction done;
  };

  void expand(Partial partial, std::vector<Partial>& open);
  SchemaNode resolve(const SchemaNode& node) const;
  SchemaNode target(const SchemaNode& node) const;
  void check_once(const SchemaNode& node);
  void check_disjoint(const SchemaNode& node);
  // Of values whose kinds are in `context`. True only if it is certain.
  bool are_disjoint(const SchemaNode& a, const SchemaNode& b, KindSet context, int depth);
  static size_t size_of(const Partial& partial);
  // For `n_comparisons` of short values.
  void spend_comparisons(size_t n_comparisons, const std::string& path);

  SchemaNode root_;
  AlternativesBudget& budget_;
  std::set<const Json*> checked_;   // their keywords
  std::set<const Json*> disjoint_;  // the branches of their oneOf
};

}  // namespace dsv4
