// Which experts of a model stay in memory when not all of them fit: decisions only, no bytes are
// moved. The model asks it before it reads weights (model/expert_store.h), the planner when it
// replays a trace (plan/expert_replay.h), and both get the same answers.
//
// An expert's score is the number of passes that have used it, those of h passes ago counted half,
// of 2 h passes ago a quarter and so on, whether it was resident or not. What is evicted is the
// resident expert of the lowest score; of equal ones that of the lowest layer, which a forward pass
// has left behind, then that of the lowest number. The experts of the present call are never
// evicted by it: where they do not fit together the budget is exceeded until the next call.
#pragma once

#include <compare>
#include <cstdint>
#include <span>
#include <vector>

namespace dsv4 {

struct ExpertId {
  int32_t layer = 0;
  int32_t expert = 0;

  auto operator<=>(const ExpertId&) const = default;
};

// Totals since the start unless said otherwise.
struct ExpertCacheStats {
  int64_t n_hits = 0;
  int64_t n_misses = 0;
  int64_t n_evicted = 0;
  int64_t loaded_bytes = 0;    // of all misses
  int64_t resident_bytes = 0;  // now
  int64_t peak_bytes = 0;      // the most that were resident at once

  // Of all that were asked for; 0 where none were.
  double hit_rate() const {
    const int64_t n = n_hits + n_misses;
    return n > 0 ? static_cast<double>(n_hits) / static_cast<double>(n) : 0;
  }

  bool operator==(const ExpertCacheStats&) const = default;
};

// Deterministic: the same calls give the same answers on every machine. Used by one thread.
class ExpertPolicy {
 public:
  // h in the rule above: passes after which a use counts half.
  static constexpr double kHalfLifePasses = 64;

  // `expert_bytes` has the size of an expert of each layer. None are resident at the start.
  ExpertPolicy(int64_t budget_bytes, int64_t n_experts, std::vector<int64_t> expert_bytes,
               double half_life_passes = kHalfLifePasses);

  // Both valid until the next call.
  struct Decision {
    std::span<const int32_t> missing;   // of those asked for, to be loaded; in their order
    std::span<const ExpertId> evicted;  // to be given back before
  };
  // The experts of one layer that a forward pass runs next, ascending and distinct. Layers come in
  // rising order within a pass; one that does not rise begins the next pass. O(log n) an expert,
  // without allocation.
  Decision access(int64_t layer, std::span<const int32_t> experts);

  // Experts that could not be loaded after all: they are not resident.
  void drop(int64_t layer, std::span<const int32_t> experts);

  int64_t budget_bytes() const { return budget_bytes_; }
  const ExpertCacheStats& stats() const { return stats_; }

 private:
  size_t index(int64_t layer, int64_t expert) const {
    return static_cast<size_t>(layer * n_experts_ + expert);
  }
  int64_t bytes_of(int32_t id) const { return expert_bytes_[static_cast<size_t>(id / n_experts_)]; }
  void count_pass();
  void evict_for(int64_t n_bytes);

  // A heap of the resident experts, the next to evict on top.
  bool goes_before(int32_t a, int32_t b) const;
  void push(int32_t id);
  void remove(size_t at);
  void sift_up(size_t at);
  void sift_down(size_t at);
  void place(size_t at, int32_t id);

  int64_t budget_bytes_;
  int64_t n_experts_;
  std::vector<int64_t> expert_bytes_;  // by layer
  double growth_;                      // of use_ from pass to pass
  double use_ = 1;                     // what a use in this pass adds to a score
  int64_t last_layer_ = -1;

  std::vector<double> score_;      // by index(); all are in units that shrink as use_ grows
  std::vector<bool> resident_;     // by index()
  std::vector<int32_t> position_;  // in heap_, by index(); of those in it
  std::vector<int32_t> heap_;
  std::vector<int32_t> missing_;
  std::vector<ExpertId> evicted_;
  ExpertCacheStats stats_;
};

}  // namespace dsv4
