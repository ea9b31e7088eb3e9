#include "grammar/reply_grammar.h"

#include "base/error.h"
#include "grammar/grammar_testing.h"
#include "text/parse_completion.h"
#include "text/special_tokens.h"

#include <gtest/gtest.h>

namespace dsv4 {
namespace {

const std::string kRoot = DSV4_SOURCE_DIR;

const Json& weather() {
  static const Json schema = Json::parse(
      R"({"type":"object","properties":{"city":{"type":"string","minLength":1,"maxLength":20},
          "days":{"type":"integer","minimum":1,"maximum":7},
          "unit":{"type":["string","null"],"enum":["C","F",null]},
          "tags":{"type":"array","items":{"type":"string"}}},"required":["city","unit"]})",
      "schema");
  return schema;
}

ReplyRules rules_of(CallRule choice, bool is_strict, ThinkingMode mode = ThinkingMode::kChat) {
  ReplyRules rules;
  rules.mode = mode;
  rules.choice = choice;
  rules.tools = {{"weather", &weather(), is_strict, "tools[0]"}, {"now", nullptr, is_strict, ""}};
  return rules;
}

// A call with the given parameters, as they stand.
std::string call(const std::string& name, const std::string& parameters) {
  return "<｜DSML｜invoke name=\"" + name + "\">\n" + parameters + "\n</｜DSML｜invoke>";
}
std::string block(const std::string& calls) {
  return "\n\n<｜DSML｜tool_calls>\n" + calls + "\n</｜DSML｜tool_calls>";
}
std::string parameter(const std::string& name, const std::string& is_string,
                      const std::string& value) {
  return "<｜DSML｜parameter name=\"" + name + "\" string=\"" + is_string + "\">" + value +
         "</｜DSML｜parameter>";
}

const std::string kCity = parameter("city", "true", "Paris <b>");
const std::string kUnit = parameter("unit", "true", "C");

TEST(ReplyGrammar, free_replies_have_no_grammar) {
  EXPECT_EQ(compile_reply({}), nullptr);
  ReplyRules none;
  none.choice = CallRule::kNone;
  EXPECT_EQ(compile_reply(none), nullptr);
}

TEST(ReplyGrammar, strict_calls_follow_their_schema) {
  const auto grammar = compile_reply(rules_of(CallRule::kRequired, true));
  EXPECT_TRUE(accepts(grammar, block(call("weather", kCity + "\n" + kUnit))));
  EXPECT_TRUE(accepts(grammar, block(call("now", ""))));
  EXPECT_TRUE(accepts(grammar, block(call("now", "") + "\n" + call("now", ""))));
  EXPECT_TRUE(
      accepts(grammar, block(call("weather", kCity + "\n" + parameter("days", "false", "3") + "\n" +
                                                 parameter("unit", "false", "null") + "\n" +
                                                 parameter("tags", "false", "[\"a\", \"b\"]")))));
  EXPECT_FALSE(accepts(grammar, block(call("weather", kCity))));                 // a missing one
  EXPECT_FALSE(accepts(grammar, block(call("weather", kUnit + "\n" + kCity))));  // order
  EXPECT_FALSE(accepts(grammar, block(call("other", ""))));
  EXPECT_FALSE(
      accepts(grammar, block(call("weather", parameter("city", "true", "") + "\n" + kUnit))));
  EXPECT_FALSE(
      accepts(grammar, block(call("weather", kCity + "\n" + parameter("unit", "true", "K")))));
  EXPECT_FALSE(accepts(
      grammar,
      block(call("weather", kCity + "\n" + parameter("days", "true", "3") + "\n" + kUnit))));
  EXPECT_FALSE(accepts(grammar, "text" + block(call("now", ""))));
  EXPECT_FALSE(accepts(grammar, block("")));
  EXPECT_FALSE(accepts(grammar, ""));
}

TEST(ReplyGrammar, loose_calls_have_declared_names_and_types) {
  const auto grammar = compile_reply(rules_of(CallRule::kAuto, false));
  EXPECT_TRUE(accepts(grammar, "any text"));
  EXPECT_TRUE(accepts(grammar, "text" + block(call("weather", kUnit))));
  EXPECT_TRUE(accepts(grammar, block(call("weather", parameter("unit", "true", "Kelvin")))));
  EXPECT_TRUE(accepts(grammar, block(call("weather", kUnit + "\n" + kCity))));
  EXPECT_TRUE(accepts(grammar, "1 < 2 </｜DSML｜ " + block(call("now", ""))));
  EXPECT_FALSE(accepts(grammar, block(call("weather", parameter("town", "true", "x")))));
  EXPECT_FALSE(accepts(grammar, block(call("weather", parameter("days", "false", "x")))));
  EXPECT_FALSE(accepts(grammar, block(call("nothing", ""))));
  EXPECT_FALSE(accepts(grammar, "<｜DSML｜invoke name=\"now\">"));
  EXPECT_FALSE(accepts(grammar, block(call("now", "")) + "more"));
}

TEST(ReplyGrammar, loose_tools_with_unsupported_schemas_take_anything) {
  const Json odd = Json::parse(
      R"({"type":"object","properties":{"a":{"type":"array","uniqueItems":true}}})", "odd");
  ReplyRules rules;
  rules.tools = {{"f", &odd, false, "tools[0]"}};
  EXPECT_TRUE(accepts(compile_reply(rules), block(call("f", parameter("a", "false", "{}")))));
  rules.tools[0].is_strict = true;
  EXPECT_THROW(compile_reply(rules), Error);
}

TEST(ReplyGrammar, loose_schemas_are_followed_only_as_long_as_it_is_little_work) {
  std::string list;
  for (int i = 0; i < 20'000; ++i) list += "\"" + std::to_string(i) + "\",";
  const std::string texts = "{\"enum\":[" + list + "\"x\"]}";
  const std::string unsupported = "{\"required\":[" + list + "\"x\"],\"allOf\":[{\"not\":true}]}";
  const auto allows_text_for_number = [&](const std::string& costly, int n_costly) {
    std::string text = "{\"$defs\":{\"texts\":" + texts + ",\"unsupported\":" + unsupported +
                       "},\"type\":\"object\",\"properties\":{";
    for (int i = 0; i < n_costly; ++i) text += "\"p" + std::to_string(i) + "\":" + costly + ",";
    const Json schema = Json::parse(text + R"("last":{"type":"integer"}}})", "schema");
    ReplyRules rules;
    rules.tools = {{"f", &schema, false, "tools[0]"}};
    const auto grammar = compile_reply(rules);
    EXPECT_TRUE(accepts(grammar, block(call("f", parameter("last", "false", "1")))));
    return accepts(grammar, block(call("f", parameter("last", "true", "x"))));
  };
  for (const char* costly :
       {R"({"type":"array","items":{"type":"string","pattern":"^(a|b)*a(a|b){16}$"}})",
        R"({"$ref":"#/$defs/texts"})", R"({"$ref":"#/$defs/unsupported"})"}) {
    EXPECT_FALSE(allows_text_for_number(costly, 1)) << costly;
    EXPECT_TRUE(allows_text_for_number(costly, 300)) << costly;
  }
}

TEST(ReplyGrammar, names_of_loose_tools_are_known_where_there_are_few_alternatives) {
  const auto allows_other_name = [&](int n_alternatives) {
    std::string text = "{\"additionalProperties\":false,\"properties\":{";
    for (int i = 0; i < 600; ++i) text += "\"p" + std::to_string(i) + "\":true,";
    text += "\"last\":true},\"anyOf\":[";
    for (int i = 1; i < n_alternatives; ++i) text += "{\"type\":\"object\"},";
    const Json schema = Json::parse(text + "{}]}", "schema");
    ReplyRules rules;
    rules.tools = {{"f", &schema, false, "tools[0]"}};
    return accepts(compile_reply(rules), block(call("f", parameter("other", "false", "1"))));
  };
  EXPECT_FALSE(allows_other_name(2));
  EXPECT_TRUE(allows_other_name(490));
}

TEST(ReplyGrammar, without_calls_no_markup_comes) {
  const auto grammar = compile_reply(rules_of(CallRule::kNone, false, ThinkingMode::kThinking));
  EXPECT_TRUE(accepts(grammar, "thoughts with <｜DSML｜</think>text with ｜DSML"));
  EXPECT_FALSE(accepts(grammar, "thoughts</think>text with ｜DSML｜"));
}

TEST(ReplyGrammar, a_named_tool_is_the_only_one) {
  ReplyRules rules = rules_of(CallRule::kNamed, true);
  rules.named_tool = "now";
  rules.parallel = ParallelCalls::kNo;
  const auto grammar = compile_reply(rules);
  EXPECT_TRUE(accepts(grammar, block(call("now", ""))));
  EXPECT_FALSE(accepts(grammar, block(call("now", "") + "\n" + call("now", ""))));
  EXPECT_FALSE(accepts(grammar, block(call("weather", kCity + "\n" + kUnit))));
  rules.named_tool = "missing";
  EXPECT_THROW(compile_reply(rules), Error);
}

TEST(ReplyGrammar, json_follows_the_reasoning) {
  ReplyRules rules;
  rules.mode = ThinkingMode::kThinking;
  rules.format = ReplyFormat::kJsonSchema;
  const Json schema = Json::parse(R"({"type":"object","properties":{"a":{"type":"integer"}},
      "required":["a"],"additionalProperties":false})",
                                  "schema");
  rules.schema = &schema;
  const auto grammar = compile_reply(rules);
  EXPECT_TRUE(accepts(grammar, "hm</thin</think>{\"a\": 1}"));
  EXPECT_FALSE(accepts(grammar, "hm"));
  EXPECT_FALSE(accepts(grammar, "hm</think>"));
  EXPECT_FALSE(accepts(grammar, "hm</think>text"));
  rules.tools = {{"now", nullptr, false, ""}};
  EXPECT_TRUE(accepts(compile_reply(rules), "hm</think>" + block(call("now", ""))));
  EXPECT_TRUE(accepts(compile_reply(rules), "hm</think>{\"a\": 1}"));
}

// Added tokens stand for themselves: as a token, markup is not the text that it is written with.
TEST(ReplyGrammar, added_tokens_are_allowed_only_where_they_mean_something) {
  const auto trie = mini_trie(kRoot);
  const auto constraint_after = [&](const ReplyRules& rules, std::string_view text) {
    GrammarConstraint constraint(trie, compile_reply(rules));
    for (const int32_t id : mini_tokenizer(kRoot).encode(text, ParseSpecial::kYes))
      constraint.accept(id);
    return constraint;
  };
  const auto allows = [&](GrammarConstraint constraint, std::optional<int32_t> id) {
    std::vector<uint64_t> mask((static_cast<size_t>(trie->vocab_size()) + 63) / 64);
    return !constraint.mask(mask) || (mask[static_cast<size_t>(*id) / 64] >> (*id % 64) & 1) != 0;
  };
  const std::optional<int32_t> user = mini_tokenizer(kRoot).id_of(kUser);
  const ReplyRules required = rules_of(CallRule::kRequired, true, ThinkingMode::kThinking);
  EXPECT_TRUE(allows(constraint_after(required, "hm"), trie->think_end_id()));
  EXPECT_FALSE(allows(constraint_after(required, "hm"), user));
  EXPECT_FALSE(allows(constraint_after(required, "hm"), trie->eos_id()));
  EXPECT_FALSE(allows(constraint_after(required, "hm</think>\n\n"), trie->dsml_id()));
  EXPECT_TRUE(allows(constraint_after(required, "hm</think>\n\n<"), trie->dsml_id()));
  const ReplyRules none = rules_of(CallRule::kNone, true);
  EXPECT_FALSE(allows(constraint_after(none, "a <"), trie->dsml_id()));
  EXPECT_TRUE(allows(constraint_after(none, "a <"), trie->eos_id()));
  const ReplyRules any = rules_of(CallRule::kAuto, true);
  EXPECT_TRUE(allows(constraint_after(any, "a "), user));  // as without a grammar
}

TEST(ReplyGrammar, random_calls_are_what_the_strict_parser_reads) {
  std::mt19937_64 rng(9);
  const auto grammar = compile_reply(rules_of(CallRule::kRequired, true, ThinkingMode::kThinking));
  for (int i = 0; i < 40; ++i) {
    GrammarConstraint constraint(mini_trie(kRoot), grammar);
    constraint.accept(*mini_trie(kRoot)->think_end_id());
    const RandomReply reply =
        random_reply(constraint, mini_tokenizer(kRoot), *mini_trie(kRoot), rng, rng() % 200, 5000);
    ASSERT_TRUE(reply.ended);
    const AssistantMessage message =
        parse_completion("</think>" + reply.text + std::string(kEos), ThinkingMode::kThinking);
    ASSERT_FALSE(message.tool_calls.empty());
    for (const ToolCall& tool_call : message.tool_calls) {
      const Json arguments = Json::parse(tool_call.arguments, "arguments");
      if (tool_call.name == "now") {
        EXPECT_EQ(tool_call.arguments, "{}");
        continue;
      }
      EXPECT_EQ(tool_call.name, "weather");
      EXPECT_TRUE(arguments.at("city", "").is_string());
      const Json& unit = arguments.at("unit", "");
      EXPECT_TRUE(unit == Json("C") || unit == Json("F") || unit.is_null()) << unit.print();
      if (const Json* days = arguments.find("days")) {
        EXPECT_GE(days->as_int("days"), 1);
        EXPECT_LE(days->as_int("days"), 7);
      }
    }
  }
}

}  // namespace
}  // namespace dsv4
