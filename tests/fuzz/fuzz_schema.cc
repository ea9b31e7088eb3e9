// Input: one byte of settings, a JSON schema, a zero byte, bytes that choose tokens. The schema
// must compile or throw Error, in bounded time. What it allows must go on: behind each allowed
// token, one is allowed; and a reply that ended must be JSON.
#include "base/check.h"
#include "base/error.h"
#include "grammar/grammar_testing.h"
#include "grammar/json_schema.h"
#include "grammar/reply_grammar.h"

#include <cstdint>
#include <string>
#include <string_view>

using namespace dsv4;

namespace {

const std::string kRoot = DSV4_SOURCE_DIR;

enum class Kind { kSchema, kClosedSchema, kStrictTool, kLooseTool };

std::shared_ptr<const Grammar> compile(const Json& schema, Kind kind) {
  if (kind == Kind::kSchema) return compile_json_schema(schema, "schema");
  if (kind == Kind::kClosedSchema) {
    return compile_json_schema(schema, "schema", Undeclared::kForbidden);
  }
  ReplyRules rules;
  rules.tools = {{"tool", &schema, kind == Kind::kStrictTool, "tool"}};
  rules.choice = CallRule::kRequired;
  return compile_reply(rules);
}

// Takes an allowed token for each of the bytes.
void walk(const std::shared_ptr<const Grammar>& grammar, std::string_view choices, bool is_json) {
  GrammarConstraint constraint(mini_trie(kRoot), grammar);
  std::vector<uint64_t> mask((static_cast<size_t>(mini_trie(kRoot)->vocab_size()) + 63) / 64);
  std::string text;
  for (const char choice : choices) {
    CHECK(constraint.mask(mask));
    const std::vector<int32_t> ids = allowed_ids(mask);
    CHECK(!ids.empty());
    const int32_t id = ids[static_cast<uint8_t>(choice) * ids.size() / 256];
    constraint.accept(id);
    if (id == mini_trie(kRoot)->eos_id()) {
      if (is_json) Json::parse(text, "reply", Json::NonFinite::kReject);
      return;
    }
    CHECK(!constraint.is_over());
    text += mini_trie(kRoot)->bytes(id);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view input(reinterpret_cast<const char*>(data + 1), size - 1);
  const size_t end = std::min(input.find('\0'), input.size());
  const Kind kind = static_cast<Kind>(data[0] % 4);
  const bool is_json = kind == Kind::kSchema || kind == Kind::kClosedSchema;
  std::shared_ptr<const Grammar> grammar;
  try {
    grammar = compile(Json::parse(input.substr(0, end), "schema"), kind);
  } catch (const Error&) {
    return 0;
  }
  const std::string_view choices = input.substr(std::min(end + 1, input.size()));
  try {
    walk(grammar, choices.substr(0, 200), is_json);
  } catch (const Error& error) {
    CHECK(error.code() == ErrorCode::kOutOfRange, error.what());  // too many alternatives
  }
  return 0;
}
