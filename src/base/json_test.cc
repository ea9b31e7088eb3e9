#include "base/json.h"

#include "base/error.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <string>

namespace dsv4 {
namespace {

std::string error_of(const std::string& text) {
  try {
    parse_json(text, "a.json");
    return "";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidInput);
    return error.what();
  }
}

TEST(Json, every_kind_of_bad_text_is_an_error_that_names_the_source) {
  for (const char* text : {"", "{", "[1,]", "nul", "\"\xff\"", "1e400", "[-1e400]", "{} x", "]["}) {
    EXPECT_EQ(error_of(text).rfind("a.json: not valid JSON", 0), 0u) << text;
  }
}

TEST(Json, nesting_is_capped) {
  const auto nested = [](int depth) {
    const auto n = static_cast<size_t>(depth);
    return std::string(n, '[') + std::string(n, ']');
  };
  EXPECT_EQ(error_of(nested(kMaxJsonDepth)), "");
  EXPECT_NE(error_of(nested(kMaxJsonDepth + 1)).find("nested deeper"), std::string::npos);
  EXPECT_NE(error_of(std::string(1 << 20, '[')).find("nested deeper"), std::string::npos);
  EXPECT_EQ(error_of("[\"" + std::string(1000, '[') + "\\\"[\"]"), "");  // brackets in a string
}

// Takes minutes when the end of each object searches its siblings.
TEST(Json, long_lists_of_objects_take_linear_time) {
  std::string text = "[";
  for (int i = 0; i < 300000; ++i) text += "{},";
  EXPECT_EQ(parse_json(text + "0]", "a.json").size(), 300001u);
}

}  // namespace
}  // namespace dsv4
