#include "model/config_reader.h"

#include "base/error.h"

#include <cmath>

#include <fmt/core.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

namespace dsv4 {
namespace {

std::string missing(ConfigReader::Names names) {
  return names.size() == 1 ? std::string("is missing")
                           : fmt::format("is missing (also known as {})",
                                         fmt::join(names.begin() + 1, names.end(), ", "));
}

}  // namespace

bool ConfigReader::contains(const char* name) const { return object_.contains(name); }

const nlohmann::json* ConfigReader::find(Names names) const {
  for (const char* name : names) {
    const auto found = object_.find(name);
    if (found != object_.end() && !found->is_null()) return &*found;
  }
  return nullptr;
}

ConfigReader ConfigReader::child(const char* name) const {
  static const nlohmann::json kEmpty = nlohmann::json::object();
  const nlohmann::json* value = find({name});
  if (value != nullptr && !value->is_object()) refuse(name, "expected an object");
  return {value != nullptr ? *value : kEmpty, fmt::format("{}: {}", where_, name)};
}

int64_t ConfigReader::integer(Names names, int64_t low, int64_t high) const {
  return check_integer(required(names), *names.begin(), low, high);
}

int64_t ConfigReader::integer_or(Names names, int64_t fallback, int64_t low, int64_t high) const {
  const nlohmann::json* value = find(names);
  return value == nullptr ? fallback : check_integer(*value, *names.begin(), low, high);
}

int64_t ConfigReader::check_integer(const nlohmann::json& value, std::string_view name, int64_t low,
                                    int64_t high) const {
  const double number =
      check_number(value, name, static_cast<double>(low), static_cast<double>(high));
  if (number != std::floor(number)) refuse(name, fmt::format("{} is not a whole number", number));
  return static_cast<int64_t>(number);
}

double ConfigReader::number(Names names, double low, double high) const {
  return check_number(required(names), *names.begin(), low, high);
}

double ConfigReader::number_or(Names names, double fallback, double low, double high) const {
  const nlohmann::json* value = find(names);
  return value == nullptr ? fallback : check_number(*value, *names.begin(), low, high);
}

void ConfigReader::expect(Names names, const nlohmann::json& only) const {
  const nlohmann::json* value = find(names);
  if (value == nullptr || *value == only) return;
  refuse_unsupported(*names.begin(),
                     fmt::format("is {}, dsv4 supports {} only", shown(*value), shown(only)));
}

void ConfigReader::refuse(std::string_view name, const std::string& message) const {
  throw Error(ErrorCode::kInvalidInput, where_, fmt::format("{}: {}", name, message));
}

void ConfigReader::refuse_unsupported(std::string_view name, const std::string& message) const {
  throw Error(ErrorCode::kUnsupported, where_, fmt::format("{} {}", name, message));
}

std::string ConfigReader::shown(const nlohmann::json& value) {
  constexpr size_t kLongest = 60;
  const std::string text = value.dump();
  return text.size() <= kLongest ? text : text.substr(0, kLongest) + "...";
}

const nlohmann::json& ConfigReader::required(Names names) const {
  const nlohmann::json* value = find(names);
  if (value == nullptr) refuse(*names.begin(), missing(names));
  return *value;
}

double ConfigReader::check_number(const nlohmann::json& value, std::string_view name, double low,
                                  double high) const {
  if (!value.is_number()) refuse(name, "expected a number");
  const auto number = value.get<double>();
  if (!(number >= low && number <= high)) {
    refuse(name, fmt::format("{} is outside {} to {}", number, low, high));
  }
  return number;
}

}  // namespace dsv4
