// Schemas that are refused, and how. What is accepted is tested by tests/grammar.
#include "grammar/json_schema.h"

#include "base/error.h"
#include "grammar/grammar_testing.h"

#include <gtest/gtest.h>

#include <fmt/core.h>

#include <optional>

namespace dsv4 {
namespace {

std::shared_ptr<const Grammar> compile(const std::string& text,
                                       Undeclared undeclared = Undeclared::kAllowed) {
  return compile_json_schema(Json::parse(text, "test"), "schema", undeclared);
}

void expect_error(const std::string& schema, ErrorCode code, const std::string& where) {
  try {
    compile(schema);
    ADD_FAILURE() << schema.substr(0, 200) << " compiles";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    EXPECT_EQ(error.where(), where) << error.what();
  }
}

TEST(JsonSchema, names_the_path_of_unsupported_keywords) {
  expect_error(R"({"not":{}})", ErrorCode::kUnsupported, "schema.not");
  expect_error(R"({"properties":{"a":{"items":{"uniqueItems":true}}}})", ErrorCode::kUnsupported,
               "schema.properties.a.items.uniqueItems");
  expect_error(R"({"anyOf":[{},{"if":{}}]})", ErrorCode::kUnsupported, "schema.anyOf[1].if");
  expect_error(R"({"$defs":{"x":{"minProperties":1}},"$ref":"#/$defs/x"})", ErrorCode::kUnsupported,
               "schema.$defs.x.minProperties");
  expect_error(R"({"$ref":"http://example.com"})", ErrorCode::kUnsupported, "schema.$ref");
  expect_error(R"({"type":"number","multipleOf":0.01})", ErrorCode::kUnsupported,
               "schema.multipleOf");
  expect_error("{\"type\":\"string\",\"pattern\":\"(?=a)\"}", ErrorCode::kUnsupported,
               "schema.pattern");
  expect_error(R"({"oneOf":[{"type":"integer"},{"type":"number"}]})", ErrorCode::kUnsupported,
               "schema.oneOf");
  expect_error(R"({"oneOf":[{"properties":{"a":{}}},{"type":"object"}]})", ErrorCode::kUnsupported,
               "schema.oneOf");
}

TEST(JsonSchema, names_the_path_of_keywords_of_the_wrong_type) {
  for (const auto& [schema, where] : std::vector<std::pair<std::string, std::string>>{
           {"1", "schema"},
           {R"({"type":1})", "schema.type"},
           {R"({"type":"text"})", "schema.type"},
           {R"({"type":["string",2]})", "schema.type[1]"},
           {R"({"properties":[]})", "schema.properties"},
           {R"({"properties":{"a":3}})", "schema.properties.a"},
           {R"({"required":"a"})", "schema.required"},
           {R"({"required":[1]})", "schema.required[0]"},
           {R"({"enum":{}})", "schema.enum"},
           {R"({"enum":[]})", "schema.enum"},
           {R"({"anyOf":[]})", "schema.anyOf"},
           {R"({"anyOf":[{"type":"string"},"x"]})", "schema.anyOf[1]"},
           {R"({"type":"string","minLength":-1})", "schema.minLength"},
           {R"({"type":"string","minLength":"1"})", "schema.minLength"},
           {R"({"type":"string","pattern":"["})", "schema.pattern"},
           {R"({"type":"integer","minimum":"1"})", "schema.minimum"},
           {R"({"$ref":"#/nothing"})", "schema.$ref"},
           {R"({"$ref":7})", "schema.$ref"},
       }) {
    expect_error(schema, ErrorCode::kInvalidInput, where);
  }
}

TEST(JsonSchema, refuses_schemas_without_a_value) {
  for (const char* schema :
       {"false", R"({"type":"integer","minimum":5,"maximum":4})", R"({"type":"string","enum":[1]})",
        R"({"allOf":[{"type":"string"},{"type":"null"}]})",
        R"({"type":"object","properties":{"a":{"$ref":"#"}},"required":["a"]})",
        R"({"type":"array","items":{"$ref":"#"},"minItems":1})",
        R"({"type":"string","pattern":"^a$","minLength":2})",
        R"({"type":"string","pattern":"a^b"})",
        R"({"type":"integer","multipleOf":10,"minimum":1,"maximum":9})",
        R"({"type":"array","minItems":3,"maxItems":2})"}) {
    expect_error(schema, ErrorCode::kInvalidInput, "schema");
  }
}

TEST(JsonSchema, refuses_references_without_progress) {
  for (const auto& [schema, where] : std::vector<std::pair<std::string, std::string>>{
           {R"({"$ref":"#"})", "schema"},
           {R"({"anyOf":[{"$ref":"#"},{"type":"string"}]})", "schema"},
           {R"({"$defs":{"a":{"$ref":"#/$defs/b"},"b":{"allOf":[{"$ref":"#/$defs/a"}]}},
                "$ref":"#/$defs/a"})",
            "schema.$defs.a"}}) {
    expect_error(schema, ErrorCode::kInvalidInput, where);
  }
}

TEST(JsonSchema, follows_references_with_escapes) {
  for (const auto& [key, escaped] : std::vector<std::pair<std::string, std::string>>{
           {"a/b", "a~1b"}, {"~1", "~01"}, {"~/", "~0~1"}, {"~", "~"}, {"~2", "~2"}}) {
    const auto grammar = compile(fmt::format(
        R"({{"$defs":{{"x":{{}},"{}":{{"const":7}}}},"$ref":"#/$defs/{}"}})", key, escaped));
    EXPECT_TRUE(accepts(grammar, "7")) << key;
    EXPECT_FALSE(accepts(grammar, "8")) << key;
  }
  // Every one is read in time that is linear in its length, and its length is paid for.
  std::string escapes;
  for (int i = 0; i < 500'000; ++i) escapes += "~1";
  const std::string ref = R"({"$ref":"#/$defs/)" + escapes + "\"}";
  const std::string defs = R"({"$defs":{")" + std::string(escapes.size() / 2, '/') +
                           R"(":{"const":7},"y":)" + ref + "},";
  EXPECT_TRUE(accepts(compile(defs + R"("$ref":"#/$defs/y"})"), "7"));
  std::string many;
  for (int i = 0; i < 40; ++i) many += R"({"$ref":"#/$defs/y"},)";
  expect_error(defs + "\"anyOf\":[" + many + "false]}", ErrorCode::kOutOfRange,
               "schema.$defs.y.$ref");
}

TEST(JsonSchema, refuses_hostile_schemas_in_bounded_time) {
  // Each level doubles the alternatives.
  std::string chain = R"({"$defs":{"d0":{"type":"integer"})";
  for (int i = 1; i < 40; ++i) {
    chain +=
        fmt::format(R"(,"d{}":{{"allOf":[{{"anyOf":[{{"$ref":"#/$defs/d{}"}},{{"minimum":{}}}]}},
        {{"anyOf":[{{"$ref":"#/$defs/d{}"}},{{"maximum":{}}}]}}]}})",
                    i, i - 1, i, i - 1, i + 100);
  }
  EXPECT_THROW(compile(chain + R"(},"$ref":"#/$defs/d39"})"), Error);
  std::string wide = "{\"allOf\":[";
  for (int i = 0; i < 30; ++i) wide += R"({"anyOf":[{"minLength":1},{"maxLength":2}]},)";
  EXPECT_THROW(compile(wide + "{}]}"), Error);
  std::string huge = "{\"enum\":[";
  for (int i = 0; i < 30'000; ++i) huge += fmt::format("\"{:0>20}\",", i * 0x9E3779B97F4A7C15u);
  EXPECT_THROW(compile(huge + "1]}"), Error);
  std::string names = "{\"type\":\"object\",\"required\":[";
  for (int i = 0; i < 200'000; ++i) names += fmt::format("\"{:06}\",", i);
  EXPECT_THROW(compile(names + "\"x\"]}"), Error);
  std::string deep;
  for (int i = 0; i < 60; ++i) deep += R"({"type":"array","minItems":1,"items":)";
  deep += "true" + std::string(60, '}');
  EXPECT_NO_THROW(compile(deep));
  EXPECT_THROW(
      compile(R"({"type":"object","patternProperties":{"a":{},"b":{},"c":{},"d":{},"e":{}}})"),
      Error);
  EXPECT_THROW(compile(R"({"type":"string","pattern":"^a*$","maxLength":1000000})"), Error);
  EXPECT_NO_THROW(compile(R"({"type":"string","minLength":999999,"maxLength":1000000000000})"));
  EXPECT_NO_THROW(compile(R"({"type":"array","items":true,"minItems":1000000})"));
}

// Which branches exclude each other is asked once, and only as long as it is little work.
TEST(JsonSchema, compares_the_branches_of_oneof_within_the_budget) {
  const auto branches = [](int n_branches, int n_values) {
    std::string list;
    for (int i = 0; i < n_branches; ++i) {
      std::string values;
      for (int k = 0; k < n_values; ++k) values += fmt::format("\"{}-{}\",", i, k);
      list += fmt::format(R"({}{{"enum":[{}"{}"]}})", i == 0 ? "" : ",", values, i);
    }
    return list;
  };
  expect_error("{\"oneOf\":[" + branches(200, 300) + "]}", ErrorCode::kOutOfRange,
               "schema.oneOf[9]");
  // A long list that no comparison needs, but that is read for every one.
  std::string numbers = "{\"oneOf\":[{\"enum\":[0";
  for (int i = 1; i < 50'000; ++i) numbers += fmt::format(",{}", i);
  expect_error(numbers + "]}," + branches(199, 1) + "]}", ErrorCode::kOutOfRange,
               "schema.oneOf[0]");
  // 400 ways to come to the same list.
  std::string ways = "{\"$defs\":{\"x\":{\"oneOf\":[" + branches(40, 10) + "]}},\"anyOf\":[";
  for (int i = 0; i < 400; ++i) ways += R"({"$ref":"#/$defs/x"},)";
  expect_error(ways + "{}]}", ErrorCode::kOutOfRange, "schema");  // for its alternatives
}

TEST(JsonSchema, overlapping_alternatives_share_their_stacks) {
  // Every level of a text may be read in both ways: 2^60 stacks, if they were kept apart.
  const auto grammar = compile(
      R"({"anyOf":[{"type":"array","items":{"$ref":"#"},"maxItems":1},{"type":"integer"},
          {"type":"array","items":{"$ref":"#"},"maxItems":2}]})");
  EXPECT_TRUE(accepts(grammar, std::string(60, '[') + "7" + std::string(60, ']')));
  EXPECT_FALSE(accepts(grammar, std::string(60, '[') + "7" + std::string(59, ']') + ",1,2]"));
}

TEST(JsonSchema, undeclared_properties_follow_the_schema_or_the_caller) {
  const char* schema = R"({"type":"object","properties":{"a":{}}})";
  EXPECT_TRUE(accepts(compile(schema), R"({"b":1})"));
  EXPECT_FALSE(accepts(compile(schema, Undeclared::kForbidden), R"({"b":1})"));
  const char* open = R"({"type":"object","properties":{"a":{}},"additionalProperties":true})";
  EXPECT_TRUE(accepts(compile(open, Undeclared::kForbidden), R"({"b":1})"));
}

TEST(JsonSchema, strings_have_no_broken_or_forbidden_text) {
  const auto grammar = compile(R"({"type":"string"})");
  EXPECT_TRUE(accepts(grammar, R"("\u00e9\ud83d\ude00\/\n")"));
  EXPECT_FALSE(accepts(grammar, R"("\ud83d")"));
  EXPECT_FALSE(accepts(grammar, R"("\ude00")"));
  EXPECT_FALSE(accepts(grammar, "\"\xC3\""));
  EXPECT_FALSE(accepts(grammar, "\"\xED\xA0\x80\""));
  EXPECT_FALSE(accepts(grammar, "\"a\nb\""));
  EXPECT_FALSE(accepts(grammar, "\"<｜DSML｜\""));
  EXPECT_TRUE(accepts(grammar, "\"｜DSML|\""));
}

TEST(JsonSchema, host_names_are_no_longer_than_they_may_be) {
  const auto hosts = compile(R"({"type": "string", "format": "hostname"})");
  const std::string longest(62, 'a');
  const std::string rest = "." + longest + "." + longest + "." + longest;
  EXPECT_TRUE(accepts(hosts, "\"" + longest + rest + "\""));
  EXPECT_FALSE(accepts(hosts, "\"" + longest + "a" + rest + "\""));
}

TEST(JsonSchema, white_space_is_bounded) {
  const auto grammar = compile_json_object();
  EXPECT_TRUE(accepts(grammar, "{ \"a\": [ 1,\n    2 ] }"));
  EXPECT_TRUE(accepts(grammar, "{}"));
  EXPECT_FALSE(accepts(grammar, "{  }"));
  EXPECT_FALSE(accepts(grammar, " {}"));
  EXPECT_FALSE(accepts(grammar, "{} "));
  EXPECT_FALSE(accepts(grammar, "{\n\n}"));
  EXPECT_FALSE(accepts(grammar, "{\"a\" : 1}"));
  EXPECT_FALSE(accepts(grammar, "[]"));
}

}  // namespace
}  // namespace dsv4
