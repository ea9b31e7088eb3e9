#include "cache/layout.h"

#include "base/rng.h"
#include "cache/sequence_state.h"

#include <gtest/gtest.h>

namespace dsv4 {
namespace {

LayerLayout layer(int64_t ratio, int64_t window, int64_t head_dim, int64_t rope_dim,
                  int64_t index_head_dim, KvStorage storage) {
  return {ratio, window, entry_format(storage, head_dim, rope_dim),
          index_key_format(storage, index_head_dim)};
}

// Layers of the released Flash: W 128, c 512 of which 64 are rotary, ci 128.
TEST(Layout, counts_the_layers_of_flash) {
  constexpr int64_t kContext = 1 << 20;
  struct Expected {
    KvStorage storage;
    int64_t entry, index_entry;
  };
  for (const auto& [storage, entry, index_entry] :
       {Expected{KvStorage::kF32, 512 * 4, 128 * 4}, Expected{KvStorage::kBf16, 512 * 2, 128 * 2},
        Expected{KvStorage::kNative, 448 + 7 + 64 * 2, 64 + 4}}) {
    SCOPED_TRACE(kv_storage_name(storage));
    const StateBytes swa = state_bytes(layer(0, 128, 512, 64, 128, storage), 0, kContext);
    EXPECT_EQ(swa.window, 128 * entry);
    EXPECT_EQ(swa.total(), swa.window);
    const StateBytes csa = state_bytes(layer(4, 128, 512, 64, 128, storage), 0, kContext);
    EXPECT_EQ(csa.window, 128 * entry);
    EXPECT_EQ(csa.compressed, kContext / 4 * entry);
    EXPECT_EQ(csa.index, kContext / 4 * index_entry);
    // Two blocks of 4 tokens; values and scores of both halves, of entries and of index entries, in
    // float32 always.
    EXPECT_EQ(csa.tails, 8 * 2 * (2 * 512 + 2 * 128) * 4);
    EXPECT_EQ(csa.total(), csa.window + csa.compressed + csa.index + csa.tails);
    const StateBytes hca = state_bytes(layer(128, 128, 512, 64, 128, storage), 0, kContext);
    EXPECT_EQ(hca.compressed, kContext / 128 * entry);
    EXPECT_EQ(hca.index, 0);
    EXPECT_EQ(hca.tails, 128 * 2 * 512 * 4);
  }
}

TEST(Layout, rollback_lengthens_the_rings_only) {
  const LayerLayout csa = layer(4, 128, 512, 64, 128, KvStorage::kNative);
  const StateBytes none = state_bytes(csa, 0, 1000);
  const StateBytes some = state_bytes(csa, 7, 1000);
  EXPECT_EQ(some.window - none.window, 7 * 583);
  EXPECT_EQ(some.tails - none.tails, 7 * 2 * (2 * 512 + 2 * 128) * 4);
  EXPECT_EQ(some.compressed, none.compressed);
  EXPECT_EQ(some.index, none.index);
}

TEST(Layout, pages_hold_whole_entries) {
  const LayerLayout hca = layer(16, 1, 8, 8, 8, KvStorage::kF32);
  EXPECT_EQ(state_bytes(hca, 0, 15).compressed, 0);
  EXPECT_EQ(state_bytes(hca, 0, 16).compressed, kEntriesPerPage * 8 * 4);
  EXPECT_EQ(state_bytes(hca, 0, 16 * kEntriesPerPage).compressed, kEntriesPerPage * 8 * 4);
  EXPECT_EQ(state_bytes(hca, 0, 16 * kEntriesPerPage + 16).compressed, 2 * kEntriesPerPage * 8 * 4);
}

StateLayout random_layout(uint64_t seed) {
  uint64_t n_draws = 0;
  const auto draw = [&](int64_t low, int64_t high) {
    const double unit = random_uniform(seed, 1, n_draws++);
    return low + static_cast<int64_t>(unit * static_cast<double>(high - low + 1));
  };
  StateLayout layout;
  layout.max_tokens = 2000;
  layout.rollback_tokens = draw(0, 20);
  layout.storage = static_cast<KvStorage>(draw(0, 2));
  const int64_t n_layers = draw(1, 4);
  for (int64_t i = 0; i < n_layers; ++i) {
    constexpr int64_t kRatios[] = {0, 1, 4, 12, 128};
    const int64_t head_dim = draw(1, 150);
    layout.layers.push_back(layer(kRatios[draw(0, 4)], draw(1, 40), head_dim, draw(0, head_dim),
                                  draw(1, 70), layout.storage));
  }
  return layout;
}

TEST(Layout, state_bytes_is_what_a_sequence_allocates) {
  for (uint64_t seed = 1; seed <= 100; ++seed) {
    const StateLayout layout = random_layout(seed);
    SequenceState state(layout);
    EXPECT_EQ(state.allocated_bytes(), state_bytes(layout, 0).total()) << "seed " << seed;
    for (const int64_t n : {1, 63, 64, 256, 257, 1023, 2000}) {
      state.reserve(n);
      EXPECT_EQ(state.allocated_bytes(), state_bytes(layout, n).total())
          << "seed " << seed << ", " << n << " tokens";
    }
    state.reserve(5);  // never gives memory back
    EXPECT_EQ(state.allocated_bytes(), state_bytes(layout, 2000).total()) << "seed " << seed;
  }
}

}  // namespace
}  // namespace dsv4
