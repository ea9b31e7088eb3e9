// Memory of entries: pages of kEntriesPerPage rows with counts of who holds them. A page that is
// given back is kept for the next who wants one of its size, so that a warm step allocates nothing.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace dsv4 {

// Who holds a page: sequences that go on, or states that are only kept.
enum class PageHolder : size_t { kSequence = 0, kCheckpoint = 1 };

// Payload only; each page has 64 bytes more.
struct PagePoolStats {
  int64_t n_live = 0;            // pages that somebody holds
  int64_t live_bytes = 0;        // their bytes, a page of many holders counted once
  int64_t checkpoint_bytes = 0;  // of live_bytes: what no sequence holds
  int64_t free_bytes = 0;        // kept for reuse
};

class PagePool;

namespace internal {

// In front of the rows of a page, of which it keeps the alignment.
struct alignas(64) Page {
  PagePool* pool = nullptr;
  Page* next_free = nullptr;
  int64_t n_bytes = 0;
  std::array<uint32_t, 2> n_holders = {};  // by PageHolder

  std::byte* data() { return reinterpret_cast<std::byte*>(this + 1); }
};

}  // namespace internal

// One hold on a page, given back when it is destroyed. Used by the thread that owns the pool.
template <PageHolder kHolder>
class PageRef {
 public:
  PageRef() = default;
  PageRef(const PageRef& other) : PageRef(other.page_) {}
  PageRef(PageRef&& other) noexcept : page_(std::exchange(other.page_, nullptr)) {}
  // Another kind of hold on the same page.
  template <PageHolder kOther>
  explicit PageRef(const PageRef<kOther>& other) : PageRef(other.page_) {}
  PageRef& operator=(PageRef other) noexcept {
    std::swap(page_, other.page_);
    return *this;
  }
  ~PageRef();

  std::byte* data() const { return page_->data(); }
  int64_t bytes() const { return page_->n_bytes; }
  // Whether somebody else holds the page too, so that nobody may write to it.
  bool is_shared() const { return page_->n_holders[0] + page_->n_holders[1] > 1; }
  bool operator==(const PageRef& other) const = default;

 private:
  friend class PagePool;
  template <PageHolder kOther>
  friend class PageRef;
  explicit PageRef(internal::Page* page);

  internal::Page* page_ = nullptr;
};

using SequencePage = PageRef<PageHolder::kSequence>;
using CheckpointPage = PageRef<PageHolder::kCheckpoint>;

// Owned and used by one thread at a time, but for stats(). Outlives the pages.
class PagePool {
 public:
  PagePool() = default;
  ~PagePool();
  PagePool(const PagePool&) = delete;
  PagePool& operator=(const PagePool&) = delete;

  // A page of `n_bytes` that is not initialised. Throws std::bad_alloc where the system has none.
  template <PageHolder kHolder>
  PageRef<kHolder> acquire(int64_t n_bytes) {
    return PageRef<kHolder>(take(n_bytes));
  }

  // Gives free pages back to the system until at most `keep_bytes` are kept.
  void trim(int64_t keep_bytes = 0);

  // From any thread; the numbers are those of about one moment.
  PagePoolStats stats() const;

 private:
  template <PageHolder kHolder>
  friend class PageRef;

  struct FreeList {
    int64_t n_bytes = 0;
    internal::Page* first = nullptr;
  };

  static void hold(internal::Page* page, PageHolder holder);
  static void let_go(internal::Page* page, PageHolder holder) noexcept;
  internal::Page* take(int64_t n_bytes);
  FreeList& free_list(int64_t n_bytes);
  void free_first(FreeList& list);

  std::vector<FreeList> free_lists_;  // one for each size that was ever asked for
  std::atomic<int64_t> n_live_ = 0;
  std::atomic<int64_t> live_bytes_ = 0;
  std::atomic<int64_t> checkpoint_bytes_ = 0;
  std::atomic<int64_t> free_bytes_ = 0;
};

template <PageHolder kHolder>
PageRef<kHolder>::PageRef(internal::Page* page) : page_(page) {
  if (page_ != nullptr) PagePool::hold(page_, kHolder);
}

template <PageHolder kHolder>
PageRef<kHolder>::~PageRef() {
  if (page_ != nullptr) PagePool::let_go(page_, kHolder);
}

}  // namespace dsv4
