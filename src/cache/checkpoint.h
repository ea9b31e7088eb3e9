// The state of a sequence at some number of tokens, kept cheaply: full pages of entries are shared
// with the sequence that it was taken from, and all else that later tokens read (window, inputs of
// entries in progress, entries of the last page that is not full) is copied into one buffer.
#pragma once

#include "cache/layout.h"
#include "cache/page_pool.h"
#include "tensor/tensor.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace dsv4 {

// Where a state was kept: what is likely to be asked for again is kept longer. Files have these
// numbers.
enum class CheckpointKind : uint32_t {
  kStride = 0,    // at a multiple of some number of tokens
  kBoundary = 1,  // at the end of a message
  kEnd = 2,       // at the end of a finished reply
};

// Taken and restored by SequenceState. Immutable once taken; used by the thread that owns the pool.
// Move-only.
class StateCheckpoint {
 public:
  enum class Pages {
    kOwn,   // fresh ones, to be filled
    kNone,  // the sequence that it is taken from has them
  };

  // One without rows yet. Throws as PagePool::acquire does.
  StateCheckpoint(const StateLayout& layout, std::shared_ptr<PagePool> pool, int64_t n_tokens,
                  int64_t oldest, Pages pages = Pages::kOwn);
  StateCheckpoint(StateCheckpoint&&) noexcept = default;
  StateCheckpoint& operator=(StateCheckpoint&& other) noexcept;

  int64_t n_tokens() const { return n_tokens_; }
  // Fewest tokens that a state restored from this can be rolled back to.
  int64_t oldest() const { return oldest_; }

  // Of the buffer and the lists of pages; what it costs even where all pages are held by others.
  int64_t buffer_bytes() const;
  // Exactly what is freed with it now: the buffer and the pages that nobody else holds.
  int64_t bytes_own() const;

  // Rows of window and compressors, in the order of a snapshot.
  std::span<std::byte> ring_rows() { return rows_.view().slice(0, n_ring_bytes_).span(); }
  std::span<const std::byte> ring_rows() const {
    return rows_.view().slice(0, n_ring_bytes_).span();
  }
  // Tables of entries in the order of a snapshot: compressor, then indexer, by layer.
  int64_t n_tables() const { return static_cast<int64_t>(tables_.size()); }
  int64_t ratio(int64_t table) const { return at(table).ratio; }
  int64_t row_bytes(int64_t table) const { return at(table).row_bytes; }
  std::byte* entry(int64_t table, int64_t i);
  const std::byte* entry(int64_t table, int64_t i) const;

  // Holds the full pages of `other` in place of its own equal ones, as far as the first `n_tokens`
  // tokens reach, which must be the same in both.
  void share_pages(const StateCheckpoint& other, int64_t n_tokens);

 private:
  friend class SequenceState;

  struct Table {
    int64_t ratio = 0;
    int64_t row_bytes = 0;
    int64_t n_entries = 0;
    int64_t first_page = 0;      // in pages_
    int64_t partial_offset = 0;  // in rows_, of the entries behind the full pages

    int64_t n_pages() const { return n_entries / kEntriesPerPage; }
    int64_t n_partial() const { return n_entries % kEntriesPerPage; }
  };

  const Table& at(int64_t table) const { return tables_[static_cast<size_t>(table)]; }
  std::span<const CheckpointPage> pages_of(const Table& table) const;
  std::span<std::byte> partial_rows(const Table& table) const;

  std::shared_ptr<PagePool> pool_;  // before pages_, which it outlives
  int64_t n_tokens_;
  int64_t oldest_;
  int64_t n_ring_bytes_ = 0;
  std::vector<Table> tables_;
  std::vector<CheckpointPage> pages_;  // full pages of all tables
  Tensor<std::byte, 1> rows_;          // ring rows, then the partial pages by table
};

}  // namespace dsv4
