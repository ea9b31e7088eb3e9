// Reading of the golden data beside this file.
#pragma once

#include "base/mapped_file.h"
#include "text/json.h"
#include "text/tokenizer.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace dsv4 {

inline std::string source_path(std::string_view path) {
  return std::string(DSV4_SOURCE_DIR "/").append(path);
}

// One JSON value per line.
inline std::vector<Json> read_json_lines(const std::string& path) {
  const std::string text = read_file(path);
  std::vector<Json> cases;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    cases.push_back(Json::parse(std::string_view(text).substr(begin, end - begin), path));
    begin = end + 1;
  }
  return cases;
}

inline std::vector<Json> golden_cases(std::string_view file) {
  return read_json_lines(source_path("tests/text/data/").append(file));
}

inline std::vector<int32_t> ids_of(const Json& list) {
  std::vector<int32_t> ids;
  for (const Json& id : list.as_array("ids")) ids.push_back(static_cast<int32_t>(id.as_int("ids")));
  return ids;
}

// The released tokenizer; loaded once.
inline const Tokenizer& v4_tokenizer() {
  static const Tokenizer tokenizer = Tokenizer::load(DSV4_V4_TOKENIZER);
  return tokenizer;
}

}  // namespace dsv4
