#include "cache/checkpoint.h"

#include "base/check.h"

#include <algorithm>
#include <utility>

namespace dsv4 {

StateCheckpoint::StateCheckpoint(const StateLayout& layout, std::shared_ptr<PagePool> pool,
                                 int64_t n_tokens, int64_t oldest, Pages pages)
    : pool_(std::move(pool)),
      n_tokens_(n_tokens),
      oldest_(oldest),
      n_ring_bytes_(dsv4::ring_bytes(layout, n_tokens, oldest)) {
  int64_t n_pages = 0;
  int64_t n_bytes = n_ring_bytes_;
  for (const auto& [ratio, row_bytes] : table_layouts(layout)) {
    const Table table{ratio, row_bytes, n_tokens / ratio, n_pages, n_bytes};
    n_pages += table.n_pages();
    n_bytes += table.n_partial() * row_bytes;
    tables_.push_back(table);
  }
  rows_ = Tensor<std::byte, 1>({n_bytes});
  pages_.reserve(static_cast<size_t>(n_pages));
  if (pages == Pages::kNone) return;
  for (const Table& table : tables_) {
    for (int64_t i = 0; i < table.n_pages(); ++i) {
      pages_.push_back(pool_->acquire<PageHolder::kCheckpoint>(table.row_bytes * kEntriesPerPage));
    }
  }
}

StateCheckpoint& StateCheckpoint::operator=(StateCheckpoint&& other) noexcept {
  pages_ = std::move(other.pages_);  // first: the pages go back to the pool that they are from
  pool_ = std::move(other.pool_);
  n_tokens_ = other.n_tokens_;
  oldest_ = other.oldest_;
  n_ring_bytes_ = other.n_ring_bytes_;
  tables_ = std::move(other.tables_);
  rows_ = std::move(other.rows_);
  return *this;
}

int64_t StateCheckpoint::buffer_bytes() const {
  return static_cast<int64_t>(rows_.bytes() + tables_.capacity() * sizeof(Table) +
                              pages_.capacity() * sizeof(CheckpointPage));
}

int64_t StateCheckpoint::bytes_own() const {
  int64_t bytes = buffer_bytes();
  for (const CheckpointPage& page : pages_) bytes += page.is_shared() ? 0 : page.bytes();
  return bytes;
}

std::span<const CheckpointPage> StateCheckpoint::pages_of(const Table& table) const {
  return std::span(pages_).subspan(static_cast<size_t>(table.first_page),
                                   static_cast<size_t>(table.n_pages()));
}

std::span<std::byte> StateCheckpoint::partial_rows(const Table& table) const {
  return rows_.view().slice(table.partial_offset, table.n_partial() * table.row_bytes).span();
}

const std::byte* StateCheckpoint::entry(int64_t i_table, int64_t i) const {
  const Table& table = at(i_table);
  CHECK(i >= 0 && i < table.n_entries, i, table.n_entries);
  const int64_t offset = i % kEntriesPerPage * table.row_bytes;
  const int64_t i_page = i / kEntriesPerPage;
  if (i_page == table.n_pages()) return partial_rows(table).data() + offset;
  return pages_of(table)[static_cast<size_t>(i_page)].data() + offset;
}

std::byte* StateCheckpoint::entry(int64_t table, int64_t i) {
  return const_cast<std::byte*>(std::as_const(*this).entry(table, i));
}

void StateCheckpoint::share_pages(const StateCheckpoint& other, int64_t n_tokens) {
  CHECK(pool_ == other.pool_ && tables_.size() == other.tables_.size());
  for (size_t t = 0; t < tables_.size(); ++t) {
    const Table& own = tables_[t];
    const Table& others = other.tables_[t];
    const int64_t n_known = n_tokens / own.ratio / kEntriesPerPage;
    const int64_t n_pages = std::min({own.n_pages(), others.n_pages(), n_known});
    for (int64_t i = 0; i < n_pages; ++i) {
      CheckpointPage& page = pages_[static_cast<size_t>(own.first_page + i)];
      const CheckpointPage& same = other.pages_[static_cast<size_t>(others.first_page + i)];
      if (page != same) page = same;
    }
  }
}

}  // namespace dsv4
