// Every schema of the lists: values that satisfy it are read in each spelling, others are refused,
// and random texts satisfy it. The check of those is written here, for the keywords that it knows,
// on another JSON library; `make test-schemas` has a complete one.
#include "schema_list.h"
#include "base/error.h"
#include "grammar/grammar_testing.h"
#include "grammar/json_schema.h"

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <regex>
#include <set>

namespace dsv4 {
namespace {

const std::string kRoot = DSV4_SOURCE_DIR;

using Value = nlohmann::ordered_json;

bool has_type(const Value& value, const std::string& type) {
  if (type == "null") return value.is_null();
  if (type == "boolean") return value.is_boolean();
  if (type == "integer") return value.is_number_integer();
  if (type == "number") return value.is_number();
  if (type == "string") return value.is_string();
  if (type == "array") return value.is_array();
  return type == "object" && value.is_object();
}

size_t length_of(const std::string& text) {
  return static_cast<size_t>(
      std::ranges::count_if(text, [](char c) { return (c & 0xC0) != 0x80; }));
}

class Validator {
 public:
  explicit Validator(const Value& root) : root_(root) {}

  bool is_valid(const Value& value, const Value& schema) const {
    if (schema.is_boolean()) return schema.get<bool>();
    if (schema.contains("$ref")) {
      std::string pointer = schema["$ref"].get<std::string>().substr(1);
      if (!is_valid(value, root_.at(Value::json_pointer(pointer)))) return false;
    }
    return has_types(value, schema) && has_branches(value, schema) && has_value(value, schema) &&
           (!value.is_number() || is_number(value, schema)) &&
           (!value.is_string() || is_string(value, schema)) &&
           (!value.is_array() || is_array(value, schema)) &&
           (!value.is_object() || is_object(value, schema));
  }

 private:
  static bool has_types(const Value& value, const Value& schema) {
    if (!schema.contains("type")) return true;
    if (value.is_null() && schema.value("nullable", false)) return true;
    if (schema["type"].is_string()) return has_type(value, schema["type"]);
    return std::ranges::any_of(schema["type"],
                               [&](const Value& type) { return has_type(value, type); });
  }

  bool has_branches(const Value& value, const Value& schema) const {
    const auto count = [&](const char* key) {
      return std::ranges::count_if(schema[key],
                                   [&](const Value& branch) { return is_valid(value, branch); });
    };
    if (schema.contains("anyOf") && count("anyOf") == 0) return false;
    if (schema.contains("oneOf") && count("oneOf") != 1) return false;
    return !schema.contains("allOf") ||
           count("allOf") == static_cast<std::ptrdiff_t>(schema["allOf"].size());
  }

  static bool has_value(const Value& value, const Value& schema) {
    if (schema.contains("const") && value != schema["const"]) return false;
    return !schema.contains("enum") ||
           std::ranges::find(schema["enum"], value) != schema["enum"].end();
  }

  static bool is_number(const Value& value, const Value& schema) {
    const double x = value;
    const auto bound = [&](const char* key) { return schema[key].get<double>(); };
    if (schema.contains("minimum") && x < bound("minimum")) return false;
    if (schema.contains("maximum") && x > bound("maximum")) return false;
    if (schema.contains("exclusiveMinimum") && x <= bound("exclusiveMinimum")) return false;
    if (schema.contains("exclusiveMaximum") && x >= bound("exclusiveMaximum")) return false;
    // What is too large for this library's integers has been rounded.
    return !schema.contains("multipleOf") || std::abs(x) >= 0x1p53 ||
           std::fmod(x, bound("multipleOf")) == 0;
  }

  static bool is_string(const Value& value, const Value& schema) {
    const std::string text = value;
    if (length_of(text) < schema.value("minLength", size_t{0})) return false;
    if (length_of(text) > schema.value("maxLength", text.size())) return false;
    // Bytes are not characters for std::regex: only where both text and pattern are plain.
    const std::string pattern = schema.value("pattern", "");
    const auto is_plain = [](char c) { return c >= ' ' && c < 0x7F; };
    if (pattern.empty() || !std::ranges::all_of(pattern + text, is_plain) ||
        pattern.find("\\p") != pattern.npos) {
      return true;
    }
    return std::regex_search(text, std::regex(pattern));
  }

  bool is_array(const Value& value, const Value& schema) const {
    if (value.size() < schema.value("minItems", size_t{0})) return false;
    if (value.size() > schema.value("maxItems", value.size())) return false;
    const bool is_tuple = schema.contains("items") && schema["items"].is_array();
    const Value prefix = is_tuple ? schema["items"] : schema.value("prefixItems", Value::array());
    const char* rest = is_tuple ? "additionalItems" : "items";
    for (size_t i = 0; i < value.size(); ++i) {
      if (i < prefix.size() && !is_valid(value[i], prefix[i])) return false;
      if (i >= prefix.size() && schema.contains(rest) && !is_valid(value[i], schema[rest])) {
        return false;
      }
    }
    return true;
  }

  bool is_object(const Value& value, const Value& schema) const {
    for (const Value& name : schema.value("required", Value::array())) {
      if (!value.contains(name.get<std::string>())) return false;
    }
    const Value properties = schema.value("properties", Value::object());
    const Value patterns = schema.value("patternProperties", Value::object());
    for (const auto& [name, member] : value.items()) {
      bool is_known = properties.contains(name);
      if (is_known && !is_valid(member, properties[name])) return false;
      for (const auto& [pattern, rule] : patterns.items()) {
        if (!std::regex_search(name, std::regex(pattern))) continue;
        is_known = true;
        if (!is_valid(member, rule)) return false;
      }
      if (is_known || !schema.contains("additionalProperties")) continue;
      if (!is_valid(member, schema["additionalProperties"])) return false;
    }
    return true;
  }

  const Value& root_;
};

TEST(SchemaList, the_check_of_random_texts_refuses_fractions_of_multiples) {
  const Value schema = Value::parse(R"({"type":"number","multipleOf":4})");
  for (const char* text : {"8", "-4.0", "0"}) {
    EXPECT_TRUE(Validator(schema).is_valid(Value::parse(text), schema)) << text;
  }
  for (const char* text : {"8.5", "-0.5", "6"}) {
    EXPECT_FALSE(Validator(schema).is_valid(Value::parse(text), schema)) << text;
  }
}

TEST(SchemaList, has_enough_schemas) { EXPECT_GE(schema_list().size(), 250u); }

TEST(SchemaList, values_that_satisfy_a_schema_are_read_in_each_spelling) {
  for (const Json& item : schema_list()) {
    const auto grammar = compile_json_schema(item.at("schema", "case"), "schema");
    for (const Json& value : item.at("valid", "case").as_array("valid")) {
      const std::string printed = value.print();
      const Value other = Value::parse(printed);
      for (const std::string& text : {printed, other.dump(), other.dump(2), other.dump(4)}) {
        const Reading reading = read(grammar, text);
        EXPECT_TRUE(reading.ends) << item.at("name", "").print() << ": " << text
                                  << " stops at byte " << reading.n_bytes;
      }
    }
  }
}

TEST(SchemaList, values_that_do_not_satisfy_a_schema_are_refused) {
  for (const Json& item : schema_list()) {
    const auto grammar = compile_json_schema(item.at("schema", "case"), "schema");
    for (const Json& value : item.at("invalid", "case").as_array("invalid")) {
      EXPECT_FALSE(accepts(grammar, value.print()))
          << item.at("name", "").print() << ": " << value.print();
    }
  }
}

TEST(SchemaList, random_replies_end_and_satisfy_their_schema) {
  std::mt19937_64 rng(7);
  for (const Json& item : schema_list()) {
    const Json& schema = item.at("schema", "case");
    const auto grammar = compile_json_schema(schema, "schema");
    const Value parsed = Value::parse(schema.print());
    std::set<std::string> texts;
    for (int i = 0; i < 20; ++i) {
      GrammarConstraint constraint(mini_trie(kRoot), grammar);
      const RandomReply reply =
          random_reply(constraint, mini_tokenizer(kRoot), *mini_trie(kRoot), rng, rng() % 40, 5000);
      ASSERT_TRUE(reply.ended) << item.at("name", "").print() << ": " << reply.text;
      const Value value = Value::parse(reply.text, nullptr, /*allow_exceptions=*/false);
      ASSERT_FALSE(value.is_discarded()) << reply.text;
      EXPECT_TRUE(Validator(parsed).is_valid(value, parsed))
          << item.at("name", "").print() << ": " << reply.text;
      // Its own reader takes it too: no text is nested too deeply for it.
      Json::parse(reply.text, "reply", Json::NonFinite::kReject);
    }
  }
}

}  // namespace
}  // namespace dsv4
