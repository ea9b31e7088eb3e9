// Every byte split of a corpus of outputs: the reference's completions, the same damaged at random,
// and texts generated from pieces of the format. DSV4_TEST_ALL (make test-all) makes five times as
// many of the latter two, and cuts in three, too.
#include "base/error.h"
#include "golden_cases.h"
#include "text/parse_completion.h"
#include "text/parse_testing.h"
#include "text/special_tokens.h"
#include "text/unicode.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <random>

namespace dsv4 {
namespace {

using Kind = ParseEvent::Kind;

bool is_full() { return std::getenv("DSV4_TEST_ALL") != nullptr; }

struct Output {
  std::string text;
  LenientOptions options;
  FinishReason reason;
};

struct Result {
  std::vector<ParseEvent> events;  // neighbours of one kind joined
  AssistantMessage message;
  FinishReason reason;
  bool operator==(const Result&) const = default;
};

bool is_text(Kind kind) {
  return kind == Kind::kReasoning || kind == Kind::kContent || kind == Kind::kRawText ||
         kind == Kind::kArguments;
}

// Feeds the text cut at the given places.
Result run(const Output& output, std::initializer_list<size_t> cuts) {
  LenientParser parser(output.options);
  Result result;
  const auto take = [&](std::vector<ParseEvent> events) {
    for (ParseEvent& event : events) {
      const bool joins =
          is_text(event.kind) && !result.events.empty() && result.events.back().kind == event.kind;
      if (joins) {
        result.events.back().text += event.text;
      } else {
        result.events.push_back(std::move(event));
      }
    }
  };
  const std::string_view text = output.text;
  size_t begin = 0;
  for (const size_t cut : cuts) {
    take(parser.feed(text.substr(begin, cut - begin)));
    begin = cut;
  }
  take(parser.feed(text.substr(begin)));
  take(parser.finish(output.reason));
  result.message = parser.message();
  result.reason = parser.finish_reason();
  return result;
}

DeclaredTools declared_tools() {
  return DeclaredTools(Json::parse(R"([{"function": {"name": "get_weather", "parameters":
      {"properties": {"city": {"type": "string"}, "days": {"type": "integer"}}}}},
      {"function": {"name": "f"}}])",
                                   "tools")
                           .as_array("tools"));
}

std::vector<std::string> golden_completions() {
  std::vector<std::string> texts;
  for (const Json& c : golden_cases("parse.jsonl")) {
    texts.push_back(c.at("completion", "case").as_string("completion"));
  }
  return texts;
}

// Cuts, doubles, swaps or overwrites a part of the text.
std::string damaged(std::string text, std::mt19937& random) {
  for (size_t n = 1 + random() % 3; n > 0 && !text.empty(); --n) {
    const size_t begin = random() % text.size();
    const size_t length = 1 + random() % 12;
    switch (random() % 4) {
      case 0:
        text.erase(begin, length);
        break;
      case 1:
        text.insert(random() % text.size(), text.substr(begin, length));
        break;
      case 2:
        text.resize(begin);
        break;
      default:
        text[begin] = "<>\"\n /｜a"[random() % 8];
    }
  }
  return text;
}

std::string generated(std::mt19937& random) {
  const std::string_view fragments[] = {
      "<｜DSML｜tool_calls>",
      "</｜DSML｜tool_calls>",
      "<｜DSML｜invoke name=\"f\">\n",
      "<｜DSML｜invoke name=\"get_weather\">\n",
      "<｜DSML｜invoke name=\"unknown\">\n",
      "</｜DSML｜invoke>",
      "<｜DSML｜parameter name=\"city\" string=\"true\">",
      "<｜DSML｜parameter name=\"days\" string=\"false\">",
      "</｜DSML｜parameter>",
      "<tool_calls>",
      "</tool_calls>",
      "<invoke name=\"f\">",
      "</invoke>",
      "<think>",
      "</think>",
      kEos,
      "\n\n",
      "\n",
      " ",
      "text",
      "<",
      "</",
      "｜DSML｜",
      "<｜DSML｜",
      "{\"a\": 1}",
      "12",
      "\"",
      "é",
      "漢",
      "\xE4\xBD",
      "<｜DSML｜parameter name=\"city\" string=\"true\">x</｜DSML｜parameter>\n</｜DSML｜invoke>\n",
      "</｜DSML｜invoke>\n</｜DSML｜tool_calls>",
      ">",
      "`code`"};
  std::string text;
  // Mostly structure, so that deep states are reached, and often a call that is whole.
  if (random() % 3 != 0) text = "a\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke name=\"f\">\n";
  if (random() % 2 == 0) text += "</｜DSML｜invoke>\n";
  for (size_t n = random() % 14; n > 0; --n) {
    text += fragments[random() % std::size(fragments)];
  }
  return text;
}

std::vector<Output> corpus() {
  const DeclaredTools tools = declared_tools();
  const std::vector<std::string> golden = golden_completions();
  std::vector<Output> outputs;
  const auto add = [&](const std::string& text, unsigned bits) {
    const ThinkingMode mode = bits % 2 == 0 ? ThinkingMode::kChat : ThinkingMode::kThinking;
    outputs.push_back({text,
                       {mode, bits / 2 % 2 == 0 ? DeclaredTools() : tools},
                       bits / 4 % 2 == 0 ? FinishReason::kStop : FinishReason::kLength});
  };
  for (const std::string& text : golden) {
    for (unsigned bits = 0; bits < 4; ++bits) add(text, bits);
  }
  std::mt19937 random(4);
  for (int round = 0; round < (is_full() ? 5000 : 1000); ++round) {
    add(damaged(golden[random() % golden.size()], random), static_cast<unsigned>(random()));
    add(generated(random), static_cast<unsigned>(random()));
  }
  return outputs;
}

// No tag of the format is shown as text, and every call can be read.
void expect_clean(const Result& result, const std::string& text) {
  for (const ParseEvent& event : result.events) {
    if (event.kind == Kind::kContent || event.kind == Kind::kReasoning) {
      EXPECT_EQ(event.text.find(kThinkEnd), std::string::npos) << text;
      EXPECT_EQ(event.text.find(kEos), std::string::npos) << text;
    }
    if (event.kind == Kind::kContent) {
      EXPECT_EQ(event.text.find("<｜DSML｜"), std::string::npos) << text;
      EXPECT_EQ(event.text.find("</｜DSML｜"), std::string::npos) << text;
    }
  }
  for (const ToolCall& call : result.message.tool_calls) {
    EXPECT_NO_THROW(
        Json::parse(call.arguments, "", Json::NonFinite::kReject).as_object("arguments"))
        << text;
  }
}

TEST(ParseSplits, every_split_of_every_output_gives_the_same) {
  const std::vector<Output> outputs = corpus();
  ASSERT_GE(outputs.size(), 2000u);
  size_t n_with_calls = 0;
  size_t n_with_raw_text = 0;
  std::mt19937 random(5);
  for (const Output& output : outputs) {
    const Result whole = run(output, {});
    expect_clean(whole, output.text);
    if (HasFailure()) return;
    n_with_calls += !whole.message.tool_calls.empty();
    for (const ParseEvent& event : whole.events) n_with_raw_text += event.kind == Kind::kRawText;
    const size_t n = output.text.size();
    for (size_t cut = 0; cut <= n; ++cut) {
      ASSERT_EQ(run(output, {cut}), whole) << output.text << "\ncut at " << cut;
      if (!is_full()) continue;
      const size_t other = cut + random() % (n - cut + 1);
      ASSERT_EQ(run(output, {cut, other}), whole) << output.text << "\n" << cut << ", " << other;
    }
  }
  // The corpus reaches what it should.
  EXPECT_GT(n_with_calls, outputs.size() / 10);
  EXPECT_GT(n_with_raw_text, outputs.size() / 10);
}

TEST(ParseSplits, single_bytes_give_the_same) {
  for (const Output& output : corpus()) {
    const Result whole = run(output, {});
    LenientParser parser(output.options);
    AssistantMessage sum;
    for (const char& c : output.text) add_events(parser.feed(std::string_view(&c, 1)), sum);
    add_events(parser.finish(output.reason), sum);
    ASSERT_EQ(sum, whole.message) << output.text;
    ASSERT_EQ(parser.message(), whole.message) << output.text;
    ASSERT_EQ(parser.finish_reason(), whole.reason) << output.text;
  }
}

// Whether the two parsers have to agree on what the strict one accepted. Left out: calls that are
// cut off, values that are no JSON, markup in names, a line feed within an end tag, what the
// lenient parser repairs for declared tools, and bytes that are no UTF-8, which it replaces.
bool is_comparable(const Output& output, const AssistantMessage& strict) {
  const std::string& text = output.text;
  const auto has = [&](std::string_view part) { return text.find(part) != std::string::npos; };
  if (has("<｜DSML｜tool_calls") && (!has("</｜DSML｜tool_calls>") || has("<\n"))) return false;
  if (!output.options.tools.empty() || text.starts_with(kThinkBegin)) return false;
  if (well_formed_utf8_prefix(text) != text.size()) return false;
  for (const ToolCall& call : strict.tool_calls) {
    if (call.name.find('<') != std::string::npos) return false;
    if (call.arguments.find(kDsml) != std::string::npos) return false;
    try {
      Json::parse(call.arguments, "", Json::NonFinite::kReject);
    } catch (const Error&) {
      return false;
    }
  }
  return true;
}

TEST(ParseSplits, agrees_with_the_strict_parser) {
  size_t n_compared = 0;
  for (const Output& output : corpus()) {
    try {
      const AssistantMessage strict = parse_completion(output.text, output.options.mode);
      if (!is_comparable(output, strict)) continue;
      ++n_compared;
      EXPECT_EQ(to_json(run(output, {}).message).print(), to_json(strict).print()) << output.text;
    } catch (const Error&) {
      // Not what the reference takes.
    }
  }
  EXPECT_GT(n_compared, 40u);
}

}  // namespace
}  // namespace dsv4
