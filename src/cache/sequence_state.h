// The state of one sequence (architecture.md section 6): per layer a ring of window entries,
// compressed entries, and the tail of compressor inputs that the entry in progress still needs.
// Everything is addressed by absolute position, so that what is valid follows from the number of
// tokens alone, and taking tokens back is forgetting them.
#pragma once

#include "cache/checkpoint.h"
#include "cache/layout.h"
#include "cache/page_pool.h"
#include "cache/paged_rows.h"
#include "tensor/tensor.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace dsv4 {

// Rows of the last `capacity` positions; position p lives in slot p mod capacity. Entries are rows
// of bytes in an EntryFormat, inputs of compressors rows of float.
template <typename T>
class RowRing {
 public:
  RowRing(int64_t capacity, int64_t width) : rows_({capacity, width}) {}

  int64_t capacity() const { return rows_.view().size(0); }
  int64_t width() const { return rows_.view().size(1); }
  int64_t bytes() const { return static_cast<int64_t>(rows_.bytes()); }
  T* row(int64_t position) const { return &rows_.view()(position % capacity(), 0); }
  // Stores rows for positions [position, position + n), as far as they fit (the last ones do).
  void append(int64_t position, Matrix<const T> rows);

 private:
  Tensor<T, 2> rows_;
};

// Entries of one compressor and the inputs of those in progress.
struct CompressorState {
  CompressorState(PagePool& pool, const EntryFormat& format, int64_t tail_width,
                  int64_t tail_capacity, int64_t max_entries)
      : values(tail_capacity, tail_width),
        scores(tail_capacity, tail_width),
        entries(pool, format.bytes(), max_entries) {}

  RowRing<float> values;  // u, per token
  RowRing<float> scores;  // g with the position bias added, per token
  PagedRows entries;
};

struct LayerState {
  LayerState(PagePool& pool, const LayerLayout& layout, const StateLayout& state);

  RowRing<std::byte> window;
  std::vector<CompressorState> compressor;  // one where the layer compresses, else none
  std::vector<CompressorState> indexer;     // one where the layer has an indexer, else none
};

// Move-only. Used by one thread at a time, which owns the pool.
class SequenceState {
 public:
  // Pages of entries come from `pool`, which states that share them have in common; without one the
  // state has its own.
  explicit SequenceState(const StateLayout& layout, std::shared_ptr<PagePool> pool = nullptr);
  SequenceState(SequenceState&&) noexcept = default;
  SequenceState& operator=(SequenceState&& other) noexcept;

  int64_t n_tokens() const { return n_tokens_; }
  // Of rings and pages, those that others hold too included.
  int64_t allocated_bytes() const;
  LayerState& layer(int64_t i) { return layers_[static_cast<size_t>(i)]; }

  // Makes room for `n_tokens` tokens in all, so that the rows of those after n_tokens() can be
  // written: pages that others hold too are copied. Throws Error(kOutOfRange) beyond the context
  // length, std::bad_alloc where there is no memory.
  void reserve(int64_t n_tokens);
  // Counts `n` tokens whose rows have been written.
  void advance(int64_t n);

  // How many of the last tokens can be taken back.
  int64_t max_rollback() const { return n_tokens_ - oldest_; }
  // Forgets the last `n` tokens. Throws Error(kOutOfRange) beyond max_rollback().
  void rollback(int64_t n);
  // Forgets everything and gives the pages back.
  void clear();

  // Keeps the present state, from which `n_rollback` tokens, at most max_rollback(), can be taken
  // back. Each costs room for its rows, and up to a block of inputs in layers of high ratio.
  StateCheckpoint checkpoint(int64_t n_rollback = 0) const;
  // The state that was kept, with its pages. The checkpoint is of a state of the same layout and
  // pool. Throws as PagePool::acquire does; the state is cleared then.
  void restore(const StateCheckpoint& checkpoint);

  // All that later tokens depend on, as bytes: versioned, checksummed, bound to the layout's
  // fingerprint. docs/formats.md has the layout.
  std::vector<std::byte> snapshot() const;
  // The inverse. Throws Error(kInvalidInput or kUnsupported) naming `where` and what is wrong.
  static SequenceState restore(const StateLayout& layout, std::span<const std::byte> bytes,
                               const std::string& where);

 private:
  // Calls ring_rows(rows, their bytes) for runs of rows of rings and table(table, n) for tables of
  // n entries: all that a state of n_tokens tokens, and every earlier one down to `oldest`, depends
  // on, in the order of a snapshot.
  template <typename State>
  static void visit(State& state, int64_t n_tokens, int64_t oldest, const auto& ring_rows,
                    const auto& table);
  int64_t snapshot_bytes() const;

  StateLayout layout_;
  std::shared_ptr<PagePool> pool_;  // before layers_, whose pages it outlives
  std::vector<LayerState> layers_;
  int64_t n_tokens_ = 0;
  int64_t oldest_ = 0;  // smallest number of tokens that rollback can return to
};

}  // namespace dsv4
