#include "cli/option_types.h"

#include <CLI/CLI.hpp>

namespace dsv4::cli {

CLI::Option* take_word(CLI::Option* option,
                       const std::vector<std::pair<std::string, int>>& numbers) {
  std::string names;
  for (const auto& [name, number] : numbers) names += (names.empty() ? "" : ",") + name;
  const auto to_number = [numbers, names](std::string& text) -> std::string {
    for (const auto& [name, number] : numbers) {
      if (name != text) continue;
      text = std::to_string(number);
      return {};
    }
    return text + " is none of " + names;
  };
  return option->transform(CLI::Validator(to_number, "{" + names + "}"))->type_name("TEXT");
}

CLI::Option* take_bytes(CLI::Option* option) {
  return option->transform(CLI::AsSizeValue(false).description(""))->type_name("SIZE");
}

}  // namespace dsv4::cli
