// The generated table against the ranges of the reference engine, for every code point.
#include "text/unicode_classes.h"
#include "golden_cases.h"

#include <gtest/gtest.h>

namespace dsv4 {
namespace {

TEST(UnicodeClasses, are_those_of_the_reference_engine) {
  const std::string path = source_path("tests/text/data/unicode_classes.json");
  const Json data = Json::parse(read_file(path), path);
  std::vector<CharClass> expected(0x110000, CharClass::kOther);
  const std::pair<const char*, CharClass> classes[] = {
      {"L", CharClass::kLetter},      {"M", CharClass::kMark},        {"N", CharClass::kNumber},
      {"P", CharClass::kPunctuation}, {"S", CharClass::kPunctuation}, {"W", CharClass::kSpace}};
  for (const auto& [key, char_class] : classes) {
    for (const Json& range : data.at(key, "data").as_array("ranges")) {
      const Json::Array& ends = range.as_array("range");
      for (int64_t c = ends.at(0).as_int("first"); c <= ends.at(1).as_int("last"); ++c) {
        expected[static_cast<size_t>(c)] = char_class;
      }
    }
  }
  for (char32_t c = 0; c < expected.size(); ++c)
    ASSERT_EQ(char_class(c), expected[c]) << static_cast<uint32_t>(c);
}

}  // namespace
}  // namespace dsv4
