#include "cache/sequence_state.h"

#include "base/error.h"

#include <algorithm>
#include <cstring>

#include <fmt/core.h>
#include <xxhash.h>

namespace dsv4 {
namespace {

constexpr char kMagic[8] = {'D', 'S', 'V', '4', 'S', 'E', 'Q', '\0'};
constexpr uint32_t kVersion = 3;

// The fixed head of a snapshot; rows follow, then the XXH3 checksum of all before it.
struct SnapshotHeader {
  char magic[8];
  uint32_t version;
  uint32_t storage;  // KvStorage
  uint64_t fingerprint;
  int64_t n_tokens;
  int64_t oldest;
};
static_assert(sizeof(SnapshotHeader) == 40);

constexpr int64_t kChecksumBytes = 8;

// Rows of positions [begin, end) as at most two runs.
template <typename T>
void visit_ring(const RowRing<T>& ring, int64_t begin, int64_t end, const auto& visit) {
  while (begin < end) {
    const int64_t n = std::min(end - begin, ring.capacity() - begin % ring.capacity());
    visit(ring.row(begin), static_cast<size_t>(n * ring.width()) * sizeof(T));
    begin += n;
  }
}

}  // namespace

template <typename T>
void RowRing<T>::append(int64_t position, Matrix<const T> rows) {
  CHECK(rows.size(1) == width(), rows.size(1), width());
  for (int64_t i = std::max<int64_t>(0, rows.size(0) - capacity()); i < rows.size(0); ++i) {
    std::copy_n(&rows(i, 0), width(), row(position + i));
  }
}

template class RowRing<float>;
template class RowRing<std::byte>;

LayerState::LayerState(PagePool& pool, const LayerLayout& layout, const StateLayout& state)
    : window(layout.window + state.rollback_tokens, layout.entry.bytes()) {
  if (!layout.has_compressor()) return;
  const int64_t tail = layout.tail_tokens() + state.rollback_tokens;
  const int64_t max_entries = state.max_tokens / layout.ratio;
  compressor.emplace_back(pool, layout.entry, layout.tail_width(), tail, max_entries);
  if (!layout.has_indexer()) return;
  indexer.emplace_back(pool, layout.index_entry, layout.index_tail_width(), tail, max_entries);
}

SequenceState::SequenceState(const StateLayout& layout, std::shared_ptr<PagePool> pool)
    : layout_(layout), pool_(pool != nullptr ? std::move(pool) : std::make_shared<PagePool>()) {
  for (const LayerLayout& layer : layout.layers) layers_.emplace_back(*pool_, layer, layout);
}

SequenceState& SequenceState::operator=(SequenceState&& other) noexcept {
  layers_ = std::move(other.layers_);  // first: the pages go back to the pool that they are from
  pool_ = std::move(other.pool_);
  layout_ = std::move(other.layout_);
  n_tokens_ = other.n_tokens_;
  oldest_ = other.oldest_;
  return *this;
}

int64_t SequenceState::allocated_bytes() const {
  int64_t bytes = 0;
  for (const LayerState& layer : layers_) {
    bytes += layer.window.bytes();
    for (const auto* compressors : {&layer.compressor, &layer.indexer}) {
      for (const CompressorState& state : *compressors) {
        bytes += state.values.bytes() + state.scores.bytes() + state.entries.bytes();
      }
    }
  }
  return bytes;
}

void SequenceState::reserve(int64_t n_tokens) {
  if (n_tokens > layout_.max_tokens) {
    throw Error(ErrorCode::kOutOfRange, "",
                fmt::format("the sequence would have {} tokens, the context length is {}; shorten "
                            "the prompt or raise --context",
                            n_tokens, layout_.max_tokens));
  }
  for (size_t i = 0; i < layers_.size(); ++i) {
    for (auto* compressors : {&layers_[i].compressor, &layers_[i].indexer}) {
      for (CompressorState& state : *compressors) {
        const int64_t ratio = layout_.layers[i].ratio;
        state.entries.reserve(n_tokens_ / ratio, n_tokens / ratio);
      }
    }
  }
}

void SequenceState::advance(int64_t n) {
  n_tokens_ += n;
  oldest_ = std::max(oldest_, n_tokens_ - layout_.rollback_tokens);
}

void SequenceState::rollback(int64_t n) {
  if (n < 0 || n > max_rollback()) {
    throw Error(ErrorCode::kOutOfRange, "",
                fmt::format("cannot take back {} tokens, at most {}", n, max_rollback()));
  }
  n_tokens_ -= n;
}

void SequenceState::clear() {
  n_tokens_ = 0;
  oldest_ = 0;
  for (LayerState& layer : layers_) {
    for (auto* compressors : {&layer.compressor, &layer.indexer}) {
      for (CompressorState& state : *compressors) state.entries.clear();
    }
  }
}

template <typename State>
void SequenceState::visit(State& state, int64_t n_tokens, int64_t oldest, const auto& ring_rows,
                          const auto& table) {
  for (size_t i = 0; i < state.layers_.size(); ++i) {
    const LayerLayout& layout = state.layout_.layers[i];
    auto& layer = state.layers_[i];
    visit_ring(layer.window, layout.window_begin(oldest), n_tokens, ring_rows);
    for (auto* compressors : {&layer.compressor, &layer.indexer}) {
      for (auto& compressor : *compressors) {
        const int64_t begin = layout.tail_begin(oldest);
        visit_ring(compressor.values, begin, n_tokens, ring_rows);
        visit_ring(compressor.scores, begin, n_tokens, ring_rows);
        table(compressor.entries, n_tokens / layout.ratio);
      }
    }
  }
}

StateCheckpoint SequenceState::checkpoint(int64_t n_rollback) const {
  CHECK(n_rollback >= 0 && n_rollback <= max_rollback(), n_rollback, max_rollback());
  StateCheckpoint kept(layout_, pool_, n_tokens_, n_tokens_ - n_rollback,
                       StateCheckpoint::Pages::kNone);
  std::byte* ring_out = kept.ring_rows().data();
  size_t i_table = 0;
  const auto copy_ring = [&](const void* rows, size_t n) {
    std::memcpy(ring_out, rows, n);
    ring_out += n;
  };
  const auto keep_table = [&](const PagedRows& rows, int64_t n_entries) {
    const StateCheckpoint::Table& table = kept.tables_[i_table++];
    for (const SequencePage& page : rows.pages(table.n_pages())) kept.pages_.emplace_back(page);
    if (table.n_partial() == 0) return;
    const std::span<std::byte> partial = kept.partial_rows(table);
    std::memcpy(partial.data(), rows.row(n_entries - table.n_partial()), partial.size());
  };
  visit(*this, n_tokens_, kept.oldest(), copy_ring, keep_table);
  return kept;
}

void SequenceState::restore(const StateCheckpoint& kept) {
  CHECK(kept.pool_ == pool_);
  clear();
  const std::byte* ring_in = kept.ring_rows().data();
  size_t i_table = 0;
  const auto copy_ring = [&](void* rows, size_t n) {
    std::memcpy(rows, ring_in, n);
    ring_in += n;
  };
  const auto take_table = [&](PagedRows& rows, int64_t n_entries) {
    const StateCheckpoint::Table& table = kept.tables_[i_table++];
    rows.share(kept.pages_of(table));
    if (table.n_partial() == 0) return;
    const int64_t n_full = n_entries - table.n_partial();
    rows.reserve(n_full, n_entries);
    const std::span<const std::byte> partial = kept.partial_rows(table);
    std::memcpy(rows.writable_row(n_full), partial.data(), partial.size());
  };
  try {
    visit(*this, kept.n_tokens(), kept.oldest(), copy_ring, take_table);
  } catch (...) {
    clear();
    throw;
  }
  n_tokens_ = kept.n_tokens();
  oldest_ = kept.oldest();
}

int64_t SequenceState::snapshot_bytes() const {
  int64_t rows = ring_bytes(layout_, n_tokens_, oldest_);
  for (const TableLayout& table : table_layouts(layout_)) {
    rows += n_tokens_ / table.ratio * table.row_bytes;
  }
  return static_cast<int64_t>(sizeof(SnapshotHeader)) + rows + kChecksumBytes;
}

std::vector<std::byte> SequenceState::snapshot() const {
  std::vector<std::byte> bytes(static_cast<size_t>(snapshot_bytes()));
  SnapshotHeader header{
      {},        kVersion, static_cast<uint32_t>(layout_.storage), layout_.fingerprint,
      n_tokens_, oldest_};
  std::memcpy(header.magic, kMagic, sizeof(kMagic));
  std::byte* out = bytes.data();
  std::memcpy(out, &header, sizeof(header));
  out += sizeof(header);
  const auto copy = [&](const void* rows, size_t n) {
    std::memcpy(out, rows, n);
    out += n;
  };
  visit(*this, n_tokens_, oldest_, copy, [&](const PagedRows& rows, int64_t n_entries) {
    for_page_runs(0, n_entries, [&](int64_t i, int64_t n) {
      copy(rows.row(i), static_cast<size_t>(n * rows.width()));
    });
  });
  const uint64_t checksum = XXH3_64bits(bytes.data(), static_cast<size_t>(out - bytes.data()));
  std::memcpy(out, &checksum, sizeof(checksum));
  CHECK(out + kChecksumBytes == bytes.data() + bytes.size());
  return bytes;
}

SequenceState SequenceState::restore(const StateLayout& layout, std::span<const std::byte> bytes,
                                     const std::string& where) {
  const auto refuse = [&](ErrorCode code, const std::string& message) {
    throw Error(code, where, message);
  };
  SnapshotHeader header;
  if (bytes.size() < sizeof(header) + kChecksumBytes) {
    refuse(ErrorCode::kInvalidInput, fmt::format("a snapshot has at least {} bytes, found {}",
                                                 sizeof(header) + kChecksumBytes, bytes.size()));
  }
  std::memcpy(&header, bytes.data(), sizeof(header));
  if (std::memcmp(header.magic, kMagic, sizeof(kMagic)) != 0) {
    refuse(ErrorCode::kInvalidInput, "byte 0: not a snapshot of a sequence");
  }
  if (header.version != kVersion) {
    refuse(ErrorCode::kUnsupported,
           fmt::format("byte 8: snapshot version {}, this program reads {}{}", header.version,
                       kVersion, header.version == 1 ? " (1 kept all rows in float32)" : ""));
  }
  if (header.storage > static_cast<uint32_t>(KvStorage::kNative)) {
    refuse(ErrorCode::kInvalidInput,
           fmt::format("byte 12: no storage has number {}", header.storage));
  }
  if (header.fingerprint != layout.fingerprint) {
    refuse(ErrorCode::kInvalidInput, "byte 16: the snapshot belongs to another model or numerics");
  }
  if (static_cast<KvStorage>(header.storage) != layout.storage) {
    refuse(ErrorCode::kInvalidInput,
           fmt::format("byte 12: entries are stored as {}, this model keeps {}",
                       kv_storage_name(static_cast<KvStorage>(header.storage)),
                       kv_storage_name(layout.storage)));
  }
  if (header.n_tokens < 0 || header.n_tokens > layout.max_tokens || header.oldest < 0 ||
      header.oldest > header.n_tokens || header.n_tokens - header.oldest > layout.rollback_tokens) {
    refuse(ErrorCode::kInvalidInput,
           fmt::format("byte 24: token counts {} and {} do not fit a context length of {} of which "
                       "{} can be taken back",
                       header.n_tokens, header.oldest, layout.max_tokens, layout.rollback_tokens));
  }
  SequenceState state(layout);
  state.n_tokens_ = header.n_tokens;
  state.oldest_ = header.oldest;
  if (static_cast<int64_t>(bytes.size()) != state.snapshot_bytes()) {
    refuse(ErrorCode::kInvalidInput,
           fmt::format("a snapshot of {} tokens has {} bytes, found {}", header.n_tokens,
                       state.snapshot_bytes(), bytes.size()));
  }
  uint64_t checksum = 0;
  const size_t body = bytes.size() - kChecksumBytes;
  std::memcpy(&checksum, bytes.data() + body, sizeof(checksum));
  if (checksum != XXH3_64bits(bytes.data(), body)) {
    refuse(ErrorCode::kInvalidInput, fmt::format("byte {}: the checksum does not match", body));
  }
  const std::byte* in = bytes.data() + sizeof(header);
  const auto copy = [&](void* rows, size_t n) {
    std::memcpy(rows, in, n);
    in += n;
  };
  visit(state, state.n_tokens_, state.oldest_, copy, [&](PagedRows& rows, int64_t n_entries) {
    rows.reserve(0, n_entries);
    for_page_runs(0, n_entries, [&](int64_t i, int64_t n) {
      copy(rows.writable_row(i), static_cast<size_t>(n * rows.width()));
    });
  });
  return state;
}

}  // namespace dsv4
