// What a request declares about its tools, as far as reading of tool calls depends on it.
#pragma once

#include "text/json.h"

#include <map>
#include <string>
#include <string_view>

namespace dsv4 {

class DeclaredTools {
 public:
  DeclaredTools() = default;

  // `tools` as in a request: objects with `function` {name, parameters {properties}}. Elements of
  // another form are left out.
  explicit DeclaredTools(const Json::Array& tools);

  bool empty() const { return tools_.empty(); }
  bool has_tool(std::string_view name) const { return tools_.contains(name); }
  bool has_parameter(std::string_view tool, std::string_view name) const;

  // The schema gives the parameter types of which none is "string".
  bool is_not_string(std::string_view tool, std::string_view name) const;

 private:
  enum class Type { kNotString, kStringOrUnknown };
  using Parameters = std::map<std::string, Type, std::less<>>;

  const Type* find(std::string_view tool, std::string_view name) const;

  std::map<std::string, Parameters, std::less<>> tools_;
};

}  // namespace dsv4
