// Writes random texts of every schema of the lists, one JSON line {name, schema, text} each, for
// check_schemas.py. Usage: sample_schemas N SEED
#include "base/error.h"
#include "grammar/grammar_testing.h"
#include "grammar/json_schema.h"
#include "schema_list.h"

#include <fmt/core.h>

#include <cstdio>
#include <exception>
#include <string>

namespace dsv4 {
namespace {

const std::string kRoot = DSV4_SOURCE_DIR;

int run(int n, uint64_t seed) {
  std::mt19937_64 rng(seed);
  for (const Json& item : schema_list()) {
    const auto grammar = compile_json_schema(item.at("schema", "case"), "schema");
    for (int i = 0; i < n; ++i) {
      GrammarConstraint constraint(mini_trie(kRoot), grammar);
      const RandomReply reply =
          random_reply(constraint, mini_tokenizer(kRoot), *mini_trie(kRoot), rng, rng() % 40, 5000);
      const std::string& name = item.at("name", "case").as_string("name");
      if (!reply.ended) throw Error(ErrorCode::kInvalidInput, name, "does not end: " + reply.text);
      Json line;
      line.set("name", name).set("schema", item.at("schema", "case")).set("text", reply.text);
      fmt::print("{}\n", line.print());
    }
  }
  return 0;
}

}  // namespace
}  // namespace dsv4

int main(int argc, char** argv) {
  try {
    if (argc == 3) return dsv4::run(std::stoi(argv[1]), std::stoull(argv[2]));
    std::fprintf(stderr, "usage: sample_schemas N SEED\n");
    return 2;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "sample_schemas: %s\n", error.what());
    return 1;
  }
}
