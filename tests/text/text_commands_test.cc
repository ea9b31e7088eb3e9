// The commands tokenize, detokenize, encode and parse of the built program, as a shell runs them.
// The golden files are their input as they are: members that are no input are ignored.
#include "golden_cases.h"

#include <gtest/gtest.h>

#include <sys/wait.h>

#include <cstdio>
#include <fstream>

namespace dsv4 {
namespace {

struct Output {
  std::string text;
  int exit_code;
};

Output run(const std::string& arguments) {
  FILE* pipe = popen((DSV4_PROGRAM " " + arguments).c_str(), "r");
  Output output{"", -1};
  char buffer[4096];
  while (const size_t n = fread(buffer, 1, sizeof buffer, pipe)) output.text.append(buffer, n);
  output.exit_code = WEXITSTATUS(pclose(pipe));
  return output;
}

std::vector<Json> run_lines(const std::string& arguments) {
  const Output output = run(arguments);
  EXPECT_EQ(output.exit_code, 0) << arguments;
  std::vector<Json> lines;
  for (size_t begin = 0; begin < output.text.size();) {
    const size_t end = std::min(output.text.find('\n', begin), output.text.size());
    lines.push_back(Json::parse(output.text.substr(begin, end - begin), "output"));
    begin = end + 1;
  }
  return lines;
}

const std::string kModel = " -m " DSV4_V4_TOKENIZER " ";

std::string from_golden(const std::string& file) {
  return " < " + source_path("tests/text/data/" + file);
}

// The members of a golden case that are its result.
Json result_of(const Json& c, const std::vector<const char*>& members) {
  Json result = Json::Object{};
  for (const char* member : members) {
    if (const Json* value = c.find(member)) result.set(member, *value);
  }
  return result;
}

void expect_golden(const std::string& command, const std::string& file,
                   const std::vector<const char*>& members) {
  const std::vector<Json> cases = golden_cases(file);
  const std::vector<Json> lines = run_lines(command + from_golden(file));
  ASSERT_EQ(lines.size(), cases.size());
  for (size_t i = 0; i < cases.size(); ++i) {
    if (cases[i].find("error") != nullptr) {
      EXPECT_TRUE(lines[i].find("error") != nullptr) << cases[i].print();
    } else {
      EXPECT_EQ(lines[i].print(), result_of(cases[i], members).print());
    }
  }
}

TEST(TextCommands, reproduce_the_golden_files) {
  expect_golden("tokenize --jsonl" + kModel, "vectors.jsonl", {"ids"});
  expect_golden("detokenize --jsonl" + kModel, "decode.jsonl", {"text"});
  expect_golden("detokenize --jsonl --stream" + kModel, "stream.jsonl", {"chunks", "text"});
  expect_golden("parse --strict --jsonl", "parse.jsonl", {"parsed"});
}

TEST(TextCommands, encode_both_variants) {
  const std::vector<Json> cases = golden_cases("encode.jsonl");
  for (const std::string variant : {"preview", "0731"}) {
    const std::vector<Json> lines =
        run_lines("encode --jsonl --variant " + variant + kModel + from_golden("encode.jsonl"));
    ASSERT_EQ(lines.size(), cases.size());
    for (size_t i = 0; i < cases.size(); ++i) {
      const std::string& encoder = cases[i].at("encoder", "case").as_string("encoder");
      if (encoder != "both" && encoder != variant) continue;
      if (cases[i].find("error") != nullptr) {
        EXPECT_TRUE(lines[i].find("error") != nullptr) << cases[i].print();
      } else {
        EXPECT_EQ(lines[i].print(), result_of(cases[i], {"prompt", "prompt_ids"}).print());
      }
    }
  }
}

TEST(TextCommands, a_bad_line_does_not_end_the_run) {
  const std::vector<Json> lines = run_lines("tokenize --jsonl" + kModel +
                                            R"(<<'END'
{"text": "a"}
{"text":
{"tex": "a"}

{"text": 5}
{"text": "b"}
END)");
  ASSERT_EQ(lines.size(), 6u);
  EXPECT_EQ(lines[0].print(), R"({"ids": [67]})");
  for (size_t i = 1; i < 5; ++i) {
    EXPECT_TRUE(lines[i].at("error", "line").as_string("error").starts_with("line ")) << i;
  }
  EXPECT_EQ(lines[2].print(), R"({"error": "line 3: \"text\" is missing"})");
  EXPECT_EQ(lines[5].print(), R"({"ids": [68]})");
}

TEST(TextCommands, user_text_is_plain_on_request) {
  EXPECT_EQ(run("tokenize --no-parse-special --json '</think>'" + kModel).text.find("128822"),
            std::string::npos);
  EXPECT_EQ(run("tokenize '</think>'" + kModel).text, "128822\n");
  // The user's mark falls to plain text, the format's own stays.
  const std::string plain = run("encode --no-parse-special --ids '</think>'" + kModel).text;
  EXPECT_TRUE(plain.starts_with("0 128803 ")) << plain;
  EXPECT_TRUE(plain.ends_with(" 128804 128822\n")) << plain;
  EXPECT_EQ(run("encode --ids '</think>'" + kModel).text, "0 128803 128822 128804 128822\n");
}

TEST(TextCommands, work_for_people) {
  EXPECT_EQ(run("tokenize 'The capital of France is'" + kModel).text, "671 6102 294 8760 344\n");
  EXPECT_EQ(run("detokenize 671 6102,294 8760 344" + kModel).text, "The capital of France is");
  EXPECT_EQ(run("detokenize --json --skip-special-tokens 0 671 1" + kModel).text,
            "{\"text\": \"The\"}\n");
  EXPECT_EQ(run("detokenize --stream 30594" + kModel).text,
            "{\"chunks\": [\"你好\", \"\"], \"text\": \"你好\"}\n");
  EXPECT_EQ(run("encode Hi --system S --thinking-mode thinking").text,
            "<｜begin▁of▁sentence｜>S<｜User｜>Hi<｜Assistant｜><think>");
  EXPECT_EQ(
      run("encode --messages - <<'END'\n[{\"role\": \"user\", \"content\": \"x\"}]\nEND").text,
      "<｜begin▁of▁sentence｜><｜User｜>x<｜Assistant｜></think>");
  EXPECT_EQ(run("parse --thinking-mode thinking 'Easy.</think>4'").text,
            "[reasoning]\nEasy.\n[content]\n4\n");
  EXPECT_EQ(run("parse --json 'x'").text,
            "{\"parsed\": {\"role\": \"assistant\", \"content\": \"x\", \"reasoning_content\": "
            "\"\", \"tool_calls\": []}}\n");
}

TEST(TextCommands, exit_codes) {
  EXPECT_EQ(run("tokenize a -m /nowhere 2>&1").exit_code, 1);
  EXPECT_EQ(run("detokenize 1 x 2>&1" + kModel).exit_code, 1);
  EXPECT_EQ(run("parse --strict unended 2>&1").exit_code, 1);
  EXPECT_EQ(run("encode x --variant v5 2>&1").exit_code, 2);
  for (const std::string command : {"tokenize", "detokenize", "encode", "parse"}) {
    const Output help = run(command + " --help");
    EXPECT_EQ(help.exit_code, 0);
    EXPECT_NE(help.text.find("Examples:"), std::string::npos);
  }
}

}  // namespace
}  // namespace dsv4
