// What the text commands share: where the tokenizer comes from, input from the command line or
// standard input, and the one-JSON-object-per-line form for programs.
#pragma once

#include "text/json.h"
#include "text/tokenizer.h"

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace CLI {
class App;
}

namespace dsv4::cli {

// -m: a model folder or a tokenizer.json; without it models/mini, if there is one here.
struct TokenizerArgs {
  std::string path;

  void add_to(CLI::App& command);
  // Throws Error(kNotFound) that says to give -m when there is no default.
  Tokenizer load() const;
};

// The argument, or all of standard input if there was none.
std::string argument_or_stdin(const std::optional<std::string>& argument);

// Reads standard input line by line (lines end in LF only) and prints handle(case) for each as a
// line, at once. A line that is not JSON, or for which `handle` throws Error, gives {"error": ...}.
void run_json_lines(const std::function<Json(const Json& input, const std::string& where)>& handle);

// The whole of a file of text. Throws Error(kInvalidInput) where it is empty or not UTF-8.
std::string read_text(const std::string& file);

void print_line(std::string_view text);
// Exactly the text; on a terminal with a line end behind it.
void print_text(std::string_view text);

Json to_json(const std::vector<int32_t>& ids);
std::string join_ids(const std::vector<int32_t>& ids);

}  // namespace dsv4::cli
