// Bytes of the state of one sequence, by kind. One function, which allocation (sequence_state.h),
// `inspect` and admission all use.
#pragma once

#include "quant/entry_format.h"

#include <algorithm>
#include <cstdint>
#include <vector>

namespace dsv4 {

// What one layer keeps per sequence (architecture.md section 6).
struct LayerLayout {
  int64_t ratio = 0;        // r: 0 keeps the window only
  int64_t window = 0;       // W
  EntryFormat entry;        // of window and compressed entries
  EntryFormat index_entry;  // used where ratio == 4

  bool has_compressor() const { return ratio != 0; }
  bool has_indexer() const { return ratio == 4; }
  // Blocks of ratio 4 overlap: an entry also reads the block before its own (cf in the report).
  int64_t overlap() const { return ratio == 4 ? 2 : 1; }
  // Tokens that the entry in progress may still read.
  int64_t tail_tokens() const { return overlap() * ratio; }
  // Inputs of the compressors, float32 in every storage.
  int64_t tail_width() const { return overlap() * entry.width; }
  int64_t index_tail_width() const { return overlap() * index_entry.width; }
  // First tokens that what follows `n_tokens` tokens still reads, of window and compressor inputs.
  int64_t window_begin(int64_t n_tokens) const { return std::max<int64_t>(0, n_tokens - window); }
  int64_t tail_begin(int64_t n_tokens) const {
    return std::max<int64_t>(0, n_tokens / ratio - (overlap() - 1)) * ratio;
  }
};

struct StateLayout {
  std::vector<LayerLayout> layers;
  KvStorage storage = KvStorage::kF32;  // that the formats of all layers belong to
  int64_t max_tokens = 0;               // context length: more is refused
  int64_t rollback_tokens = 0;          // how many of the last tokens can be taken back
  uint64_t fingerprint = 0;  // of model and numerics; a snapshot of another one is refused
};

inline constexpr int64_t kEntriesPerPage = 64;

// Calls visit(first entry, number of entries) for runs of entries [begin, end) within a page.
void for_page_runs(int64_t begin, int64_t end, const auto& visit) {
  while (begin < end) {
    const int64_t n = std::min(end - begin, kEntriesPerPage - begin % kEntriesPerPage);
    visit(begin, n);
    begin += n;
  }
}

// Bytes of the rows that a state of `n_tokens` tokens owns.
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

// Bytes of the rows of rings that a state of `n_tokens` tokens, and every earlier one down to
// `oldest` tokens, depends on.
int64_t ring_bytes(const StateLayout& layout, int64_t n_tokens, int64_t oldest);

// One table of entries; a layer has none, one (compressor) or two (compressor, indexer).
struct TableLayout {
  int64_t ratio = 0;  // tokens of an entry
  int64_t row_bytes = 0;
};
std::vector<TableLayout> table_layouts(const StateLayout& layout);

}  // namespace dsv4
