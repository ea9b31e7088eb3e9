#include "text/aho_corasick.h"

#include <algorithm>
#include <utility>

namespace dsv4 {

AhoCorasick::AhoCorasick(std::span<const std::string> patterns) : nodes_(1) {
  std::vector<std::vector<std::pair<State, State>>> edges_by_depth;  // (from, to)
  for (size_t i = 0; i < patterns.size(); ++i) {
    State state = kStart;
    for (const char c : patterns[i]) {
      const auto byte = static_cast<unsigned char>(c);
      State next = child(state, byte);
      if (next == kStart) {
        next = add_child(state, byte);
        edges_by_depth.resize(std::max<size_t>(edges_by_depth.size(), nodes_[next].depth));
        edges_by_depth[nodes_[state].depth].emplace_back(state, next);
      }
      state = next;
    }
    Node& end = nodes_[state];
    if (state != kStart && end.match == kNone) end.match = static_cast<int32_t>(i);
  }
  // Shorter suffixes first, so that the links a new one is made from are complete.
  for (size_t depth = 1; depth < edges_by_depth.size(); ++depth) {
    for (const auto& [from, to] : edges_by_depth[depth]) {
      Node& node = nodes_[to];
      node.fail = step(nodes_[from].fail, node.byte);
      if (node.match == kNone) node.match = nodes_[node.fail].match;
    }
  }
}

AhoCorasick::State AhoCorasick::child(State state, unsigned char byte) const {
  if (state == kStart) return start_children_[byte];
  State next = nodes_[state].first_child;
  while (next != kStart && nodes_[next].byte != byte) next = nodes_[next].next_sibling;
  return next;
}

AhoCorasick::State AhoCorasick::add_child(State state, unsigned char byte) {
  const State added = static_cast<State>(nodes_.size());
  nodes_.push_back(
      {.next_sibling = nodes_[state].first_child, .depth = nodes_[state].depth + 1, .byte = byte});
  nodes_[state].first_child = added;
  if (state == kStart) start_children_[byte] = added;
  return added;
}

AhoCorasick::State AhoCorasick::step(State state, unsigned char byte) const {
  for (;;) {
    if (const State next = child(state, byte); next != kStart || state == kStart) return next;
    state = nodes_[state].fail;
  }
}

}  // namespace dsv4
