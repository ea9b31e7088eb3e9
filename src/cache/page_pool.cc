#include "cache/page_pool.h"

#include "base/check.h"
#include "tensor/memory.h"

#include <memory>

namespace dsv4 {
namespace {

using internal::Page;

size_t allocation_bytes(int64_t n_bytes) { return sizeof(Page) + static_cast<size_t>(n_bytes); }

// One thread writes the counters, so that no read-modify-write is needed.
void add(std::atomic<int64_t>& counter, int64_t amount) {
  counter.store(counter.load(std::memory_order_relaxed) + amount, std::memory_order_relaxed);
}

}  // namespace

PagePool::~PagePool() {
  CHECK(n_live_.load() == 0, n_live_.load());
  trim();
}

void PagePool::hold(Page* page, PageHolder holder) {
  auto& [n_sequences, n_checkpoints] = page->n_holders;
  PagePool& pool = *page->pool;
  if (n_sequences + n_checkpoints == 0) {
    add(pool.n_live_, 1);
    add(pool.live_bytes_, page->n_bytes);
    if (holder == PageHolder::kCheckpoint) add(pool.checkpoint_bytes_, page->n_bytes);
  } else if (holder == PageHolder::kSequence && n_sequences == 0) {
    add(pool.checkpoint_bytes_, -page->n_bytes);
  }
  ++page->n_holders[static_cast<size_t>(holder)];
}

void PagePool::let_go(Page* page, PageHolder holder) noexcept {
  auto& [n_sequences, n_checkpoints] = page->n_holders;
  PagePool& pool = *page->pool;
  --page->n_holders[static_cast<size_t>(holder)];
  if (n_sequences + n_checkpoints == 0) {
    add(pool.n_live_, -1);
    add(pool.live_bytes_, -page->n_bytes);
    if (holder == PageHolder::kCheckpoint) add(pool.checkpoint_bytes_, -page->n_bytes);
    FreeList& list = pool.free_list(page->n_bytes);
    page->next_free = list.first;
    list.first = page;
    add(pool.free_bytes_, page->n_bytes);
  } else if (holder == PageHolder::kSequence && n_sequences == 0) {
    add(pool.checkpoint_bytes_, page->n_bytes);
  }
}

Page* PagePool::take(int64_t n_bytes) {
  FreeList& list = free_list(n_bytes);
  if (list.first != nullptr) {
    Page* page = std::exchange(list.first, list.first->next_free);
    add(free_bytes_, -n_bytes);
    return page;
  }
  auto* page = std::construct_at(static_cast<Page*>(allocate_memory(allocation_bytes(n_bytes))));
  page->pool = this;
  page->n_bytes = n_bytes;
  return page;
}

PagePool::FreeList& PagePool::free_list(int64_t n_bytes) {
  for (FreeList& list : free_lists_) {
    if (list.n_bytes == n_bytes) return list;
  }
  return free_lists_.emplace_back(FreeList{n_bytes, nullptr});
}

void PagePool::trim(int64_t keep_bytes) {
  for (FreeList& list : free_lists_) {
    while (list.first != nullptr && free_bytes_.load(std::memory_order_relaxed) > keep_bytes) {
      free_first(list);
    }
  }
}

void PagePool::free_first(FreeList& list) {
  Page* page = std::exchange(list.first, list.first->next_free);
  add(free_bytes_, -page->n_bytes);
  const size_t n_bytes = allocation_bytes(page->n_bytes);
  std::destroy_at(page);
  free_memory(page, n_bytes);
}

PagePoolStats PagePool::stats() const {
  PagePoolStats stats;
  stats.n_live = n_live_.load(std::memory_order_relaxed);
  stats.live_bytes = live_bytes_.load(std::memory_order_relaxed);
  stats.checkpoint_bytes = checkpoint_bytes_.load(std::memory_order_relaxed);
  stats.free_bytes = free_bytes_.load(std::memory_order_relaxed);
  return stats;
}

}  // namespace dsv4
