#include "cache/prefix_cache.h"

#include "base/check.h"

#include <algorithm>
#include <tuple>
#include <vector>

namespace dsv4 {
namespace {

constexpr size_t kMaxEvictedNames = 4096;
// A file is read only where it saves at least so many tokens.
constexpr int64_t kDiskGainTokens = 64;
// States at strides go to disk this far from each other: ends of messages are there anyway.
constexpr int64_t kDiskStrideTokens = 8192;

// At least this part of what is there is freed at once, so that not every state that is stored
// costs a search.
constexpr int64_t kSlackPart = 32;

// How much sooner an entry is given up than the last one of its path that was used as long ago.
uint64_t haste(const PrefixTree::Candidate& candidate) {
  if (candidate.last) return 1;
  return candidate.entry->kind == CheckpointKind::kStride ? 4 : 2;
}

}  // namespace

const char* prefix_miss_name(PrefixMiss miss) {
  switch (miss) {
    case PrefixMiss::kNone:
      return "";
    case PrefixMiss::kNothingStored:
      return "nothing_stored";
    case PrefixMiss::kDiverged:
      return "diverged";
    case PrefixMiss::kSpacing:
      return "spacing";
    case PrefixMiss::kEvicted:
      return "evicted";
    case PrefixMiss::kDiskRefused:
      return "disk_refused";
  }
  return "";
}

PrefixCache::PrefixCache(const StateLayout& layout, std::shared_ptr<PagePool> pool,
                         const PrefixCacheOptions& options, std::unique_ptr<DiskStore> disk)
    : layout_(layout), pool_(std::move(pool)), options_(options), disk_(std::move(disk)) {}

PrefixCache::Found PrefixCache::look_up(std::span<const int32_t> tokens, uint64_t salt) const {
  Found found;
  if (tokens.size() < 2) return found;
  found.match = tree_.match(tokens, salt, static_cast<int64_t>(tokens.size()) - 1);
  found.lookup.n_common = found.match.n_common;
  if (found.match.entry != nullptr) {
    found.lookup.n_tokens = found.match.entry->checkpoint.n_tokens();
  }
  if (disk_ != nullptr) {
    const int64_t n = found.lookup.n_tokens;
    found.on_disk = disk_->find(tokens, salt, n == 0 ? 0 : n + kDiskGainTokens - 1);
    if (found.on_disk) {
      found.lookup.n_tokens = found.on_disk->n_tokens;
      found.lookup.n_from_disk = found.on_disk->n_tokens;
    }
  }
  found.lookup.miss = reason(found, tokens, salt);
  return found;
}

PrefixMiss PrefixCache::reason(const Found& found, std::span<const int32_t> tokens,
                               uint64_t salt) const {
  const int64_t n = found.lookup.n_tokens;
  const int64_t limit = static_cast<int64_t>(tokens.size()) - 1;
  if (n == limit) return PrefixMiss::kNone;
  if (evicted_.longest(layout_, salt, tokens, n, limit)) return PrefixMiss::kEvicted;
  const int64_t n_common = std::min(found.match.n_common, limit);
  if (n == 0 && n_common == 0) return PrefixMiss::kNothingStored;
  if (found.match.diverged && n <= n_common) return PrefixMiss::kDiverged;
  return n < n_common ? PrefixMiss::kSpacing : PrefixMiss::kNone;
}

PrefixLookup PrefixCache::find(std::span<const int32_t> tokens, uint64_t salt) const {
  return look_up(tokens, salt).lookup;
}

PrefixLookup PrefixCache::restore(std::span<const int32_t> tokens, uint64_t salt,
                                  SequenceState& state) {
  state.clear();
  Found found = look_up(tokens, salt);
  bool refused = false;
  // Each file that is refused is forgotten, so that this ends.
  while (found.on_disk && !restore_from_disk(found, tokens, salt, state)) {
    refused = true;
    found = look_up(tokens, salt);
  }
  if (refused) found.lookup.miss = PrefixMiss::kDiskRefused;
  if (!found.on_disk && found.match.entry != nullptr) {
    state.restore(found.match.entry->checkpoint);
    found.match.entry->last_use = ++clock_;
  }
  ++stats_.n_lookups;
  if (found.lookup.n_tokens > 0) ++stats_.n_hits;
  ++stats_.misses[static_cast<size_t>(found.lookup.miss)];
  return found.lookup;
}

bool PrefixCache::restore_from_disk(const Found& found, std::span<const int32_t> tokens,
                                    uint64_t salt, SequenceState& state) {
  const int64_t n = found.on_disk->n_tokens;
  auto loaded = disk_->load(*found.on_disk, tokens, salt);
  if (!loaded) return false;
  if (found.match.nearest != nullptr) {
    loaded->checkpoint.share_pages(found.match.nearest->checkpoint,
                                   std::min(n, found.match.n_common));
  }
  state.restore(loaded->checkpoint);
  stats_.n_tokens_disk += n;
  insert(tokens.first(static_cast<size_t>(n)), salt, std::move(loaded->checkpoint), loaded->kind);
  keep_budget();
  return true;
}

void PrefixCache::store(std::span<const int32_t> tokens, uint64_t salt, const SequenceState& state,
                        CheckpointKind kind) {
  const int64_t n = state.n_tokens();
  CHECK(n <= static_cast<int64_t>(tokens.size()), n, tokens.size());
  if (n == 0) return;
  tokens = tokens.first(static_cast<size_t>(n));
  const PrefixTree::Match match = tree_.match(tokens, salt, n);
  if (PrefixTree::Entry* there = match.entry; there && there->checkpoint.n_tokens() == n) {
    there->last_use = ++clock_;
    if (there->kind >= kind) return;
    there->kind = kind;
    save(tokens, *there);
    return;
  }
  StateCheckpoint checkpoint = state.checkpoint();
  // Where the same tokens were computed twice, one of the copies goes with its sequence.
  if (match.nearest != nullptr) checkpoint.share_pages(match.nearest->checkpoint, match.n_common);
  save(tokens, insert(tokens, salt, std::move(checkpoint), kind));
  keep_budget();
}

const PrefixTree::Entry& PrefixCache::insert(std::span<const int32_t> tokens, uint64_t salt,
                                             StateCheckpoint checkpoint, CheckpointKind kind) {
  const TokenHash hash = hash_tokens(layout_, salt, tokens);
  evicted_.remove(salt, {checkpoint.n_tokens(), hash});
  return tree_.insert(tokens, {std::move(checkpoint), kind, ++clock_, salt, hash});
}

void PrefixCache::save(std::span<const int32_t> tokens, const PrefixTree::Entry& entry) {
  if (disk_ == nullptr) return;
  const bool whole =
      entry.kind != CheckpointKind::kStride || entry.checkpoint.n_tokens() % kDiskStrideTokens == 0;
  disk_->store(tokens, entry.salt, entry.checkpoint, entry.kind,
               whole ? DiskStore::What::kWhole : DiskStore::What::kSegments);
}

void PrefixCache::evict(PrefixTree::Entry& entry) {
  const PrefixSet::Prefix name = {entry.checkpoint.n_tokens(), entry.hash};
  evicted_.add(entry.salt, name);
  evicted_order_.emplace_back(entry.salt, name);
  if (evicted_order_.size() > kMaxEvictedNames) {
    const auto& [salt, oldest] = evicted_order_.front();
    evicted_.remove(salt, oldest);
    evicted_order_.pop_front();
  }
  tree_.erase(entry);
  ++stats_.n_evicted;
}

// Gives up strides that are closer than they need to be, then what was not used for longest.
void PrefixCache::evict_to(int64_t limit_bytes) {
  if (used_bytes() <= limit_bytes) return;
  const int64_t target_bytes = std::min(limit_bytes, used_bytes() - used_bytes() / kSlackPart);
  std::vector<PrefixTree::Candidate> candidates = tree_.candidates(kStrideTokens);
  std::ranges::sort(candidates, {}, [&](const PrefixTree::Candidate& candidate) {
    const uint64_t last_use = candidate.entry->last_use;
    // Rising: the redundant ones by their last use, then the others by falling age.
    return std::tuple(!candidate.redundant, candidate.redundant
                                                ? last_use
                                                : ~(haste(candidate) * (clock_ + 1 - last_use)));
  });
  for (const PrefixTree::Candidate& candidate : candidates) {
    if (used_bytes() <= target_bytes) return;
    evict(*candidate.entry);
  }
}

void PrefixCache::keep_budget() { evict_to(options_.budget_bytes); }

int64_t PrefixCache::release(int64_t bytes) {
  const int64_t before = used_bytes();
  evict_to(std::max<int64_t>(0, before - bytes));
  return before - used_bytes();
}

int64_t PrefixCache::used_bytes() const {
  return tree_.buffer_bytes() + pool_->stats().checkpoint_bytes;
}

PrefixCacheStats PrefixCache::stats() const {
  PrefixCacheStats stats = stats_;
  stats.n_entries = tree_.n_entries();
  stats.used_bytes = used_bytes();
  return stats;
}

void PrefixCache::flush() {
  if (disk_ != nullptr) disk_->flush();
}

}  // namespace dsv4
