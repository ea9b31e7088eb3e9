// Memory of tensors. Only here memory is allocated by hand.
#pragma once

#include <cstddef>

namespace dsv4 {

// Smaller blocks come from the heap.
inline constexpr size_t kMappedBytes = size_t{8} << 20;

// Aligned for vector instructions and not initialised. Blocks of kMappedBytes or more are mapped
// as zero pages that nobody has touched, for the system to make huge ones of them where it can: a
// page lies at the node of the thread that first writes it, and none is resident before. Throws
// std::bad_alloc.
void* allocate_memory(size_t n_bytes);
// With the size that it was allocated with; null is none.
void free_memory(void* memory, size_t n_bytes) noexcept;

}  // namespace dsv4
