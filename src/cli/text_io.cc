#include "cli/text_io.h"

#include "base/error.h"
#include "base/mapped_file.h"
#include "model/gguf_tokenizer.h"
#include "text/unicode.h"

#include <CLI/CLI.hpp>

#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <iostream>

#include <fmt/core.h>

namespace dsv4::cli {
namespace {

constexpr const char* kDefaultModel = "models/mini";

}  // namespace

void TokenizerArgs::add_to(CLI::App& command) {
  command
      .add_option("-m,--model", path,
                  "Model folder or tokenizer.json; default: models/mini, if it is here")
      ->type_name("PATH");
}

Tokenizer TokenizerArgs::load() const {
  if (!path.empty()) return load_tokenizer(path);
  if (!std::filesystem::exists(kDefaultModel)) {
    throw Error(ErrorCode::kNotFound, kDefaultModel,
                "no bundled model in this folder; name one with -m MODEL");
  }
  return load_tokenizer(kDefaultModel);
}

std::string argument_or_stdin(const std::optional<std::string>& argument) {
  if (argument) return *argument;
  std::string text;
  char buffer[1 << 16];
  while (const size_t n = std::fread(buffer, 1, sizeof buffer, stdin)) text.append(buffer, n);
  return text;
}

void run_json_lines(
    const std::function<Json(const Json& input, const std::string& where)>& handle) {
  size_t n_lines = 0;
  for (std::string line; std::getline(std::cin, line);) {
    const std::string where = fmt::format("line {}", ++n_lines);
    Json output;
    try {
      output = handle(Json::parse(line, where), where);
    } catch (const Error& error) {
      output = Json().set("error", error.what());
    }
    print_line(output.print());
  }
}

std::string read_text(const std::string& file) {
  std::string text = read_file(file);
  const size_t good = well_formed_utf8_prefix(text);
  if (good != text.size()) {
    throw Error(ErrorCode::kInvalidInput, file, fmt::format("is not UTF-8 at byte {}", good));
  }
  if (text.empty()) throw Error(ErrorCode::kInvalidInput, file, "has no text");
  return text;
}

void print_line(std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fputc('\n', stdout);
  std::fflush(stdout);
}

void print_text(std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  if (isatty(STDOUT_FILENO) != 0 && !text.ends_with('\n')) std::fputc('\n', stdout);
}

Json to_json(const std::vector<int32_t>& ids) {
  Json::Array list;
  list.reserve(ids.size());
  for (const int32_t id : ids) list.emplace_back(id);
  return list;
}

std::string join_ids(const std::vector<int32_t>& ids) {
  std::string text;
  for (const int32_t id : ids) {
    if (!text.empty()) text += ' ';
    text += std::to_string(id);
  }
  return text;
}

}  // namespace dsv4::cli
