// JSON text from untrusted sources: nlohmann's parser with a cap on nesting and one-line errors.
#pragma once

#include <string>
#include <string_view>

#include <nlohmann/json_fwd.hpp>

namespace dsv4 {

// Deeper values are refused: destroying or printing them would recurse as deep.
inline constexpr int kMaxJsonDepth = 128;

// Objects are sorted by key; of a repeated key the last value stays. Throws Error(kInvalidInput)
// with `where` and the byte offset.
nlohmann::json parse_json(std::string_view text, const std::string& where);

}  // namespace dsv4
