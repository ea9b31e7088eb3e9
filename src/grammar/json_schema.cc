#include "grammar/json_schema.h"

namespace dsv4 {

std::shared_ptr<const Grammar> compile_json_schema(const Json& schema, std::string_view where,
                                                   Undeclared undeclared) {
  GrammarBuilder builder{std::string(where)};
  JsonRules json(builder);
  const SchemaNode root{&schema, std::string(where)};
  SchemaBudget budget;
  SchemaRules rules(json, root, undeclared, budget);
  const RuleId start = rules.rule({root}, ValueForm::kJson);
  rules.build();
  return builder.finish(start);
}

std::shared_ptr<const Grammar> compile_json_object() {
  GrammarBuilder builder("json_object");
  JsonRules json(builder);
  return builder.finish(json.any_object());
}

}  // namespace dsv4
