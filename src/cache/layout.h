// Bytes of the state of one sequence, by kind. One function, which allocation (sequence_state.h),
// `inspect` and admission all use.
#pragma once

#include <cstdint>
#include <vector>

namespace dsv4 {

// What one layer keeps per sequence (architecture.md section 6). Entries are float32.
struct LayerLayout {
  int64_t ratio = 0;           // r: 0 keeps the window only
  int64_t window = 0;          // W
  int64_t head_dim = 0;        // c, width of window and compressed entries
  int64_t index_head_dim = 0;  // ci, width of index entries; used where ratio == 4

  bool has_compressor() const { return ratio != 0; }
  bool has_indexer() const { return ratio == 4; }
  // Blocks of ratio 4 overlap: an entry also reads the block before its own (cf in the report).
  int64_t overlap() const { return ratio == 4 ? 2 : 1; }
  // Tokens that the entry in progress may still read.
  int64_t tail_tokens() const { return overlap() * ratio; }
};

struct StateLayout {
  std::vector<LayerLayout> layers;
  int64_t max_tokens = 0;       // context length: more is refused
  int64_t rollback_tokens = 0;  // how many of the last tokens can be taken back
  uint64_t fingerprint = 0;     // of model and numerics; a snapshot of another one is refused
};

// Rows of float32 that a state of `n_tokens` tokens owns.
inline constexpr int64_t kEntriesPerPage = 64;
struct StateBytes {
  int64_t window = 0;      // rings of window entries
  int64_t compressed = 0;  // pages of compressed entries
  int64_t index = 0;       // pages of index entries
  int64_t tails = 0;       // rings of compressor inputs (values and scores, indexer's too)

  int64_t total() const { return window + compressed + index + tails; }
  StateBytes& operator+=(const StateBytes& other);
};

// Exactly what a sequence with room for `n_tokens` tokens allocates for its entries.
StateBytes state_bytes(const LayerLayout& layer, int64_t rollback_tokens, int64_t n_tokens);
StateBytes state_bytes(const StateLayout& layout, int64_t n_tokens);

}  // namespace dsv4
