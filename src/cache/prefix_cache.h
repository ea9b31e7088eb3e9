// States of sequences kept for the requests to come (architecture.md, section on the cache): by
// salt and tokens, in memory within a budget and, where there is a DiskStore, on disk.
#pragma once

#include "cache/checkpoint.h"
#include "cache/disk_store.h"
#include "cache/layout.h"
#include "cache/page_pool.h"
#include "cache/prefix_set.h"
#include "cache/prefix_tree.h"
#include "cache/sequence_state.h"
#include "cache/token_hash.h"

#include <array>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <utility>

namespace dsv4 {

// Why the longest prefix that a request could have reused was not there. Of other salts nothing is
// seen.
enum class PrefixMiss : uint32_t {
  kNone,           // all that is known of the prompt was reused
  kNothingStored,  // no prefix of the prompt is known
  kDiverged,       // what is known goes on with another token at n_common
  kSpacing,        // the known prefix ends between two states that are kept
  kEvicted,        // a longer state was given up for the memory budget
  kDiskRefused,    // a longer state's file was damaged or gone
};
inline constexpr size_t kPrefixMissKinds = 6;

// "", "nothing_stored", "diverged", "spacing", "evicted", "disk_refused"
const char* prefix_miss_name(PrefixMiss miss);

struct PrefixLookup {
  int64_t n_tokens = 0;     // of the prompt, that need not be computed
  int64_t n_from_disk = 0;  // of n_tokens: from files
  int64_t n_common = 0;     // first tokens that what is known in memory has too
  PrefixMiss miss = PrefixMiss::kNone;
};

struct PrefixCacheOptions {
  int64_t budget_bytes = int64_t{1} << 30;  // buffers of checkpoints, pages that they alone hold
};

struct PrefixCacheStats {
  int64_t n_entries = 0;
  int64_t used_bytes = 0;                             // of the budget
  int64_t n_lookups = 0;                              // calls of restore()
  int64_t n_hits = 0;                                 // of these: with at least one token
  int64_t n_evicted = 0;                              // for the budget or release()
  int64_t n_tokens_disk = 0;                          // reused from files, ever
  std::array<int64_t, kPrefixMissKinds> misses = {};  // lookups by reason
};

// Used by the step thread only.
class PrefixCache {
 public:
  // The engine stores a state at each multiple of so many tokens while it computes a prompt.
  static constexpr int64_t kStrideTokens = 512;

  // `pool` is that of the sequences, whose layout is `layout`. `disk` may be null.
  PrefixCache(const StateLayout& layout, std::shared_ptr<PagePool> pool,
              const PrefixCacheOptions& options, std::unique_ptr<DiskStore> disk = nullptr);

  // What restore() would find, without a look into files.
  PrefixLookup find(std::span<const int32_t> tokens, uint64_t salt) const;

  // Brings `state` to the longest prefix that is kept, of at most tokens.size() - 1 tokens: the
  // last one is always computed. Clears it where there is none. Throws as PagePool::acquire does,
  // and leaves `state` cleared then.
  PrefixLookup restore(std::span<const int32_t> tokens, uint64_t salt, SequenceState& state);

  // Keeps the present state. `tokens` begins with those of the state. Costs a copy of its rings;
  // nothing where the state is kept already. Other states are evicted for the budget.
  void store(std::span<const int32_t> tokens, uint64_t salt, const SequenceState& state,
             CheckpointKind kind);

  // Evicts until at least `bytes` are freed or nothing is left; returns how many were, which is
  // more where that saves the next calls. Freed pages go to the pool.
  int64_t release(int64_t bytes);
  // Evicts until the budget is kept, as store() does. To be called when sequences have ended: what
  // they alone held besides the cache counts from then on.
  void keep_budget();

  // Bytes of the budget in use. Checkpoints that others took from the same pool count too.
  int64_t used_bytes() const;
  PrefixCacheStats stats() const;
  const DiskStore* disk() const { return disk_.get(); }
  // Waits until all is on disk.
  void flush();

 private:
  struct Found {
    PrefixLookup lookup;
    PrefixTree::Match match;                   // in memory
    std::optional<PrefixSet::Prefix> on_disk;  // where that is longer
  };

  Found look_up(std::span<const int32_t> tokens, uint64_t salt) const;
  PrefixMiss reason(const Found& found, std::span<const int32_t> tokens, uint64_t salt) const;
  bool restore_from_disk(const Found& found, std::span<const int32_t> tokens, uint64_t salt,
                         SequenceState& state);
  const PrefixTree::Entry& insert(std::span<const int32_t> tokens, uint64_t salt,
                                  StateCheckpoint checkpoint, CheckpointKind kind);
  void save(std::span<const int32_t> tokens, const PrefixTree::Entry& entry);
  void evict(PrefixTree::Entry& entry);
  void evict_to(int64_t limit_bytes);

  StateLayout layout_;
  std::shared_ptr<PagePool> pool_;  // before tree_, whose pages it outlives
  PrefixCacheOptions options_;
  std::unique_ptr<DiskStore> disk_;
  PrefixTree tree_;
  PrefixSet evicted_;  // the last so many, in this order:
  std::deque<std::pair<uint64_t, PrefixSet::Prefix>> evicted_order_;
  uint64_t clock_ = 0;  // counts uses, for their order
  PrefixCacheStats stats_;
};

}  // namespace dsv4
