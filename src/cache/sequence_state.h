// The state of one sequence (architecture.md section 6): per layer a ring of window entries,
// compressed entries, and the tail of compressor inputs that the entry in progress still needs.
// Everything is addressed by absolute position, so that what is valid follows from the number of
// tokens alone, and taking tokens back is forgetting them.
#pragma once

#include "cache/layout.h"
#include "tensor/tensor.h"

#include <cstddef>
#include <cstdint>
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

// A growing table of entries in pages that never move.
class PagedRows {
 public:
  explicit PagedRows(int64_t row_bytes) : row_bytes_(row_bytes) {}

  int64_t width() const { return row_bytes_; }
  int64_t bytes() const;
  std::byte* row(int64_t i) const {
    return &pages_[static_cast<size_t>(i / kEntriesPerPage)].view()(i % kEntriesPerPage, 0);
  }
  void reserve(int64_t n_rows);

 private:
  int64_t row_bytes_;
  std::vector<Tensor<std::byte, 2>> pages_;
};

// Entries of one compressor and the inputs of those in progress.
struct CompressorState {
  CompressorState(const EntryFormat& format, int64_t tail_width, int64_t tail_capacity)
      : values(tail_capacity, tail_width),
        scores(tail_capacity, tail_width),
        entries(format.bytes()) {}

  RowRing<float> values;  // u, per token
  RowRing<float> scores;  // g with the position bias added, per token
  PagedRows entries;
};

struct LayerState {
  LayerState(const LayerLayout& layout, int64_t rollback_tokens);

  RowRing<std::byte> window;
  std::vector<CompressorState> compressor;  // one where the layer compresses, else none
  std::vector<CompressorState> indexer;     // one where the layer has an indexer, else none
};

// Move-only. Used by one thread at a time.
class SequenceState {
 public:
  explicit SequenceState(const StateLayout& layout);

  int64_t n_tokens() const { return n_tokens_; }
  int64_t allocated_bytes() const;
  LayerState& layer(int64_t i) { return layers_[static_cast<size_t>(i)]; }

  // Makes room for `n_tokens` tokens in all. Throws Error(kOutOfRange) beyond the context length.
  void reserve(int64_t n_tokens);
  // Counts `n` tokens whose rows have been written.
  void advance(int64_t n);

  // How many of the last tokens can be taken back.
  int64_t max_rollback() const { return n_tokens_ - oldest_; }
  // Forgets the last `n` tokens. Throws Error(kOutOfRange) beyond max_rollback().
  void rollback(int64_t n);
  // Forgets everything.
  void clear();

  // All that later tokens depend on, as bytes: versioned, checksummed, bound to the layout's
  // fingerprint. docs/formats.md has the layout.
  std::vector<std::byte> snapshot() const;
  // The inverse. Throws Error(kInvalidInput or kUnsupported) naming `where` and what is wrong.
  static SequenceState restore(const StateLayout& layout, std::span<const std::byte> bytes,
                               const std::string& where);

 private:
  // Calls visit(row, its bytes) for every row that the state at n_tokens_ (and every earlier state
  // that rollback can reach) depends on, in the order of a snapshot.
  template <typename Visit>
  void visit_rows(const Visit& visit) const;
  int64_t snapshot_bytes() const;

  StateLayout layout_;
  std::vector<LayerState> layers_;
  int64_t n_tokens_ = 0;
  int64_t oldest_ = 0;  // smallest number of tokens that rollback can return to
};

}  // namespace dsv4
