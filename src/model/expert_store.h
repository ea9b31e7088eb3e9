// Keeps the weights of routed experts within a budget of memory: loads those that a step runs,
// gives back those that the policy gives up. They stay where they are in the mapped files, so
// results do not depend on it.
#pragma once

#include "base/thread_pool.h"
#include "cache/expert_policy.h"
#include "formats/checkpoint.h"
#include "model/weights.h"

#include <cstdint>
#include <exception>
#include <mutex>
#include <span>
#include <vector>

namespace dsv4 {

// Bytes of the largest expert of each main layer, as stored, with its scales.
std::vector<int64_t> expert_bytes_by_layer(const ModelWeights& weights,
                                           const Checkpoint& checkpoint);

// Of the main layers; the experts of an MTP block are left to the system. A page that an expert
// shares with its neighbours in the file is not given back: up to two a range of bytes, of which an
// expert has one where its tensors lie together, three or more where they are stacked. Used by the
// thread that runs the model; reads with threads of its own, which wait for the disk, not for
// cores.
class ExpertStore {
 public:
  // `weights` look into `checkpoint`, which must outlive this.
  ExpertStore(const ModelWeights& weights, const Checkpoint& checkpoint, int64_t budget_bytes);

  // Makes the experts of a layer resident, ascending and distinct, before they run. Throws
  // Error(kIo) naming file and byte where one cannot be read; none that this call had to load is
  // resident then.
  void require(int64_t layer, std::span<const int32_t> experts);

  const ExpertCacheStats& stats() const { return policy_.stats(); }
  int64_t budget_bytes() const { return policy_.budget_bytes(); }
  // Of all experts.
  int64_t total_bytes() const { return total_bytes_; }

  // Bytes of a file that belong to one expert, next to each other.
  struct Range {
    const MappedFile* file = nullptr;
    uint64_t offset = 0;
    uint64_t size = 0;
  };
  std::span<const Range> ranges(int64_t layer, int64_t expert) const;

 private:
  void load(const Range& range);

  int64_t n_experts_;
  int64_t total_bytes_ = 0;
  std::vector<Range> ranges_;
  std::vector<size_t> first_range_;  // by layer, then expert, and the end
  ExpertPolicy policy_;
  ThreadPool readers_;
  std::vector<Range> evicted_;  // of the present call
  std::vector<Range> missing_;
  std::mutex mutex_;
  std::exception_ptr error_;  // the first of the present call
};

}  // namespace dsv4
