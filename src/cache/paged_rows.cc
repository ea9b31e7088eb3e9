#include "cache/paged_rows.h"

namespace dsv4 {

PagedRows::PagedRows(PagePool& pool, int64_t row_bytes, int64_t n_expected_rows)
    : pool_(&pool), row_bytes_(row_bytes) {
  pages_.reserve(static_cast<size_t>((n_expected_rows + kEntriesPerPage - 1) / kEntriesPerPage));
}

void PagedRows::reserve(int64_t begin, int64_t end) {
  const auto n_pages = static_cast<size_t>((end + kEntriesPerPage - 1) / kEntriesPerPage);
  for (auto i = static_cast<size_t>(begin / kEntriesPerPage); i < std::min(n_pages, pages_.size());
       ++i) {
    if (!pages_[i].is_shared()) continue;
    SequencePage copy = pool_->acquire<PageHolder::kSequence>(page_bytes());
    const auto first = static_cast<int64_t>(i) * kEntriesPerPage;
    // Rows from `begin` on are going to be written.
    const int64_t n_kept = std::clamp<int64_t>(begin - first, 0, kEntriesPerPage);
    std::copy_n(pages_[i].data(), n_kept * row_bytes_, copy.data());
    pages_[i] = std::move(copy);
  }
  while (pages_.size() < n_pages) {
    pages_.push_back(pool_->acquire<PageHolder::kSequence>(page_bytes()));
  }
}

void PagedRows::share(std::span<const CheckpointPage> pages) {
  pages_.clear();
  for (const CheckpointPage& page : pages) pages_.emplace_back(page);
}

}  // namespace dsv4
