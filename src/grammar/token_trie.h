// The tokens of a vocabulary as a tree of their bytes, so that those that a grammar allows are
// found in one walk.
#pragma once

#include "text/tokenizer.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

namespace dsv4 {

// Immutable; may be used by several threads. Added tokens (<｜User｜>, </think>, ...) are not in
// the tree: they are known by their ids, not by the bytes that they are written with.
class TokenTrie {
 public:
  // Throws Error(kUnsupported) for a vocabulary without an end-of-sentence token or without a token
  // for each single byte: with these some token fits wherever some byte does.
  explicit TokenTrie(const Tokenizer& tokenizer);

  // In the order of a walk: a node, then everything below it.
  struct Node {
    uint32_t next;          // the first node that is not below this one
    uint32_t tokens_begin;  // its tokens are tokens()[tokens_begin, tokens_end)
    uint32_t tokens_end;
    uint8_t byte;
    uint8_t depth;  // bytes of the token up to here, less one
  };
  std::span<const Node> nodes() const { return nodes_; }
  std::span<const int32_t> tokens() const { return tokens_; }

  // The bytes of a token of the tree; nothing for an added or missing token.
  std::string_view bytes(int32_t id) const;
  bool is_added(int32_t id) const;
  std::span<const int32_t> added() const { return added_; }  // sorted, without the end of sentence

  int32_t eos_id() const { return eos_id_; }
  std::optional<int32_t> think_end_id() const { return think_end_id_; }
  std::optional<int32_t> dsml_id() const { return dsml_id_; }

  int32_t vocab_size() const { return static_cast<int32_t>(byte_ranges_.size()); }
  // Of the longest token of the tree.
  uint32_t max_bytes() const { return max_bytes_; }

  static constexpr size_t kMaxTokenBytes = 255;  // longer ones are never allowed

 private:
  struct ByteRange {
    uint32_t begin = 0;
    uint32_t size = 0;
  };

  void add_nodes(std::string_view bytes, std::string_view previous, std::vector<uint32_t>& path);

  std::vector<Node> nodes_;
  std::vector<int32_t> tokens_;
  std::vector<ByteRange> byte_ranges_;  // by id, in bytes_
  std::string bytes_;
  std::vector<int32_t> added_;
  int32_t eos_id_ = 0;
  std::optional<int32_t> think_end_id_;
  std::optional<int32_t> dsml_id_;
  uint32_t max_bytes_ = 0;
};

}  // namespace dsv4
