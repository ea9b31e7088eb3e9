// The index of the prefix cache: for each salt a radix tree over tokens with checkpoints at some
// of its positions. A path is compared token by token, so that nothing can be taken for another.
#pragma once

#include "cache/checkpoint.h"
#include "cache/token_hash.h"

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <vector>

namespace dsv4 {

// Used by one thread at a time.
class PrefixTree {
 public:
  struct Node;

  struct Entry {
    StateCheckpoint checkpoint;
    CheckpointKind kind = CheckpointKind::kStride;
    uint64_t last_use = 0;
    uint64_t salt = 0;
    TokenHash hash;  // of its tokens
    Node* node = nullptr;
  };

  struct Match {
    Entry* entry = nullptr;    // the longest at or before the limit
    int64_t n_common = 0;      // first tokens that a path of the tree has too
    bool diverged = false;     // the paths go on there, with other tokens
    Entry* nearest = nullptr;  // some entry at or below n_common, which shares n_common tokens
  };

  // An entry and what speaks for giving it up.
  struct Candidate {
    Entry* entry = nullptr;
    bool redundant = false;  // a stride without which the spacing is still close enough
    bool last = false;       // nothing longer goes on from it
  };

  PrefixTree();
  ~PrefixTree();

  Match match(std::span<const int32_t> tokens, uint64_t salt, int64_t limit) const;
  // Adds one where there is none yet. `tokens` are those of the checkpoint.
  Entry& insert(std::span<const int32_t> tokens, Entry entry);
  // Forgets the entry and the tokens that only it needed.
  void erase(Entry& entry);

  // All entries. Strides are redundant where the kept ones stay within `spacing` tokens of each
  // other, or within an eighth of the distance to the longest end of their path.
  std::vector<Candidate> candidates(int64_t spacing) const;

  int64_t n_entries() const { return n_entries_; }
  int64_t buffer_bytes() const { return buffer_bytes_; }  // of all checkpoints

 private:
  Node* descend(std::span<const int32_t> tokens, uint64_t salt, int64_t& n_common) const;
  Node& split(Node& node, int64_t position);
  void prune(Node* node, uint64_t salt);
  static void join(Node& node);

  std::map<uint64_t, std::unique_ptr<Node>> roots_;  // by salt
  int64_t n_entries_ = 0;
  int64_t buffer_bytes_ = 0;
};

}  // namespace dsv4
