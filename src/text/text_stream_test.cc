#include "text/text_stream.h"

#include "text/unicode.h"

#include <gtest/gtest.h>

#include <random>

namespace dsv4 {
namespace {

TEST(Utf8Stream, gives_what_can_no_longer_change) {
  Utf8Stream stream;
  EXPECT_EQ(stream.push("a\xE4"), "a");
  EXPECT_EQ(stream.push("\xBD"), "");
  EXPECT_EQ(stream.push("\xA0z"), "你z");
  EXPECT_EQ(stream.push("\xF0\x9F\x98"), "");
  EXPECT_EQ(stream.push("A"),
            "\uFFFD"
            "A");
  EXPECT_EQ(stream.push("\xED"), "");
  EXPECT_EQ(stream.push("\xA0"), "\uFFFD\uFFFD");
  EXPECT_EQ(stream.push("\xC3"), "");
  EXPECT_EQ(stream.finish(), "\uFFFD");
  EXPECT_EQ(stream.finish(), "");
}

TEST(Utf8Stream, equals_decoding_at_once_for_random_bytes_and_cuts) {
  std::mt19937 random(2);
  const std::string alphabet = "a\xE4\xBD\xA0\xF0\x9F\x98\x80\xED\xC3\xF4\x8F\xFF";
  for (int round = 0; round < 3000; ++round) {
    std::string bytes;
    for (size_t i = random() % 20; i > 0; --i) bytes += alphabet[random() % alphabet.size()];
    Utf8Stream stream;
    std::string out;
    for (size_t begin = 0; begin < bytes.size();) {
      const size_t n = 1 + random() % 4;
      out += stream.push(std::string_view(bytes).substr(begin, n));
      begin += n;
    }
    EXPECT_EQ(out + stream.finish(), replace_ill_formed_utf8(bytes));
  }
}

TEST(StopStrings, holds_back_the_beginning_of_a_stop_string) {
  StopStrings stops({"</s>", "\n\nUser"});
  EXPECT_EQ(stops.push("ab\n"), "ab");
  EXPECT_EQ(stops.push("\n"), "");
  EXPECT_EQ(stops.push("\nUs"), "\n");
  EXPECT_EQ(stops.push("x</"), "\n\nUsx");
  EXPECT_EQ(stops.stopped_by(), std::nullopt);
  EXPECT_EQ(stops.push("s>tail"), "");
  EXPECT_EQ(stops.stopped_by(), 0u);
  EXPECT_EQ(stops.push("more"), "");
  EXPECT_EQ(stops.finish(), "");
}

TEST(StopStrings, releases_the_held_text_at_the_end) {
  StopStrings stops({"stop"});
  EXPECT_EQ(stops.push("a sto"), "a ");
  EXPECT_EQ(stops.finish(), "sto");
}

// Oracle: search after every byte for a stop string that ends there.
TEST(StopStrings, equals_a_plain_search_for_random_text_and_cuts) {
  std::mt19937 random(3);
  const auto random_text = [&](size_t n) {
    std::string text;
    for (; n > 0; --n) text += static_cast<char>('a' + random() % 2);
    return text;
  };
  for (int round = 0; round < 5000; ++round) {
    std::vector<std::string> stops;
    for (size_t n = random() % 4; n > 0; --n) stops.push_back(random_text(random() % 6));
    const std::string text = random_text(random() % 20);
    std::string expected = text;
    std::optional<size_t> expected_stop;
    for (size_t end = 1; end <= text.size() && !expected_stop; ++end) {
      for (size_t i = 0; i < stops.size(); ++i) {
        const bool ends_here =
            !stops[i].empty() && std::string_view(text).substr(0, end).ends_with(stops[i]);
        if (ends_here && (!expected_stop || stops[i].size() > stops[*expected_stop].size())) {
          expected_stop = i;
          expected = text.substr(0, end - stops[i].size());
        }
      }
    }
    StopStrings holder(stops);
    std::string out;
    for (size_t begin = 0; begin < text.size();) {
      const size_t n = 1 + random() % 5;
      out += holder.push(std::string_view(text).substr(begin, n));
      begin += n;
    }
    EXPECT_EQ(holder.stopped_by(), expected_stop);
    EXPECT_EQ(out + holder.finish(), expected);
  }
}

}  // namespace
}  // namespace dsv4
