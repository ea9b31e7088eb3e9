#include "cache/sequence_state.h"

#include "base/error.h"

#include <algorithm>
#include <cstring>

#include <fmt/core.h>
#include <xxhash.h>

namespace dsv4 {
namespace {

constexpr char kMagic[8] = {'D', 'S', 'V', '4', 'S', 'E', 'Q', '\0'};
constexpr uint32_t kVersion = 2;

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

template <typename T>
void visit_ring(const RowRing<T>& ring, int64_t begin, int64_t end, const auto& visit) {
  const auto n = static_cast<size_t>(ring.width()) * sizeof(T);
  for (int64_t p = begin; p < end; ++p) visit(ring.row(p), n);
}

void visit_compressor(const CompressorState& state, const LayerLayout& layout, int64_t oldest,
                      int64_t n_tokens, const auto& visit) {
  const int64_t begin = std::max<int64_t>(0, oldest - layout.tail_tokens());
  visit_ring(state.values, begin, n_tokens, visit);
  visit_ring(state.scores, begin, n_tokens, visit);
  for (int64_t i = 0; i < n_tokens / layout.ratio; ++i) {
    visit(state.entries.row(i), static_cast<size_t>(state.entries.width()));
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

int64_t PagedRows::bytes() const {
  return static_cast<int64_t>(pages_.size()) * kEntriesPerPage * row_bytes_;
}

void PagedRows::reserve(int64_t n_rows) {
  const auto n_pages = static_cast<size_t>((n_rows + kEntriesPerPage - 1) / kEntriesPerPage);
  while (pages_.size() < n_pages) {
    pages_.emplace_back(std::array<int64_t, 2>{kEntriesPerPage, row_bytes_});
  }
}

LayerState::LayerState(const LayerLayout& layout, int64_t rollback_tokens)
    : window(layout.window + rollback_tokens, layout.entry.bytes()) {
  const int64_t tail = layout.tail_tokens() + rollback_tokens;
  if (layout.has_compressor()) compressor.emplace_back(layout.entry, layout.tail_width(), tail);
  if (layout.has_indexer()) {
    indexer.emplace_back(layout.index_entry, layout.index_tail_width(), tail);
  }
}

SequenceState::SequenceState(const StateLayout& layout) : layout_(layout) {
  for (const LayerLayout& layer : layout.layers) {
    layers_.emplace_back(layer, layout.rollback_tokens);
  }
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
        state.entries.reserve(n_tokens / layout_.layers[i].ratio);
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
}

template <typename Visit>
void SequenceState::visit_rows(const Visit& visit) const {
  for (size_t i = 0; i < layers_.size(); ++i) {
    const LayerLayout& layout = layout_.layers[i];
    const int64_t window_begin = std::max<int64_t>(0, oldest_ - layout.window);
    visit_ring(layers_[i].window, window_begin, n_tokens_, visit);
    for (const auto* compressors : {&layers_[i].compressor, &layers_[i].indexer}) {
      for (const CompressorState& state : *compressors) {
        visit_compressor(state, layout, oldest_, n_tokens_, visit);
      }
    }
  }
}

int64_t SequenceState::snapshot_bytes() const {
  constexpr int64_t kFloatBytes = sizeof(float);
  int64_t rows = 0;
  const auto rows_since = [&](int64_t tokens) {
    return n_tokens_ - std::max<int64_t>(0, oldest_ - tokens);
  };
  for (const LayerLayout& layer : layout_.layers) {
    rows += rows_since(layer.window) * layer.entry.bytes();
    if (!layer.has_compressor()) continue;
    const int64_t n_entries = n_tokens_ / layer.ratio;
    const int64_t tail_rows = 2 * rows_since(layer.tail_tokens());
    rows += n_entries * layer.entry.bytes() + tail_rows * layer.tail_width() * kFloatBytes;
    if (!layer.has_indexer()) continue;
    rows += n_entries * layer.index_entry.bytes();
    rows += tail_rows * layer.index_tail_width() * kFloatBytes;
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
  visit_rows([&](const void* row, size_t n) {
    std::memcpy(out, row, n);
    out += n;
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
  state.reserve(header.n_tokens);
  const std::byte* in = bytes.data() + sizeof(header);
  state.visit_rows([&](void* row, size_t n) {
    std::memcpy(row, in, n);
    in += n;
  });
  return state;
}

}  // namespace dsv4
