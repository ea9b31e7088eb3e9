// Reading of config.json members with aliases, ranges and errors that name the key. Only the
// config*.cc files include this.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>

#include <nlohmann/json_fwd.hpp>

namespace dsv4 {

// Looks at a JSON object, which must outlive it. `where` names it in errors.
class ConfigReader {
 public:
  using Names = std::initializer_list<const char*>;

  ConfigReader(const nlohmann::json& object, std::string where)
      : object_(object), where_(std::move(where)) {}

  // Whether the member is there, null or not.
  bool contains(const char* name) const;
  // The first of the names that is there and not null, else nullptr.
  const nlohmann::json* find(Names names) const;
  // The member as a reader of its own; an empty object where it is absent.
  ConfigReader child(const char* name) const;

  // A whole number in [low, high]; also when written as 16.0.
  int64_t integer(Names names, int64_t low, int64_t high) const;
  int64_t integer_or(Names names, int64_t fallback, int64_t low, int64_t high) const;
  int64_t check_integer(const nlohmann::json& value, std::string_view name, int64_t low,
                        int64_t high) const;

  // A finite number in [low, high].
  double number(Names names, double low, double high) const;
  double number_or(Names names, double fallback, double low, double high) const;

  // Refuses a member that is there with another value than the one this program implements.
  void expect(Names names, const nlohmann::json& only) const;

  [[noreturn]] void refuse(std::string_view name, const std::string& message) const;
  [[noreturn]] void refuse_unsupported(std::string_view name, const std::string& message) const;

  // A value as JSON, cut where it is long.
  static std::string shown(const nlohmann::json& value);

 private:
  const nlohmann::json& required(Names names) const;
  double check_number(const nlohmann::json& value, std::string_view name, double low,
                      double high) const;

  const nlohmann::json& object_;
  std::string where_;
};

}  // namespace dsv4
