// A sequence with made-up rows beside a plain history of them, for tests: what the state must hold
// follows from the history alone.
#pragma once

#include "base/rng.h"
#include "cache/sequence_state.h"

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

namespace dsv4 {

// Every kind of layer, small: window only, overlapping blocks with an indexer, plain blocks.
inline StateLayout small_layout(int64_t rollback_tokens, KvStorage storage = KvStorage::kNative) {
  StateLayout layout;
  layout.storage = storage;
  const EntryFormat entry = entry_format(storage, 3, 2);
  const EntryFormat index_entry = index_key_format(storage, 1);
  layout.layers = {{0, 5, entry, {}}, {4, 6, entry, index_entry}, {3, 4, entry, {}}};
  layout.max_tokens = 1000;
  layout.rollback_tokens = rollback_tokens;
  layout.fingerprint = 0x0123456789ABCDEF;
  return layout;
}

// Feeds tokens to a SequenceState as the model does. Each token has a random number, and each byte
// of a row is a function of layer, kind of row, place in it and the tokens that the row depends on,
// so that a row of another token, or of one that was taken back, does not compare equal.
class TestSequence {
 public:
  enum Kind : uint64_t { kWindow, kValues, kScores, kEntries, kIndex = 8 };

  TestSequence(StateLayout layout, uint64_t seed)
      : layout_(std::move(layout)), state_(layout_), seed_(seed) {}

  SequenceState& state() { return state_; }
  const StateLayout& layout() const { return layout_; }
  int64_t n_tokens() const { return static_cast<int64_t>(tokens_.size()); }
  void replace_state(SequenceState state) { state_ = std::move(state); }
  // The same history with an empty state, which goes on with other tokens.
  TestSequence fork() const {
    TestSequence copy(layout_, seed_);
    copy.tokens_ = tokens_;
    copy.n_fed_ = n_fed_;
    copy.diverge(++n_forks_);
    return copy;
  }
  // From now on other tokens than those of a sequence of the same seed.
  void diverge(uint64_t branch) { n_fed_ += 1'000'000 * branch; }
  // Of the history alone, which the state is then behind or ahead of.
  void cut(int64_t n) {
    tokens_.resize(static_cast<size_t>(n));
    chains_.resize(std::min(chains_.size(), static_cast<size_t>(n) + 1));
  }
  void add_tokens(int64_t n) {
    for (int64_t i = 0; i < n; ++i) tokens_.push_back(random_bits(seed_, 7, n_fed_++));
  }
  void drop_state() { state_ = SequenceState(layout_); }
  // The tokens as a caller knows them.
  std::vector<int32_t> tokens() const {
    std::vector<int32_t> ids;
    for (const uint64_t token : tokens_) ids.push_back(static_cast<int32_t>(token & 0xFFFF));
    return ids;
  }

  void feed(int64_t n) {
    add_tokens(n);
    write(n_tokens() - n);
  }
  // Feeds what the other history has more.
  void feed_again(const TestSequence& other) {
    const int64_t begin = n_tokens();
    tokens_.insert(tokens_.end(), other.tokens_.begin() + begin, other.tokens_.end());
    write(begin);
  }

  void rollback(int64_t n) {
    state_.rollback(n);
    cut(n_tokens() - n);
  }

  // Calls visit(bytes of the actual row, layer, kind, position) for every row that the tokens from
  // `from` on depend on, in the documented order of a snapshot.
  template <typename Visit>
  void visit_needed(int64_t from, const Visit& visit) {
    const auto visit_ring = [&](const auto& ring, size_t l, uint64_t kind, int64_t begin) {
      for (int64_t p = std::max<int64_t>(0, begin); p < n_tokens(); ++p) {
        visit(bytes_of(ring, p), l, kind, p);
      }
    };
    for (size_t l = 0; l < layout_.layers.size(); ++l) {
      const LayerLayout& layout = layout_.layers[l];
      const LayerState& layer = state_.layer(static_cast<int64_t>(l));
      visit_ring(layer.window, l, kWindow, from - layout.window);
      uint64_t base = 0;
      for (const auto* compressors : {&layer.compressor, &layer.indexer}) {
        for (const CompressorState& compressor : *compressors) {
          // The block in progress, where blocks overlap the one before too.
          const int64_t begin = from - from % layout.ratio - (layout.ratio == 4 ? 4 : 0);
          visit_ring(compressor.values, l, base + kValues, begin);
          visit_ring(compressor.scores, l, base + kScores, begin);
          for (int64_t i = 0; i < n_tokens() / layout.ratio; ++i) {
            visit(bytes_of(compressor.entries, i), l, base + kEntries, i);
          }
        }
        base = kIndex;
      }
    }
  }

  // A byte of a row. A compressed entry depends on all tokens of its block (and of those before).
  std::byte expected(size_t layer, uint64_t kind, int64_t position, size_t place) const {
    const bool is_entry = kind % kIndex == kEntries;
    const int64_t ratio = layout_.layers[layer].ratio;
    const uint64_t bits = is_entry ? chain((position + 1) * ratio) : token(position);
    const auto row = static_cast<uint64_t>(position) * 16 + kind;
    return static_cast<std::byte>(random_bits(bits, row, layer * 1000 + place) & 0xFF);
  }

 private:
  uint64_t token(int64_t position) const { return tokens_[static_cast<size_t>(position)]; }

  // Depends on the first n tokens.
  uint64_t chain(int64_t n) const {
    while (chains_.size() <= static_cast<size_t>(n)) {
      chains_.push_back(31 * chains_.back() + tokens_[chains_.size() - 1]);
    }
    return chains_[static_cast<size_t>(n)];
  }

  void write(int64_t begin) {
    state_.reserve(n_tokens());
    for (size_t l = 0; l < layout_.layers.size(); ++l) {
      const LayerLayout& layout = layout_.layers[l];
      LayerState& layer = state_.layer(static_cast<int64_t>(l));
      append(layer.window, l, kWindow, begin);
      if (layout.has_compressor()) feed_compressor(layer.compressor[0], l, 0, begin);
      if (layout.has_indexer()) feed_compressor(layer.indexer[0], l, kIndex, begin);
    }
    state_.advance(n_tokens() - begin);
  }

  template <typename Rows>
  static std::span<const std::byte> bytes_of(const Rows& rows, int64_t i) {
    return std::as_bytes(std::span(rows.row(i), static_cast<size_t>(rows.width())));
  }

  void fill(std::span<std::byte> row, size_t layer, uint64_t kind, int64_t position) const {
    for (size_t i = 0; i < row.size(); ++i) row[i] = expected(layer, kind, position, i);
  }

  template <typename T>
  void append(RowRing<T>& ring, size_t layer, uint64_t kind, int64_t begin) const {
    const Tensor<T, 2> rows({n_tokens() - begin, ring.width()});
    for (int64_t p = begin; p < n_tokens(); ++p) {
      fill(std::as_writable_bytes(rows.view()[p - begin].span()), layer, kind, p);
    }
    ring.append(begin, rows.view());
  }

  void feed_compressor(CompressorState& state, size_t layer, uint64_t base, int64_t begin) const {
    append(state.values, layer, base + kValues, begin);
    append(state.scores, layer, base + kScores, begin);
    const int64_t ratio = layout_.layers[layer].ratio;
    for (int64_t i = begin / ratio; i < n_tokens() / ratio; ++i) {
      fill({state.entries.writable_row(i), static_cast<size_t>(state.entries.width())}, layer,
           base + kEntries, i);
    }
  }

  StateLayout layout_;
  SequenceState state_;
  uint64_t seed_;
  uint64_t n_fed_ = 0;
  mutable uint64_t n_forks_ = 0;
  std::vector<uint64_t> tokens_;
  mutable std::vector<uint64_t> chains_ = {0};
};

}  // namespace dsv4
