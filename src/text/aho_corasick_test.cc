#include "text/aho_corasick.h"

#include <gtest/gtest.h>

#include <random>

namespace dsv4 {
namespace {

TEST(AhoCorasick, equals_a_plain_search_at_every_position) {
  std::mt19937 random(4);
  const auto random_text = [&](size_t n) {
    std::string text;
    for (; n > 0; --n) text += static_cast<char>('a' + random() % 3);
    return text;
  };
  for (int round = 0; round < 2000; ++round) {
    std::vector<std::string> patterns;
    for (size_t n = random() % 6; n > 0; --n) patterns.push_back(random_text(random() % 5));
    const AhoCorasick automaton(patterns);
    const std::string text = random_text(random() % 30);
    AhoCorasick::State state = AhoCorasick::kStart;
    for (size_t end = 1; end <= text.size(); ++end) {
      state = automaton.step(state, static_cast<unsigned char>(text[end - 1]));
      const std::string_view read = std::string_view(text).substr(0, end);
      int32_t match = AhoCorasick::kNone;
      size_t depth = 0;
      for (size_t i = 0; i < patterns.size(); ++i) {
        const std::string& pattern = patterns[i];
        if (!pattern.empty() && read.ends_with(pattern) &&
            (match == AhoCorasick::kNone ||
             pattern.size() > patterns[static_cast<size_t>(match)].size())) {
          match = static_cast<int32_t>(i);
        }
        for (size_t n = 1; n <= pattern.size(); ++n) {
          if (read.ends_with(pattern.substr(0, n))) depth = std::max(depth, n);
        }
      }
      ASSERT_EQ(automaton.match(state), match);
      ASSERT_EQ(automaton.depth(state), depth);
    }
  }
}

TEST(AhoCorasick, nothing_matches_without_patterns) {
  const AhoCorasick automaton;
  EXPECT_EQ(automaton.match(automaton.step(AhoCorasick::kStart, 'a')), AhoCorasick::kNone);
}

}  // namespace
}  // namespace dsv4
