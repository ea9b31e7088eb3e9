#include "cache/prefix_tree.h"

#include "base/check.h"

#include <algorithm>
#include <iterator>
#include <utility>

namespace dsv4 {

// A run of tokens behind those of its parent, and what is kept at positions in it. Every leaf ends
// at an entry.
struct PrefixTree::Node {
  Node* parent = nullptr;
  int64_t begin = 0;                                  // tokens before the run
  std::vector<int32_t> tokens;                        // the run
  std::map<int64_t, Entry> entries;                   // by position, in (begin, end()]
  std::map<int32_t, std::unique_ptr<Node>> children;  // by first token, all at end(); never one,
                                                      // but for a root

  // What comes behind, for candidates(): the first entry of the branch where it comes latest, and
  // the end of the longest path.
  int64_t next_entry = 0;
  int64_t longest = 0;

  int64_t end() const { return begin + static_cast<int64_t>(tokens.size()); }
  Node* child(int32_t token) const {
    const auto found = children.find(token);
    return found == children.end() ? nullptr : found->second.get();
  }
};

namespace {

using Node = PrefixTree::Node;
using Entry = PrefixTree::Entry;

// Some entry behind at least `position` tokens, of a node that ends there or later.
Entry* first_entry(Node& node, int64_t position) {
  const auto found = node.entries.lower_bound(position);
  if (found != node.entries.end()) return &found->second;
  if (node.children.empty()) return nullptr;
  return first_entry(*node.children.begin()->second, position);
}

void look_behind(Node& node) {
  node.next_entry = 0;
  node.longest = node.end();
  for (const auto& [token, child] : node.children) {
    look_behind(*child);
    const bool has_entry = !child->entries.empty();
    const int64_t next = has_entry ? child->entries.begin()->first : child->next_entry;
    node.next_entry = std::max(node.next_entry, next);
    node.longest = std::max(node.longest, child->longest);
  }
}

// Lists the entries of a tree that look_behind() has seen. Strides are judged from the front by
// what is kept before them, so that all of the redundant ones can go together.
void list_entries(Node& node, int64_t last_kept, int64_t spacing,
                  std::vector<PrefixTree::Candidate>& candidates) {
  for (auto it = node.entries.begin(); it != node.entries.end(); ++it) {
    auto& [position, entry] = *it;
    const auto after = std::next(it);
    const bool last = after == node.entries.end() && node.children.empty();
    const int64_t next = after == node.entries.end() ? node.next_entry : after->first;
    const int64_t allowed = std::max(spacing, (node.longest - position) / 8);
    const bool redundant =
        entry.kind == CheckpointKind::kStride && !last && next - last_kept <= allowed;
    if (!redundant) last_kept = position;
    candidates.push_back({&entry, redundant, last});
  }
  for (const auto& [token, child] : node.children) {
    list_entries(*child, last_kept, spacing, candidates);
  }
}

}  // namespace

PrefixTree::PrefixTree() = default;
PrefixTree::~PrefixTree() = default;

// The last node of the path that `tokens` follow, and how far they do.
Node* PrefixTree::descend(std::span<const int32_t> tokens, uint64_t salt, int64_t& n_common) const {
  n_common = 0;
  const auto root = roots_.find(salt);
  if (root == roots_.end()) return nullptr;
  Node* node = root->second.get();
  while (static_cast<size_t>(n_common) < tokens.size()) {
    const auto rest = tokens.subspan(static_cast<size_t>(n_common));
    Node* child = node->child(rest.front());
    if (child == nullptr) break;
    node = child;
    n_common += std::ranges::mismatch(child->tokens, rest).in1 - child->tokens.begin();
    if (n_common < child->end()) break;
  }
  return node;
}

PrefixTree::Match PrefixTree::match(std::span<const int32_t> tokens, uint64_t salt,
                                    int64_t limit) const {
  Match match;
  Node* node = descend(tokens, salt, match.n_common);
  if (node == nullptr) return match;
  const bool goes_on = match.n_common < node->end() || !node->children.empty();
  match.diverged = goes_on && match.n_common < static_cast<int64_t>(tokens.size());
  match.nearest = first_entry(*node, match.n_common);
  const int64_t most = std::min(limit, match.n_common);
  for (; node != nullptr && match.entry == nullptr; node = node->parent) {
    const auto after = node->entries.upper_bound(most);
    if (after != node->entries.begin()) match.entry = &std::prev(after)->second;
  }
  return match;
}

// Cuts a node in two at `position` inside of its run, and returns the first part.
Node& PrefixTree::split(Node& node, int64_t position) {
  const auto n_first = static_cast<ptrdiff_t>(position - node.begin);
  auto& place = node.parent->children[node.tokens.front()];
  auto first = std::make_unique<Node>();
  first->parent = node.parent;
  first->begin = node.begin;
  first->tokens.assign(node.tokens.begin(), node.tokens.begin() + n_first);
  while (!node.entries.empty() && node.entries.begin()->first <= position) {
    auto moved = first->entries.insert(node.entries.extract(node.entries.begin()));
    moved.position->second.node = first.get();
  }
  node.parent = first.get();
  node.begin = position;
  node.tokens.erase(node.tokens.begin(), node.tokens.begin() + n_first);
  first->children[node.tokens.front()] = std::move(place);
  place = std::move(first);
  return *place;
}

Entry& PrefixTree::insert(std::span<const int32_t> tokens, Entry entry) {
  const auto n = static_cast<int64_t>(tokens.size());
  CHECK(n > 0 && entry.checkpoint.n_tokens() == n, n, entry.checkpoint.n_tokens());
  auto& root = roots_[entry.salt];
  if (root == nullptr) root = std::make_unique<Node>();
  int64_t n_common = 0;
  Node* node = descend(tokens, entry.salt, n_common);
  if (n_common < n) {
    if (n_common < node->end()) node = &split(*node, n_common);
    const auto rest = tokens.subspan(static_cast<size_t>(n_common));
    // A path that only goes on gets longer; a branch gets a node.
    if (node->children.empty() && node != root.get()) {
      node->tokens.insert(node->tokens.end(), rest.begin(), rest.end());
    } else {
      auto child = std::make_unique<Node>();
      child->parent = node;
      child->begin = n_common;
      child->tokens.assign(rest.begin(), rest.end());
      node = (node->children[rest.front()] = std::move(child)).get();
    }
  }
  entry.node = node;
  buffer_bytes_ += entry.checkpoint.buffer_bytes();
  ++n_entries_;
  const auto [place, is_new] = node->entries.emplace(n, std::move(entry));
  CHECK(is_new, n);
  return place->second;
}

void PrefixTree::erase(Entry& entry) {
  Node* node = entry.node;
  const uint64_t salt = entry.salt;
  buffer_bytes_ -= entry.checkpoint.buffer_bytes();
  --n_entries_;
  node->entries.erase(entry.checkpoint.n_tokens());
  prune(node, salt);
}

// Forgets tokens behind the last entry of a path, up to the first branch.
void PrefixTree::prune(Node* node, uint64_t salt) {
  while (node->children.empty()) {
    const int64_t end = node->entries.empty() ? node->begin : node->entries.rbegin()->first;
    const int32_t first = node->tokens.empty() ? 0 : node->tokens.front();
    node->tokens.resize(static_cast<size_t>(end - node->begin));
    if (!node->tokens.empty()) return;
    if (node->parent == nullptr) {
      roots_.erase(salt);
      return;
    }
    node = node->parent;
    node->children.erase(first);
  }
  if (node->children.size() == 1 && node->parent != nullptr) join(*node);
}

// Takes the only child into the node, so that there are fewer nodes than twice the leaves.
void PrefixTree::join(Node& node) {
  const std::unique_ptr<Node> child = std::move(node.children.begin()->second);
  node.tokens.insert(node.tokens.end(), child->tokens.begin(), child->tokens.end());
  node.entries.merge(child->entries);
  for (auto& [position, entry] : node.entries) entry.node = &node;
  node.children = std::move(child->children);
  for (const auto& [token, grandchild] : node.children) grandchild->parent = &node;
}

std::vector<PrefixTree::Candidate> PrefixTree::candidates(int64_t spacing) const {
  std::vector<Candidate> candidates;
  candidates.reserve(static_cast<size_t>(n_entries_));
  for (const auto& [salt, root] : roots_) {
    look_behind(*root);
    list_entries(*root, 0, spacing, candidates);
  }
  return candidates;
}

}  // namespace dsv4
