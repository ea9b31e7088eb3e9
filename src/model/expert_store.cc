#include "model/expert_store.h"

#include "base/check.h"

#include <algorithm>
#include <unordered_map>
#include <utility>

namespace dsv4 {
namespace {

// Reads that are under way at once: enough for a fast disk, of which one thread sees a fraction.
constexpr int kReaders = 8;

using TensorsByData = std::unordered_map<const std::byte*, const StoredTensor*>;

TensorsByData tensors_by_data(const Checkpoint& checkpoint) {
  TensorsByData tensors;
  for (const StoredTensor& tensor : checkpoint.tensors()) {
    if (!tensor.data.empty()) tensors.emplace(tensor.data.data(), &tensor);
  }
  return tensors;
}

// The tensors that an expert is stored in, by file and offset.
std::vector<const StoredTensor*> tensors_of(const ExpertWeights& w, const TensorsByData& tensors) {
  std::vector<const StoredTensor*> found;
  for (const QuantMatrix* m : {&w.w1, &w.w2, &w.w3}) {
    for (const std::byte* data : {m->data, m->scales, m->zeros}) {
      if (data == nullptr) continue;
      const auto tensor = tensors.find(data);
      CHECK(tensor != tensors.end());  // weights look at whole tensors
      found.push_back(tensor->second);
    }
  }
  std::ranges::sort(found, {}, [](const StoredTensor* t) { return std::pair(t->file, t->offset); });
  return found;
}

int64_t n_bytes(std::span<const StoredTensor* const> tensors) {
  int64_t sum = 0;
  for (const StoredTensor* tensor : tensors) sum += std::ssize(tensor->data);
  return sum;
}

}  // namespace

std::vector<int64_t> expert_bytes_by_layer(const ModelWeights& weights,
                                           const Checkpoint& checkpoint) {
  const TensorsByData tensors = tensors_by_data(checkpoint);
  std::vector<int64_t> bytes;
  for (const BlockWeights& layer : weights.layers) {
    int64_t largest = 0;
    for (const ExpertWeights& expert : layer.moe.experts) {
      largest = std::max(largest, n_bytes(tensors_of(expert, tensors)));
    }
    bytes.push_back(largest);
  }
  return bytes;
}

ExpertStore::ExpertStore(const ModelWeights& weights, const Checkpoint& checkpoint,
                         int64_t budget_bytes)
    : n_experts_(std::ssize(weights.layers.at(0).moe.experts)),
      policy_(budget_bytes, n_experts_, expert_bytes_by_layer(weights, checkpoint)),
      readers_(kReaders) {
  const TensorsByData tensors = tensors_by_data(checkpoint);
  for (const BlockWeights& layer : weights.layers) {
    for (const ExpertWeights& expert : layer.moe.experts) {
      first_range_.push_back(ranges_.size());
      for (const StoredTensor* tensor : tensors_of(expert, tensors)) {
        const MappedFile& file = checkpoint.files()[tensor->file];
        const bool is_new = first_range_.back() == ranges_.size() || ranges_.back().file != &file ||
                            ranges_.back().offset + ranges_.back().size != tensor->offset;
        if (is_new) ranges_.push_back({&file, tensor->offset, 0});
        ranges_.back().size += tensor->data.size();
        total_bytes_ += std::ssize(tensor->data);
      }
    }
  }
  first_range_.push_back(ranges_.size());
  missing_.reserve(ranges_.size());
  evicted_.reserve(ranges_.size());
}

std::span<const ExpertStore::Range> ExpertStore::ranges(int64_t layer, int64_t expert) const {
  const auto i = static_cast<size_t>(layer * n_experts_ + expert);
  return std::span(ranges_).subspan(first_range_[i], first_range_[i + 1] - first_range_[i]);
}

void ExpertStore::require(int64_t layer, std::span<const int32_t> experts) {
  const ExpertPolicy::Decision decision = policy_.access(layer, experts);
  if (decision.missing.empty() && decision.evicted.empty()) return;
  missing_.clear();
  evicted_.clear();
  for (const auto& [l, e] : decision.evicted) {
    for (const Range& range : ranges(l, e)) evicted_.push_back(range);
  }
  for (const int32_t e : decision.missing) {
    for (const Range& range : ranges(layer, e)) missing_.push_back(range);
  }
  error_ = nullptr;
  const Loop loops[] = {{std::ssize(evicted_)}, {std::ssize(missing_)}};  // room before use
  readers_.run_loops(loops, [&](size_t loop, int64_t begin, int64_t end) {
    for (auto i = static_cast<size_t>(begin); i < static_cast<size_t>(end); ++i) {
      if (loop == 1) {
        load(missing_[i]);
      } else {
        evicted_[i].file->release(evicted_[i].offset, evicted_[i].size);
      }
    }
  });
  if (error_ == nullptr) return;
  policy_.drop(layer, decision.missing);
  for (const Range& range : missing_) range.file->release(range.offset, range.size);
  std::rethrow_exception(std::exchange(error_, nullptr));
}

// On a thread that must not throw.
void ExpertStore::load(const Range& range) {
  try {
    range.file->load(range.offset, range.size);
  } catch (...) {
    const std::lock_guard lock(mutex_);
    if (error_ == nullptr) error_ = std::current_exception();
  }
}

}  // namespace dsv4
