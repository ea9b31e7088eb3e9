#include "tensor/memory.h"

#include <sys/mman.h>

#include <cstdint>
#include <new>

namespace dsv4 {
namespace {

constexpr std::align_val_t kAlignment{64};
constexpr size_t kHugePage = size_t{2} << 20;

void* map_memory(size_t n_bytes) {
  // One huge page more than needed, of which what lies before the first border and behind the end
  // is given back.
  const size_t mapped = n_bytes + kHugePage;
  void* memory =
      ::mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  auto* begin = static_cast<std::byte*>(memory);
  const size_t before = (kHugePage - reinterpret_cast<uintptr_t>(begin) % kHugePage) % kHugePage;
  if (before > 0) ::munmap(begin, before);
  begin += before;
  constexpr size_t kPage = 4096;
  const size_t used = (n_bytes + kPage - 1) / kPage * kPage;
  if (mapped > before + used) ::munmap(begin + used, mapped - before - used);
#if defined(MADV_HUGEPAGE)
  ::madvise(begin, used, MADV_HUGEPAGE);  // advice: without huge pages it is only slower
#endif
  return begin;
}

}  // namespace

void* allocate_memory(size_t n_bytes) {
  return n_bytes < kMappedBytes ? ::operator new(n_bytes, kAlignment) : map_memory(n_bytes);
}

void free_memory(void* memory, size_t n_bytes) noexcept {
  if (memory == nullptr) return;
  if (n_bytes < kMappedBytes) {
    ::operator delete(memory, kAlignment);
  } else {
    ::munmap(memory, n_bytes);
  }
}

}  // namespace dsv4
