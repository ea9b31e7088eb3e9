#include "text/parse_lenient.h"

#include "base/error.h"
#include "text/json.h"
#include "text/parse_testing.h"

#include <gtest/gtest.h>

#include <chrono>
#include <random>

namespace dsv4 {
namespace {

using Kind = ParseEvent::Kind;

DeclaredTools declared() {
  return DeclaredTools(Json::parse(R"([
    {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {
      "s": {"type": "string"}, "n": {"type": "integer"}, "any": {},
      "either": {"type": ["string", "null"]}, "o": {"type": ["object", "null"]}}}}},
    {"type": "function", "function": {"name": "input_taker", "parameters": {"properties": {
      "input": {"type": "string"}}}}},
    {"type": "function", "function": {"name": "bare"}},
    {"no": "function"}, 7])",
                                   "tools")
                           .as_array("tools"));
}

// Neighbours of one kind joined, as they differ with the cutting.
std::vector<ParseEvent> joined(const std::vector<ParseEvent>& events) {
  std::vector<ParseEvent> out;
  for (const ParseEvent& event : events) {
    const bool is_text = event.kind == Kind::kReasoning || event.kind == Kind::kContent ||
                         event.kind == Kind::kRawText || event.kind == Kind::kArguments;
    if (is_text && !out.empty() && out.back().kind == event.kind) {
      out.back().text += event.text;
    } else {
      out.push_back(event);
    }
  }
  return out;
}

struct Result {
  std::vector<ParseEvent> events;
  AssistantMessage message;
  FinishReason reason;
  bool operator==(const Result&) const = default;
};

Result run(const std::vector<std::string_view>& pieces, const LenientOptions& options,
           FinishReason reason = FinishReason::kStop) {
  LenientParser parser(options);
  std::vector<ParseEvent> events;
  for (const std::string_view piece : pieces) {
    for (ParseEvent& event : parser.feed(piece)) events.push_back(std::move(event));
  }
  for (ParseEvent& event : parser.finish(reason)) events.push_back(std::move(event));
  return {joined(events), parser.message(), parser.finish_reason()};
}

AssistantMessage chat(std::string_view text) {
  return parse_lenient(text, {ThinkingMode::kChat, declared()});
}

AssistantMessage thinking(std::string_view text) {
  return parse_lenient(text, {ThinkingMode::kThinking, declared()});
}

// One call of f in a block, with this text between the tags of invoke.
std::string block(const std::string& body, const std::string& dsml = "｜DSML｜") {
  return "<" + dsml + "tool_calls>\n<" + dsml + "invoke name=\"f\">\n" + body + "\n</" + dsml +
         "invoke>\n</" + dsml + "tool_calls>";
}

std::string parameter(const std::string& attributes, const std::string& value,
                      const std::string& dsml = "｜DSML｜") {
  return "<" + dsml + "parameter " + attributes + ">" + value + "</" + dsml + "parameter>";
}

std::string arguments_of(const std::string& body) {
  const AssistantMessage message = chat(block(body));
  if (message.tool_calls.size() != 1) return "no call: " + message.content;
  return message.tool_calls[0].arguments;
}

TEST(ParseLenient, thinking_marks) {
  EXPECT_EQ(thinking("r</think>c"), (AssistantMessage{"c", "r", {}}));
  EXPECT_EQ(thinking("<think>r</think>c"), (AssistantMessage{"c", "r", {}}));
  EXPECT_EQ(thinking("only reasoning <"), (AssistantMessage{"", "only reasoning <", {}}));
  EXPECT_EQ(thinking("r</think>a</think>b"), (AssistantMessage{"ab", "r", {}}));
  EXPECT_EQ(chat("</think>a"), (AssistantMessage{"a", "", {}}));
  EXPECT_EQ(chat("<think>r</think>a"), (AssistantMessage{"a", "r", {}}));
  EXPECT_EQ(chat("a <think> b"), (AssistantMessage{"a <think> b", "", {}}));
}

TEST(ParseLenient, the_end_of_the_sentence_ends_everything) {
  EXPECT_EQ(chat("a \n<｜end▁of▁sentence｜>b").content, "a \n");
  EXPECT_EQ(thinking("r<｜end▁of▁sentence｜></think>b").reasoning_content, "r");
  EXPECT_EQ(chat(block("") + "\n<｜end▁of▁sentence｜>x").content, "");
}

TEST(ParseLenient, white_space_before_a_block_belongs_to_it) {
  for (const char* space : {"", " ", "\n", "\r\n\r\n", "\n\n", " \t"}) {
    EXPECT_EQ(chat("text" + std::string(space) + block("")).content, "text") << space;
  }
  // What the format writes is undone exactly, so that encoding the message again gives the same.
  EXPECT_EQ(chat("text \n\n\n" + block("")).content, "text \n");
  EXPECT_EQ(chat("a" + block("") + "\n\n" + block("") + " \n ").content, "a");
  EXPECT_EQ(chat("a" + block("") + "\n\n" + block("")).tool_calls.size(), 2u);
}

TEST(ParseLenient, spellings_count_only_with_declared_tools) {
  for (const char* dsml : {"DSML｜", "|DSML|", ""}) {
    const std::string text =
        "x\n" + block(parameter("name=\"s\" string=\"true\"", "v", dsml), dsml);
    EXPECT_EQ(chat(text).content, "x");
    ASSERT_EQ(chat(text).tool_calls.size(), 1u);
    EXPECT_EQ(chat(text).tool_calls[0].arguments, R"({"s": "v"})");
    EXPECT_EQ(parse_lenient(text, {}).content, text);
  }
  EXPECT_EQ(parse_lenient(block(""), {}).tool_calls.size(), 1u);
}

TEST(ParseLenient, calls_without_a_block_must_be_declared) {
  const std::string call = "<｜DSML｜invoke name=\"f\">\n</｜DSML｜invoke>";
  EXPECT_EQ(chat("hi\n\n" + call + "\n" + call),
            (AssistantMessage{"hi", "", {{"f", "{}"}, {"f", "{}"}}}));
  const std::string unknown = "<｜DSML｜invoke name=\"g\">\n</｜DSML｜invoke>";
  EXPECT_EQ(chat(unknown).content, unknown);
  EXPECT_EQ(parse_lenient(call, {}).content, call);
  // A known call is followed by an unknown one: that one is not executed.
  EXPECT_EQ(chat(call + unknown), (AssistantMessage{unknown, "", {{"f", "{}"}}}));
  EXPECT_EQ(chat("<invoke name=\"f\"> is a tag").tool_calls.size(), 0u);
  EXPECT_EQ(chat("an <invoke> or <invoke name=x>").content, "an <invoke> or <invoke name=x>");
}

TEST(ParseLenient, attributes_in_any_order_and_quotation) {
  EXPECT_EQ(arguments_of(parameter("string=\"true\" name=\"s\"", "v")), R"({"s": "v"})");
  EXPECT_EQ(arguments_of(parameter("name='s' string='True'", "v")), R"({"s": "v"})");
  EXPECT_EQ(arguments_of(parameter("name = \"s\"", "v")),
            "no call: " + block(parameter("name = \"s\"", "v")));
  EXPECT_EQ(arguments_of(parameter("name=\"a\"b\" string=\"true\"", "v")), R"({"a\"b": "v"})");
  EXPECT_EQ(arguments_of(parameter("name=\"a > b\" string=\"true\"", "v")), R"({"a > b": "v"})");
  EXPECT_EQ(arguments_of(parameter("name=\"s\" string=\"true\" ", "v")), R"({"s": "v"})");
}

TEST(ParseLenient, arguments_are_always_valid_json) {
  const std::string json = "name=\"x\" string=\"false\"";
  EXPECT_EQ(arguments_of(parameter(json, " {\"b\": [1.50] }")), R"({"x":  {"b": [1.50] }})");
  EXPECT_EQ(arguments_of(parameter(json, "Paris")), R"({"x": "Paris"})");
  EXPECT_EQ(arguments_of(parameter(json, "")), R"({"x": ""})");
  EXPECT_EQ(arguments_of(parameter(json, "NaN")), R"({"x": "NaN"})");
  EXPECT_EQ(arguments_of(parameter(json, "1 2")), R"({"x": "1 2"})");
  EXPECT_EQ(arguments_of(parameter("name=\"x\" string=\"true\"", "a\"\\\n\x01")),
            R"({"x": "a\"\\\n\u0001"})");
}

TEST(ParseLenient, without_the_attribute_the_schema_decides) {
  EXPECT_EQ(arguments_of(parameter("name=\"s\"", "5")), R"({"s": "5"})");
  EXPECT_EQ(arguments_of(parameter("name=\"n\"", "5")), R"({"n": 5})");
  EXPECT_EQ(arguments_of(parameter("name=\"n\"", "five")), R"({"n": "five"})");
  EXPECT_EQ(arguments_of(parameter("name=\"any\"", "5")), R"({"any": "5"})");
  EXPECT_EQ(arguments_of(parameter("name=\"either\"", "5")), R"({"either": "5"})");
  EXPECT_EQ(arguments_of(parameter("name=\"o\" string=\"maybe\"", "{}")), R"({"o": {}})");
  EXPECT_EQ(arguments_of(parameter("name=\"unknown\"", "5")), R"({"unknown": "5"})");
}

TEST(ParseLenient, one_parameter_with_all_arguments_is_unwrapped) {
  const std::string wrapped = R"({"s": "x", "n": 1})";
  EXPECT_EQ(arguments_of(parameter("name=\"arguments\" string=\"false\"", wrapped)), wrapped);
  EXPECT_EQ(arguments_of(parameter("name=\"input\" string=\"true\"", wrapped)), wrapped);
  EXPECT_EQ(arguments_of(parameter("name=\"arguments\" string=\"false\"", R"({"z": 1})")),
            R"({"arguments": {"z": 1}})");
  EXPECT_EQ(arguments_of(parameter("name=\"arguments\" string=\"true\"", "a\nb")),
            R"({"arguments": "a\nb"})");
  EXPECT_EQ(arguments_of(parameter("name=\"arguments\" string=\"false\"", wrapped) + "\n" +
                         parameter("name=\"n\" string=\"false\"", "2")),
            R"({"arguments": {"s": "x", "n": 1}, "n": 2})");
  const std::string taker = "<｜DSML｜tool_calls><｜DSML｜invoke name=\"input_taker\">" +
                            parameter("name=\"input\" string=\"true\"", R"({"input": 1})") +
                            "</｜DSML｜invoke></｜DSML｜tool_calls>";
  EXPECT_EQ(chat(taker).tool_calls.at(0).arguments, R"({"input": "{\"input\": 1}"})");
}

TEST(ParseLenient, half_a_call_is_raw_text) {
  const std::string whole = "say" + ("\n\n" + block(parameter("name=\"s\" string=\"true\"", "v")));
  const size_t begin = whole.find("<｜DSML｜invoke") + std::string("<｜DSML｜invoke").size();
  const size_t end = whole.find("</｜DSML｜tool_calls>") - 1;
  const auto is_inside_character = [&](size_t n) {
    return n < whole.size() && (static_cast<unsigned char>(whole[n]) & 0xC0) == 0x80;
  };
  for (size_t n = begin; n < end; ++n) {
    const Result result = run({std::string_view(whole).substr(0, n)},
                              {ThinkingMode::kChat, declared()}, FinishReason::kLength);
    EXPECT_TRUE(result.message.tool_calls.empty()) << n;
    EXPECT_TRUE(result.message.content.starts_with("say\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke"));
    EXPECT_EQ(result.reason, FinishReason::kLength);
  }
  for (size_t n = end; n <= whole.size(); ++n) {
    if (is_inside_character(n)) continue;
    const Result result = run({std::string_view(whole).substr(0, n)},
                              {ThinkingMode::kChat, declared()}, FinishReason::kLength);
    EXPECT_EQ(result.message, (AssistantMessage{"say", "", {{"f", R"({"s": "v"})"}}})) << n;
    EXPECT_EQ(result.reason, FinishReason::kToolCalls);
  }
}

TEST(ParseLenient, nothing_behind_a_broken_call_is_executed) {
  const std::string twice = parameter("name=\"s\" string=\"true\"", "v");
  const std::string text = block(twice + "\n" + twice) + block("");
  const AssistantMessage message = chat(text + "<｜end▁of▁sentence｜>x");
  EXPECT_EQ(message, (AssistantMessage{text, "", {}}));
}

TEST(ParseLenient, complete_calls_before_a_broken_one_stay) {
  const std::string good = "<｜DSML｜invoke name=\"f\">\n</｜DSML｜invoke>";
  const std::string half = "\n<｜DSML｜invoke name=\"f\">\n<｜DSML｜parameter";
  const Result result =
      run({"<｜DSML｜tool_calls>" + good + half}, {ThinkingMode::kChat, {}}, FinishReason::kLength);
  EXPECT_EQ(result.message, (AssistantMessage{half, "", {{"f", "{}"}}}));
  EXPECT_EQ(result.reason, FinishReason::kLength);
}

TEST(ParseLenient, speaking_of_the_format_is_text) {
  const std::string quote = "Write `<｜DSML｜tool_calls>` around the calls.";
  EXPECT_EQ(chat(quote).content, quote);
  EXPECT_EQ(thinking(quote + block("") + "</think>ok"),
            (AssistantMessage{"ok", quote + block(""), {}}));
  // A tag cut off by the end of the text is no answer.
  EXPECT_EQ(chat("x\n\n<｜DSML｜tool_ca").content, "x");
  EXPECT_EQ(chat("x\n\n<｜DSML｜tool_calls>\n<｜DSML｜inv").content, "x");
  EXPECT_EQ(chat("x <").content, "x <");
}

TEST(ParseLenient, text_between_calls_does_not_end_the_block) {
  const std::string call = "<｜DSML｜invoke name=\"g\">\n</｜DSML｜invoke>";
  const AssistantMessage message =
      parse_lenient("<｜DSML｜tool_calls>" + call + "and " + call + "</｜DSML｜tool_calls>", {});
  EXPECT_EQ(message, (AssistantMessage{"and", "", {{"g", "{}"}, {"g", "{}"}}}));
}

TEST(ParseLenient, streams_what_is_certain) {
  LenientParser parser({ThinkingMode::kThinking, declared()});
  using Events = std::vector<ParseEvent>;
  EXPECT_EQ(parser.feed("think </th"), (Events{{Kind::kReasoning, "think ", 0}}));
  EXPECT_EQ(parser.feed("ink>Hello "), (Events{{Kind::kContent, "Hello", 0}}));
  EXPECT_EQ(parser.feed("you\n\n<｜DSML"), (Events{{Kind::kContent, " you", 0}}));
  EXPECT_EQ(parser.feed("｜tool_calls>\n<｜DSML｜invoke name=\"f\""), Events{});
  EXPECT_EQ(parser.feed(">\n<｜DSML｜parameter name=\"s\" string=\"true\">a\"b</"),
            (Events{{Kind::kToolCallBegin, "f", 0}, {Kind::kArguments, "{\"s\": \"a\\\"b", 0}}));
  EXPECT_EQ(parser.feed("b></｜DSML｜parameter>\n"), (Events{{Kind::kArguments, "</b>\"", 0}}));
  EXPECT_EQ(parser.feed("</｜DSML｜invoke>\n<｜DSML｜invoke name=\"bare\">"),
            (Events{{Kind::kArguments, "}", 0},
                    {Kind::kToolCallEnd, "", 0},
                    {Kind::kToolCallBegin, "bare", 1}}));
  EXPECT_EQ(parser.finish(FinishReason::kLength),
            (Events{{Kind::kToolCallAborted, "", 1},
                    {Kind::kRawText, "\n<｜DSML｜invoke name=\"bare\">", 0}}));
  EXPECT_EQ(parser.message().tool_calls.size(), 1u);
}

// Every way to cut a completion gives the same; what is random comes from a fixed seed.
TEST(ParseLenient, cutting_changes_nothing) {
  const std::vector<std::string> fragments = {
      "<｜DSML｜tool_calls>",
      "</｜DSML｜tool_calls>",
      "<｜DSML｜invoke name=\"f\">",
      "<｜DSML｜invoke name=\"g\">",
      "</｜DSML｜invoke>",
      "<｜DSML｜parameter name=\"s\" string=\"true\">",
      "<｜DSML｜parameter name=\"n\">",
      "<｜DSML｜parameter name=\"arguments\" string=\"false\">",
      "</｜DSML｜parameter>",
      "<tool_calls>",
      "</tool_calls>",
      "<invoke name=\"f\">",
      "</invoke>",
      "<parameter name=\"o\" string=\"false\">",
      "</parameter>",
      "<think>",
      "</think>",
      "<｜end▁of▁sentence｜>",
      "\n\n",
      "\n",
      " ",
      "text",
      "<",
      "<｜",
      "{\"s\": 1}",
      "5",
      "\"",
      "é",
      "\xE4\xBD",
      ">"};
  std::mt19937 random(10);
  for (int round = 0; round < 4000; ++round) {
    std::string text;
    // Mostly structure, so that deep states are reached.
    if (random() % 2 == 0) text = "a\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke name=\"f\">";
    for (size_t n = random() % 12; n > 0; --n) text += fragments[random() % fragments.size()];
    const LenientOptions options{random() % 2 ? ThinkingMode::kChat : ThinkingMode::kThinking,
                                 random() % 2 ? declared() : DeclaredTools()};
    const FinishReason reason = random() % 2 ? FinishReason::kStop : FinishReason::kLength;
    const Result whole = run({text}, options, reason);

    std::vector<std::string_view> bytes;
    for (size_t i = 0; i < text.size(); ++i) bytes.push_back(std::string_view(text).substr(i, 1));
    ASSERT_EQ(run(bytes, options, reason), whole) << text;
    for (size_t cut = 0; cut <= text.size(); ++cut) {
      const std::string_view view = text;
      ASSERT_EQ(run({view.substr(0, cut), view.substr(cut)}, options, reason), whole)
          << text << "\ncut at " << cut;
    }

    // The message is the sum of the events, and every call can be read.
    AssistantMessage sum;
    for (const ParseEvent& event : whole.events) {
      if (event.kind == Kind::kToolCallBegin) {
        ASSERT_EQ(event.call, sum.tool_calls.size());
      }
      add_events({event}, sum);
    }
    ASSERT_EQ(sum, whole.message) << text;
    for (const ToolCall& call : whole.message.tool_calls) {
      ASSERT_NO_THROW(
          Json::parse(call.arguments, "arguments", Json::NonFinite::kReject).as_object("arguments"))
          << text;
    }
  }
}

TEST(ParseLenient, hostile_text_takes_linear_time) {
  const auto repeat = [](const std::string& text, size_t n) {
    std::string out;
    for (; n > 0; --n) out += text;
    return out;
  };
  const std::string open = "<｜DSML｜tool_calls><｜DSML｜invoke name=\"f\">";
  const std::string texts[] = {
      repeat("<", 300000),
      repeat("<invoke name=", 30000),
      repeat("<｜DSML｜tool_calls>", 30000),
      repeat(" ", 300000),
      open + "<｜DSML｜parameter " + repeat("\">", 100000),
      open + "<｜DSML｜parameter " + repeat(" >", 100000),
      open + "<｜DSML｜parameter name=\"n\">" + repeat("</｜DSML｜paramete", 20000),
      repeat("<｜DSML｜invoke name=\"f\">\n</｜DSML｜invoke>x", 10000),
  };
  const auto start = std::chrono::steady_clock::now();
  for (const std::string& text : texts) {
    run({text}, {ThinkingMode::kChat, declared()});
    std::vector<std::string_view> bytes;
    for (size_t i = 0; i < text.size(); ++i) bytes.push_back(std::string_view(text).substr(i, 1));
    run(bytes, {ThinkingMode::kChat, declared()});
  }
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(60));
}

}  // namespace
}  // namespace dsv4
