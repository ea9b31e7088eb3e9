// Search for many patterns at once in time linear in the text, whatever the patterns: an
// Aho-Corasick automaton over bytes (Aho and Corasick, "Efficient string matching", 1975).
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace dsv4 {

// Immutable after building; states are small numbers that the caller keeps. State 0 is the start.
// Memory is proportional to the patterns' bytes.
class AhoCorasick {
 public:
  using State = uint32_t;
  static constexpr State kStart = 0;
  static constexpr int32_t kNone = -1;

  AhoCorasick() : nodes_(1) {}
  // Empty patterns never match; of equal patterns the first is reported.
  explicit AhoCorasick(std::span<const std::string> patterns);

  // The state after one more byte. Amortised constant time along a text.
  State step(State state, unsigned char byte) const;

  // Length of the longest suffix of the text read so far that begins some pattern.
  uint32_t depth(State state) const { return nodes_[state].depth; }

  // The longest pattern that ends here, or kNone.
  int32_t match(State state) const { return nodes_[state].match; }

 private:
  struct Node {
    State fail = kStart;  // the longest proper suffix that begins some pattern
    State first_child = kStart;
    State next_sibling = kStart;  // kStart ends the list
    uint32_t depth = 0;
    int32_t match = kNone;
    unsigned char byte = 0;  // on the edge that leads here
  };

  State child(State state, unsigned char byte) const;
  State add_child(State state, unsigned char byte);

  std::vector<Node> nodes_;
  std::array<State, 256> start_children_{};  // most steps of a search leave the start
};

}  // namespace dsv4
