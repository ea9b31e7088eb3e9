#include "cache/layout.h"

namespace dsv4 {
namespace {

constexpr int64_t kFloatBytes = 4;

int64_t page_bytes(int64_t n_entries, const EntryFormat& format) {
  const int64_t n_pages = (n_entries + kEntriesPerPage - 1) / kEntriesPerPage;
  return n_pages * kEntriesPerPage * format.bytes();
}

}  // namespace

StateBytes& StateBytes::operator+=(const StateBytes& other) {
  window += other.window;
  compressed += other.compressed;
  index += other.index;
  tails += other.tails;
  return *this;
}

StateBytes state_bytes(const LayerLayout& layer, int64_t rollback_tokens, int64_t n_tokens) {
  StateBytes bytes;
  bytes.window = (layer.window + rollback_tokens) * layer.entry.bytes();
  if (!layer.has_compressor()) return bytes;
  // Values and scores of each token in the tail.
  const int64_t tail_rows = 2 * (layer.tail_tokens() + rollback_tokens);
  const int64_t n_entries = n_tokens / layer.ratio;
  bytes.compressed = page_bytes(n_entries, layer.entry);
  bytes.tails = tail_rows * layer.tail_width() * kFloatBytes;
  if (!layer.has_indexer()) return bytes;
  bytes.index = page_bytes(n_entries, layer.index_entry);
  bytes.tails += tail_rows * layer.index_tail_width() * kFloatBytes;
  return bytes;
}

StateBytes state_bytes(const StateLayout& layout, int64_t n_tokens) {
  StateBytes total;
  for (const LayerLayout& layer : layout.layers) {
    total += state_bytes(layer, layout.rollback_tokens, n_tokens);
  }
  return total;
}

int64_t ring_bytes(const StateLayout& layout, int64_t n_tokens, int64_t oldest) {
  int64_t bytes = 0;
  for (const LayerLayout& layer : layout.layers) {
    bytes += (n_tokens - layer.window_begin(oldest)) * layer.entry.bytes();
    if (!layer.has_compressor()) continue;
    const int64_t tail_rows = 2 * (n_tokens - layer.tail_begin(oldest));
    bytes += tail_rows * layer.tail_width() * kFloatBytes;
    if (layer.has_indexer()) bytes += tail_rows * layer.index_tail_width() * kFloatBytes;
  }
  return bytes;
}

std::vector<TableLayout> table_layouts(const StateLayout& layout) {
  std::vector<TableLayout> tables;
  for (const LayerLayout& layer : layout.layers) {
    if (layer.has_compressor()) tables.push_back({layer.ratio, layer.entry.bytes()});
    if (layer.has_indexer()) tables.push_back({layer.ratio, layer.index_entry.bytes()});
  }
  return tables;
}

}  // namespace dsv4
