// The lists of JSON schemas with values that satisfy them and values that do not.
#pragma once

#include "base/mapped_file.h"
#include "text/json.h"

#include <string>
#include <string_view>
#include <vector>

namespace dsv4 {

inline std::vector<Json> schema_list() {
  std::vector<Json> cases;
  for (const std::string name : {"hand", "generated"}) {
    const std::string path = DSV4_SOURCE_DIR "/tests/grammar/data/" + name + ".jsonl";
    const std::string content = read_file(path);
    std::string_view rest = content;
    while (!rest.empty()) {
      const size_t end = rest.find('\n');
      cases.push_back(Json::parse(rest.substr(0, end), path));
      rest.remove_prefix(end == rest.npos ? rest.size() : end + 1);
    }
  }
  return cases;
}

}  // namespace dsv4
