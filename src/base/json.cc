#include "base/json.h"

#include "base/error.h"

#include <fmt/core.h>
#include <nlohmann/json.hpp>

namespace dsv4 {

namespace {

// Whether brackets outside of strings nest deeper than the cap. Looked at before parsing: with a
// callback, which could tell too, the parser takes quadratic time for a list of objects.
bool nests_too_deep(std::string_view text) {
  int depth = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '[' || c == '{') {
      if (++depth > kMaxJsonDepth) return true;
    } else if (c == ']' || c == '}') {
      --depth;
    }
  }
  return false;
}

}  // namespace

nlohmann::json parse_json(std::string_view text, const std::string& where) {
  if (nests_too_deep(text)) {
    throw Error(ErrorCode::kInvalidInput, where,
                fmt::format("JSON nested deeper than {} levels", kMaxJsonDepth));
  }
  try {
    return nlohmann::json::parse(text);
  } catch (const nlohmann::json::exception& error) {  // a number out of range is no parse_error
    throw Error(ErrorCode::kInvalidInput, where, fmt::format("not valid JSON: {}", error.what()));
  }
}

}  // namespace dsv4
