// The values of "format" in JSON schemas that are enforced, as regular expressions.
#pragma once

#include <optional>
#include <string_view>

namespace dsv4 {

// The regular expression of the format's values, anchored; a subset where the format is wider than
// what one writes (years 1000 to 2999). Nothing for formats that are only remarks.
std::optional<std::string_view> regex_of_format(std::string_view format);

}  // namespace dsv4
