#include "text/json.h"

#include "base/error.h"
#include "base/json.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <random>

namespace dsv4 {
namespace {

std::string reprint(std::string_view text) { return Json::parse(text, "test").print(); }

std::string error_of(std::string_view text) {
  try {
    Json::parse(text, "test");
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

// What Python's json.dumps(json.loads(x), ensure_ascii=False) gives.
TEST(Json, prints_numbers_as_python_does) {
  const std::pair<const char*, const char*> cases[] = {
      {"0", "0"},
      {"-0", "0"},
      {"-0.0", "-0.0"},
      {"10", "10"},
      {"123456789012345678901234567890", "123456789012345678901234567890"},
      {"-98765432109876543210", "-98765432109876543210"},
      {"1.0", "1.0"},
      {"2.50", "2.5"},
      {"1e5", "100000.0"},
      {"1E-7", "1e-07"},
      {"0.00001", "1e-05"},
      {"0.0001", "0.0001"},
      {"0.00012", "0.00012"},
      {"1e15", "1000000000000000.0"},
      {"1e16", "1e+16"},
      {"1e22", "1e+22"},
      {"1e100", "1e+100"},
      {"12345678901234567.0", "1.2345678901234568e+16"},
      {"123456789.125", "123456789.125"},
      {"0.1", "0.1"},
      {"0.30000000000000004", "0.30000000000000004"},
      {"5e-324", "5e-324"},
      {"1.7976931348623157e308", "1.7976931348623157e+308"},
      {"1e400", "Infinity"},
      {"-1e400", "-Infinity"},
      {"1e-400", "0.0"},
      {"-1e-400", "-0.0"},
      {"1e99999999999999999999999", "Infinity"},
      {"1e-99999999999999999999999", "0.0"},
      {"NaN", "NaN"},
      {"Infinity", "Infinity"},
      {"-Infinity", "-Infinity"},
  };
  for (const auto& [text, expected] : cases) EXPECT_EQ(reprint(text), expected) << text;
  EXPECT_EQ(reprint("0." + std::string(500, '0') + "1e600"), "1e+99");
  EXPECT_EQ(reprint(std::string(400, '9') + ".0"), "Infinity");
  EXPECT_EQ(reprint("0.0e99999"), "0.0");
}

TEST(Json, doubles_print_in_a_form_that_reads_back) {
  std::mt19937_64 random(1);
  for (int i = 0; i < 20000; ++i) {
    const uint64_t bits = random();
    double value;
    memcpy(&value, &bits, sizeof value);
    if (!std::isfinite(value)) continue;
    const std::string text = Json(value).print();
    EXPECT_EQ(Json::parse(text, "test").as_double("test"), value) << text;
    EXPECT_EQ(std::strtod(text.c_str(), nullptr), value) << text;
  }
}

TEST(Json, keeps_order_and_kinds) {
  EXPECT_EQ(reprint(R"( {"b" :[1, 2.0,true,null,"s" ],"a":{},"":[ ]} )"),
            R"({"b": [1, 2.0, true, null, "s"], "a": {}, "": []})");
}

TEST(Json, repeated_key_keeps_first_place_and_last_value) {
  EXPECT_EQ(reprint(R"({"a": 1, "b": 2, "a": 3})"), R"({"a": 3, "b": 2})");
  std::string many = "{";
  for (int round = 0; round < 2; ++round) {
    for (int i = 0; i < 100; ++i) {
      many += "\"k" + std::to_string(i) + "\": " + std::to_string(round) + ",";
    }
  }
  many.back() = '}';
  const Json parsed = Json::parse(many, "test");
  ASSERT_EQ(parsed.as_object("test").size(), 100u);
  for (int i = 0; i < 100; ++i) {
    const Json::Member& member = parsed.as_object("test")[static_cast<size_t>(i)];
    EXPECT_EQ(member.key, "k" + std::to_string(i));
    EXPECT_EQ(member.value.as_int("test"), 1);
  }
}

TEST(Json, strings_escape_only_what_they_must) {
  EXPECT_EQ(reprint(R"("\u0001\u001f\u007f\u2028 \/ \" \\ \n\r\t\b\f é \u4f60")"),
            "\"\\u0001\\u001f\x7f\xE2\x80\xA8 / \\\" \\\\ \\n\\r\\t\\b\\f é 你\"");
}

TEST(Json, surrogate_escapes) {
  const auto text = [](std::string_view json) { return Json::parse(json, "t").as_string("t"); };
  EXPECT_EQ(text(R"("\ud83d\ude00")"), "😀");
  EXPECT_EQ(text(R"("\ud83d")"), "\uFFFD");
  EXPECT_EQ(text(R"("\ude00x")"), "\uFFFDx");
  EXPECT_EQ(text(R"("\ud83d\ud83d\ude00")"), "\uFFFD😀");
  EXPECT_EQ(text(R"("\ud83d\u0041")"), "\uFFFDA");
}

TEST(Json, refuses_what_is_not_json_with_the_byte) {
  for (const char* bad : {"",         "  ",
                          "{",        "[1,",
                          "[1 2]",    "{\"a\"}",
                          "{\"a\":}", "{a:1}",
                          "[1,]",     "{,}",
                          "01",       "1.",
                          ".5",       "+1",
                          "1e",       "--1",
                          "-",        "tru",
                          "nul",      "\"",
                          "\"\\x\"",  "\"\\u12g4\"",
                          "\"\\u12",  "\"\n\"",
                          "1 2",      "'a'",
                          "nan",      "\xEF\xBB\xBF{}",
                          "\"\xFF\"", "\"\xED\xA0\x80\""}) {
    EXPECT_NE(error_of(bad).find("test: not valid JSON at byte"), std::string::npos) << bad;
  }
  EXPECT_NE(error_of("[1, x]").find("at byte 4"), std::string::npos);
  EXPECT_NE(error_of(std::string_view("[1\0]", 4)).find("at byte 2"), std::string::npos);
}

TEST(Json, non_finite_numbers_can_be_refused) {
  EXPECT_THROW(Json::parse("[NaN]", "t", Json::NonFinite::kReject), Error);
  EXPECT_THROW(Json::parse("-Infinity", "t", Json::NonFinite::kReject), Error);
}

TEST(Json, depth_is_capped) {
  const auto nested = [](int n) {
    return std::string(size_t(n), '[') + std::string(size_t(n), ']');
  };
  EXPECT_EQ(reprint(nested(kMaxJsonDepth)), nested(kMaxJsonDepth));
  EXPECT_NE(error_of(nested(kMaxJsonDepth + 1)).find("deeper"), std::string::npos);
  EXPECT_NE(error_of(std::string(1000000, '[')).find("deeper"), std::string::npos);
}

TEST(Json, accessors_name_the_place_and_what_was_found) {
  const Json json = Json::parse(R"({"n": 5, "big": 99999999999999999999})", "test");
  EXPECT_EQ(json.at("n", "here").as_int("here.n"), 5);
  try {
    json.at("n", "here").as_string("here.n");
    FAIL();
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "here.n: expected a string, found an integer");
  }
  EXPECT_THROW(json.at("missing", "here"), Error);
  EXPECT_THROW(json.at("big", "here").as_int("here.big"), Error);
  EXPECT_EQ(json.find("missing"), nullptr);
  EXPECT_EQ(Json(3).find("x"), nullptr);
}

TEST(Json, is_built_in_order) {
  Json json;
  json.set("role", "user").set("content", std::string("x")).set("role", "tool").set("n", 3);
  json.set("list", Json().push_back(true).push_back(1.5));
  EXPECT_EQ(json.print(), R"({"role": "tool", "content": "x", "n": 3, "list": [true, 1.5]})");
}

TEST(Json, many_keys_take_linear_time) {
  std::string text = "{";
  for (int i = 0; i < 300000; ++i) text += "\"" + std::to_string(i % 150000) + "\":0,";
  text.back() = '}';
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(Json::parse(text, "test").as_object("test").size(), 150000u);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(5));
}

}  // namespace
}  // namespace dsv4
