#include "base/json.h"

#include "base/error.h"

#include <fmt/core.h>
#include <nlohmann/json.hpp>

namespace dsv4 {

nlohmann::json parse_json(std::string_view text, const std::string& where) {
  bool too_deep = false;
  const auto limit_depth = [&](int depth, nlohmann::json::parse_event_t, nlohmann::json&) {
    too_deep = too_deep || depth > kMaxJsonDepth;
    return !too_deep;
  };
  nlohmann::json value;
  try {
    value = nlohmann::json::parse(text, limit_depth);
  } catch (const nlohmann::json::parse_error& error) {
    throw Error(ErrorCode::kInvalidInput, where, fmt::format("not valid JSON: {}", error.what()));
  }
  if (too_deep) {
    throw Error(ErrorCode::kInvalidInput, where,
                fmt::format("JSON nested deeper than {} levels", kMaxJsonDepth));
  }
  return value;
}

}  // namespace dsv4
