#include "text/declared_tools.h"

#include <algorithm>

namespace dsv4 {

namespace {

// Whether the schema of a parameter allows a string, or does not say.
bool may_be_string(const Json& schema) {
  const Json* type = schema.find("type");
  if (type == nullptr) return true;
  if (!type->is_array()) return !type->is_string() || *type == Json("string");
  const Json::Array& types = type->as_array("");
  return types.empty() || std::find(types.begin(), types.end(), Json("string")) != types.end();
}

}  // namespace

DeclaredTools::DeclaredTools(const Json::Array& tools) {
  for (const Json& tool : tools) {
    const Json* function = tool.find("function");
    const Json* name = function != nullptr ? function->find("name") : nullptr;
    if (name == nullptr || !name->is_string()) continue;
    Parameters& parameters = tools_[name->as_string("")];
    const Json* schema = function->find("parameters");
    const Json* properties = schema != nullptr ? schema->find("properties") : nullptr;
    if (properties == nullptr || !properties->is_object()) continue;
    for (const Json::Member& member : properties->as_object("")) {
      parameters[member.key] =
          may_be_string(member.value) ? Type::kStringOrUnknown : Type::kNotString;
    }
  }
}

const DeclaredTools::Type* DeclaredTools::find(std::string_view tool, std::string_view name) const {
  const auto parameters = tools_.find(tool);
  if (parameters == tools_.end()) return nullptr;
  const auto parameter = parameters->second.find(name);
  return parameter != parameters->second.end() ? &parameter->second : nullptr;
}

bool DeclaredTools::has_parameter(std::string_view tool, std::string_view name) const {
  return find(tool, name) != nullptr;
}

bool DeclaredTools::is_not_string(std::string_view tool, std::string_view name) const {
  const Type* type = find(tool, name);
  return type != nullptr && *type == Type::kNotString;
}

}  // namespace dsv4
