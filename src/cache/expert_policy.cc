#include "cache/expert_policy.h"

#include "base/check.h"

#include <algorithm>
#include <numbers>

namespace dsv4 {
namespace {

// Scores are scaled down before they leave the range of a double.
constexpr double kMaxUse = 0x1p500;
constexpr double kScaleDown = 0x1p-500;

}  // namespace

// Old uses are not made smaller, new ones count more, by a factor of two in h passes: e^(ln 2 / h),
// by products and sums alone, which are the same on every machine.
ExpertPolicy::ExpertPolicy(int64_t budget_bytes, int64_t n_experts,
                           std::vector<int64_t> expert_bytes, double half_life_passes)
    : budget_bytes_(budget_bytes),
      n_experts_(n_experts),
      expert_bytes_(std::move(expert_bytes)),
      growth_(1 + std::numbers::ln2 / half_life_passes) {
  CHECK(budget_bytes >= 0 && n_experts > 0 && half_life_passes > 0);
  const size_t n = expert_bytes_.size() * static_cast<size_t>(n_experts);
  score_.resize(n);
  resident_.resize(n);
  position_.resize(n);
  heap_.reserve(n);
  missing_.reserve(static_cast<size_t>(n_experts));
  evicted_.reserve(n);
}

ExpertPolicy::Decision ExpertPolicy::access(int64_t layer, std::span<const int32_t> experts) {
  CHECK(layer >= 0 && layer < std::ssize(expert_bytes_), layer);
  if (layer <= last_layer_) count_pass();
  last_layer_ = layer;
  missing_.clear();
  evicted_.clear();
  for (const int32_t expert : experts) {
    const size_t id = index(layer, expert);
    score_[id] += use_;
    if (resident_[id]) {
      remove(static_cast<size_t>(position_[id]));  // out of reach of evict_for()
    } else {
      missing_.push_back(expert);
      resident_[id] = true;
    }
  }
  const int64_t n_bytes = std::ssize(missing_) * expert_bytes_[static_cast<size_t>(layer)];
  evict_for(n_bytes);
  for (const int32_t expert : experts) push(static_cast<int32_t>(index(layer, expert)));
  stats_.n_misses += std::ssize(missing_);
  stats_.n_hits += std::ssize(experts) - std::ssize(missing_);
  stats_.loaded_bytes += n_bytes;
  stats_.resident_bytes += n_bytes;
  stats_.peak_bytes = std::max(stats_.peak_bytes, stats_.resident_bytes);
  return {missing_, evicted_};
}

void ExpertPolicy::drop(int64_t layer, std::span<const int32_t> experts) {
  for (const int32_t expert : experts) {
    const size_t id = index(layer, expert);
    if (!resident_[id]) continue;
    remove(static_cast<size_t>(position_[id]));
    resident_[id] = false;
    stats_.resident_bytes -= expert_bytes_[static_cast<size_t>(layer)];
  }
}

void ExpertPolicy::count_pass() {
  use_ *= growth_;
  if (use_ < kMaxUse) return;
  use_ *= kScaleDown;
  for (double& score : score_) score *= kScaleDown;
  for (size_t i = heap_.size(); i-- > 0;) sift_down(i);  // old scores may have become equal
}

void ExpertPolicy::evict_for(int64_t n_bytes) {
  while (!heap_.empty() && stats_.resident_bytes + n_bytes > budget_bytes_) {
    const int32_t id = heap_[0];
    remove(0);
    resident_[static_cast<size_t>(id)] = false;
    evicted_.push_back(
        {static_cast<int32_t>(id / n_experts_), static_cast<int32_t>(id % n_experts_)});
    stats_.resident_bytes -= bytes_of(id);
    ++stats_.n_evicted;
  }
}

bool ExpertPolicy::goes_before(int32_t a, int32_t b) const {
  const double score_a = score_[static_cast<size_t>(a)];
  const double score_b = score_[static_cast<size_t>(b)];
  return score_a != score_b ? score_a < score_b : a < b;
}

void ExpertPolicy::place(size_t at, int32_t id) {
  heap_[at] = id;
  position_[static_cast<size_t>(id)] = static_cast<int32_t>(at);
}

void ExpertPolicy::push(int32_t id) {
  heap_.push_back(id);
  sift_up(heap_.size() - 1);
}

void ExpertPolicy::remove(size_t at) {
  const int32_t last = heap_.back();
  heap_.pop_back();
  if (at == heap_.size()) return;
  place(at, last);
  sift_up(at);
  sift_down(static_cast<size_t>(position_[static_cast<size_t>(last)]));
}

void ExpertPolicy::sift_up(size_t at) {
  const int32_t id = heap_[at];
  while (at > 0 && goes_before(id, heap_[(at - 1) / 2])) {
    place(at, heap_[(at - 1) / 2]);
    at = (at - 1) / 2;
  }
  place(at, id);
}

void ExpertPolicy::sift_down(size_t at) {
  const int32_t id = heap_[at];
  for (size_t child = 2 * at + 1; child < heap_.size(); child = 2 * at + 1) {
    if (child + 1 < heap_.size() && goes_before(heap_[child + 1], heap_[child])) ++child;
    if (!goes_before(heap_[child], id)) break;
    place(at, heap_[child]);
    at = child;
  }
  place(at, id);
}

}  // namespace dsv4
