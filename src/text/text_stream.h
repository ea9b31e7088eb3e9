// Text that arrives in pieces: bytes to valid UTF-8, token ids to text, and stop strings. Each
// class hands out a piece as soon as nothing that follows can change it.
#pragma once

#include "text/aho_corasick.h"
#include "text/tokenizer.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace dsv4 {

// Bytes to UTF-8: at most three bytes of an incomplete character are held back; ill-formed
// sequences become U+FFFD. The joined pieces equal replace_ill_formed_utf8 of the joined bytes.
class Utf8Stream {
 public:
  std::string push(std::string_view bytes);
  // What was held back, as U+FFFD. The stream can be used again.
  std::string finish();

 private:
  std::string held_;
};

// Token ids to text; the joined pieces equal Tokenizer::decode of all ids. The tokenizer must
// outlive it.
class TokenStream {
 public:
  TokenStream(const Tokenizer& tokenizer, SkipSpecial skip_special)
      : tokenizer_(&tokenizer), skip_special_(skip_special) {}

  std::string push(int32_t id);
  std::string finish() { return utf8_.finish(); }

 private:
  const Tokenizer* tokenizer_;
  SkipSpecial skip_special_;
  Utf8Stream utf8_;
};

// Looks for stop strings in text and holds back what may be the beginning of one. Linear in the
// text for any stop strings.
class StopStrings {
 public:
  // Empty strings never stop.
  explicit StopStrings(std::vector<std::string> stops)
      : stops_(std::move(stops)), automaton_(stops_) {}

  // The text before the first stop string that is complete (of several that end at the same place,
  // the longest), as far as it is certain. After a stop everything is dropped.
  std::string push(std::string_view text);
  // The text held back; no stop string came.
  std::string finish();

  // The index of the stop string that was found.
  std::optional<size_t> stopped_by() const { return stopped_by_; }

 private:
  std::vector<std::string> stops_;
  AhoCorasick automaton_;
  AhoCorasick::State state_ = AhoCorasick::kStart;
  std::string held_;  // as long as the depth of state_
  std::optional<size_t> stopped_by_;
};

}  // namespace dsv4
