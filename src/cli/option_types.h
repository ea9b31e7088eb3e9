// Validators of options whose help says what a user types.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>

namespace dsv4::cli {

// A word for each value of an enumeration; the help lists them.
template <typename T>
CLI::Validator one_of(const std::vector<std::pair<std::string, T>>& values) {
  std::string names;
  for (const auto& [name, value] : values) names += (names.empty() ? "" : ",") + name;
  const auto to_number = [values, names](std::string& text) -> std::string {
    for (const auto& [name, value] : values) {
      if (name != text) continue;
      text = std::to_string(static_cast<int>(value));  // what CLI11 makes an enumerator of
      return {};
    }
    return text + " is none of " + names;
  };
  return {to_number, "{" + names + "}"};
}

// Bytes, or a number with a unit such as 8G.
inline CLI::Validator byte_size() { return CLI::AsSizeValue(false).description(""); }

}  // namespace dsv4::cli
