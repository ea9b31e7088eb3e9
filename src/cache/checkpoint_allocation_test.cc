// What a checkpoint does where the system has no memory left.
#include "cache/checkpoint.h"

#include "cache/sequence_rows_testing.h"
#include "cache/sequence_state.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <memory>
#include <new>

namespace {
bool has_memory = true;  // for pages
}  // namespace

// Pages are aligned, as little else is.
[[gnu::noinline]] void* operator new(std::size_t n, std::align_val_t alignment) {
  const auto unit = static_cast<std::size_t>(alignment);
  void* memory = has_memory ? std::aligned_alloc(unit, (n + unit - 1) / unit * unit) : nullptr;
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}
[[gnu::noinline]] void operator delete(void* memory, std::align_val_t) noexcept {
  std::free(memory);
}
[[gnu::noinline]] void operator delete(void* memory, std::size_t, std::align_val_t) noexcept {
  std::free(memory);
}

namespace dsv4 {
namespace {

struct NoMemory {
  NoMemory() { has_memory = false; }
  ~NoMemory() { has_memory = true; }
};

TEST(StateCheckpoint, a_refused_restore_leaves_an_empty_state) {
  const StateLayout layout = small_layout(0);
  const auto pool = std::make_shared<PagePool>();
  TestSequence sequence(layout, 1);
  sequence.replace_state(SequenceState(layout, pool));
  sequence.feed(500);
  const StateCheckpoint kept = sequence.state().checkpoint();
  SequenceState state(layout, pool);
  {
    const NoMemory no_memory;
    EXPECT_THROW(state.restore(kept), std::bad_alloc);  // for the entries behind full pages
  }
  EXPECT_EQ(state.n_tokens(), 0);
  EXPECT_EQ(state.allocated_bytes(), state_bytes(layout, 0).total());
  state.restore(kept);
  EXPECT_EQ(state.n_tokens(), 500);
}

}  // namespace
}  // namespace dsv4
