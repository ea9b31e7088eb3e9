// Options whose help and errors say what a user types.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace CLI {
class Option;
}

namespace dsv4::cli {

// Words for numbers, which is what CLI11 makes enumerators of.
CLI::Option* take_word(CLI::Option* option,
                       const std::vector<std::pair<std::string, int>>& numbers);

// A word for each value of an enumeration.
template <typename T>
CLI::Option* take_word(CLI::Option* option, const std::vector<std::pair<std::string, T>>& values) {
  std::vector<std::pair<std::string, int>> numbers;
  for (const auto& [name, value] : values) numbers.emplace_back(name, static_cast<int>(value));
  return take_word(option, numbers);
}

// Bytes, or a number with a unit such as 8G.
CLI::Option* take_bytes(CLI::Option* option);

}  // namespace dsv4::cli
