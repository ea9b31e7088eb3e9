// A growing table of entries in pages, which other states of the same history may share.
#pragma once

#include "base/check.h"
#include "cache/layout.h"
#include "cache/page_pool.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace dsv4 {

// A row stays where it is until reserve() copies its page, because it is to be written and somebody
// else holds it. The pool outlives the table.
class PagedRows {
 public:
  // `n_expected_rows` is only a hint: up to there growing the table allocates pages alone.
  PagedRows(PagePool& pool, int64_t row_bytes, int64_t n_expected_rows = 0);

  int64_t width() const { return row_bytes_; }
  int64_t page_bytes() const { return row_bytes_ * kEntriesPerPage; }
  int64_t bytes() const { return static_cast<int64_t>(pages_.size()) * page_bytes(); }
  const std::byte* row(int64_t i) const { return page_of(i).data() + offset(i); }
  // A row that reserve() has made writable.
  std::byte* writable_row(int64_t i) {
    const SequencePage& page = page_of(i);
    DCHECK(!page.is_shared(), i);
    return page.data() + offset(i);
  }

  // Makes room for rows [0, end), of which [begin, end) can be written. Those before stay as they
  // are. Throws as PagePool::acquire does; the table then has the room that it got.
  void reserve(int64_t begin, int64_t end);
  void clear() { pages_.clear(); }

  // The pages of rows [0, n_pages * kEntriesPerPage).
  std::span<const SequencePage> pages(int64_t n_pages) const {
    return std::span(pages_).first(static_cast<size_t>(n_pages));
  }
  // Holds these pages in place of its own.
  void share(std::span<const CheckpointPage> pages);

 private:
  const SequencePage& page_of(int64_t i) const {
    return pages_[static_cast<size_t>(i / kEntriesPerPage)];
  }
  int64_t offset(int64_t i) const { return i % kEntriesPerPage * row_bytes_; }

  PagePool* pool_;
  int64_t row_bytes_;
  std::vector<SequencePage> pages_;
};

}  // namespace dsv4
