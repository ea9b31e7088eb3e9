// What a budget of memory for experts costs in reads from disk: a trace of routing goes through the
// policy of the engine, decision by decision as a model that reads its experts does it.
#pragma once

#include "cache/expert_policy.h"
#include "formats/routing_trace.h"
#include "plan/machine.h"

#include <cstdint>
#include <vector>

namespace dsv4 {

struct ReplayedPass {
  int64_t n_tokens = 0;
  int64_t n_hits = 0;
  int64_t n_misses = 0;
  int64_t n_evicted = 0;
  int64_t n_waits = 0;  // layers that had to read: the misses of a layer are read at once
  int64_t loaded_bytes = 0;
};

struct ExpertReplay {
  ExpertCacheStats stats;  // equal to the engine's after the same passes
  int64_t n_tokens = 0;
  std::vector<ReplayedPass> passes;

  double hit_rate() const { return stats.hit_rate(); }
  double bytes_per_token() const;  // read from disk; 0 without tokens
};

// Replays all passes from an empty cache. budget_bytes >= 0.
ExpertReplay replay_experts(const RoutingTrace& trace, int64_t budget_bytes);

// The passes from number `first` on, with the sums of these alone: what is left when the cache has
// filled. Its resident and peak bytes are those of the whole replay.
ExpertReplay since_pass(const ExpertReplay& replay, int64_t first);

// Seconds that a pass waits for the disk: bytes by its rate, and its latency once for each layer
// that reads. Infinite where something is read and the disk's rate is not known.
double read_seconds(const ReplayedPass& pass, const DiskRates& disk);

// The time that a share `q` of the passes, 0 to 1, does not exceed (nearest rank); 0 without
// passes.
double read_seconds_quantile(const ExpertReplay& replay, const DiskRates& disk, double q);

// How tokens choose when there is no trace: each draws its k distinct experts by itself, the r-th
// most wanted of a layer with a weight of 1 / r^zipf; 0 is uniform. Real routing also stays with
// the same experts for a while, so that this is the pessimistic side.
struct RoutingSkew {
  double zipf = 0;
  int64_t n_passes = 0;
  int64_t tokens_per_pass = 1;
  uint64_t seed = 0;
};
// The same for the same numbers. Which experts are wanted differs from layer to layer. Throws
// Error(kInvalidInput) naming the field for a skew that is negative or no number and counts that
// are not positive or too many to keep.
RoutingTrace synthetic_trace(const RoutingShape& shape, const RoutingSkew& skew);

}  // namespace dsv4
