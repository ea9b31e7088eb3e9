#include "model/compressor.h"

#include <algorithm>
#include <string_view>
#include <vector>

namespace dsv4 {
namespace {

// One compressor of one layer over one batch.
class Compression {
 public:
  Compression(Step& step, const CompressorWeights& w, CompressorRole role)
      : step_(step),
        w_(w),
        role_(role),
        ratio_(step.config.ratio(step.layer)),
        width_(static_cast<int64_t>(w.norm.size())),
        overlap_(w.wkv.rows / width_),
        values_(step.work.values.first(step.n_tokens()).columns(0, w.wkv.rows)),
        scores_(step.work.scores.first(step.n_tokens()).columns(0, w.wkv.rows)),
        new_entries_(step.work.new_entries) {}

  void run() {
    project();
    pool();
    finish();
    store();
  }

 private:
  CompressorState& state(const Segment& segment) const {
    LayerState& layer = step_.state(segment);
    return role_ == CompressorRole::kAttention ? layer.compressor[0] : layer.indexer[0];
  }

  // u = wkv x, g = wgate x + ape[t mod r], in float32 in every numerics.
  void project() {
    step_.math.product(step_.work.x.first(step_.n_tokens()), w_.wkv, values_);
    step_.math.product(step_.work.x.first(step_.n_tokens()), w_.wgate, scores_);
    for (int64_t t = 0; t < step_.n_tokens(); ++t) {
      const int64_t slot = step_.batch.positions[static_cast<size_t>(t)] % ratio_;
      const float* bias = w_.ape.data() + slot * scores_.size(1);
      for (int64_t i = 0; i < scores_.size(1); ++i) scores_(t, i) += bias[i];
    }
  }

  // Pools the slots of every entry that the batch completes. With overlap (r = 4) an entry reads
  // the first half of the columns of the block before and the second half of its own block.
  void pool() {
    step_.work.slot_values.clear();
    step_.work.slot_scores.clear();
    new_entries_.clear();
    for (size_t i = 0; i < step_.batch.segments.size(); ++i) {
      const Segment& segment = step_.batch.segments[i];
      for (int64_t j = segment.position / ratio_; j < segment.end_position() / ratio_; ++j) {
        new_entries_.push_back({i, j});
        step_.work.slot_values.start();
        step_.work.slot_scores.start();
        if (overlap_ == 2 && j > 0) add_slots(segment, (j - 1) * ratio_, 0);
        add_slots(segment, j * ratio_, (overlap_ - 1) * width_);
      }
    }
    entries_ =
        step_.work.entries.first(static_cast<int64_t>(new_entries_.size())).columns(0, width_);
    step_.ops().pool_slots(step_.work.slot_values.lists(), step_.work.slot_scores.lists(),
                           entries_);
  }

  // The r tokens from `position` on, from this batch or from the running tail.
  void add_slots(const Segment& segment, int64_t position, int64_t column) {
    const CompressorState& tail = state(segment);
    for (int64_t p = position; p < position + ratio_; ++p) {
      const bool in_batch = p >= segment.position;
      const int64_t row = segment.first_row + p - segment.position;
      step_.work.slot_values.add((in_batch ? &values_(row, 0) : tail.values.row(p)) + column);
      step_.work.slot_scores.add((in_batch ? &scores_(row, 0) : tail.scores.row(p)) + column);
    }
  }

  // Norm, rotation by the position of the block's first token, storage rounding.
  void finish() {
    const auto eps = static_cast<float>(step_.config.rms_norm_eps);
    step_.math.round(entries_);
    step_.ops().rms_norm(entries_, w_.norm, eps, entries_);
    step_.math.round(entries_);
    std::vector<int64_t>& positions = step_.work.entry_positions;
    positions.clear();
    for (const NewEntry& entry : new_entries_) positions.push_back(entry.index * ratio_);
    const auto heads = View<float, 3>(entries_.data(), {entries_.size(0), 1, width_},
                                      {entries_.stride(0), width_, 1});
    step_.ops().rope(heads, step_.work.entry_rope.angles(positions), Rotation::kForward);
    step_.math.round(entries_);
    if (role_ == CompressorRole::kAttention) {
      step_.math.round_entries(entries_, width_ - step_.config.rope_dim);
    } else {
      step_.ops().hadamard(entries_);
      step_.math.round(entries_);
      step_.math.round_index(entries_);
    }
  }

  void store() {
    const EntryFormat& format =
        role_ == CompressorRole::kAttention ? step_.work.entry_format : step_.work.index_format;
    const auto stored =
        step_.work.entries_stored.first(entries_.size(0)).columns(0, format.bytes());
    step_.ops().encode_entries(entries_, format, stored);
    for (size_t i = 0; i < new_entries_.size(); ++i) {
      const auto& [segment, index] = new_entries_[i];
      std::copy_n(&stored(i, 0), format.bytes(),
                  state(step_.batch.segments[segment]).entries.writable_row(index));
    }
    for (const Segment& segment : step_.batch.segments) {
      CompressorState& tail = state(segment);
      tail.values.append(segment.position, values_.slice(segment.first_row, segment.n_tokens));
      tail.scores.append(segment.position, scores_.slice(segment.first_row, segment.n_tokens));
    }
    if (new_entries_.empty()) return;
    const bool attention = role_ == CompressorRole::kAttention;
    step_.record(attention ? "attn.compressed_kv" : "indexer.compressed_kv",
                 Matrix<const float>(entries_));
  }

  Step& step_;
  const CompressorWeights& w_;
  CompressorRole role_;
  int64_t ratio_;
  int64_t width_;
  int64_t overlap_;
  Matrix<float> values_;
  Matrix<float> scores_;
  Matrix<float> entries_;
  std::vector<NewEntry>& new_entries_;
};

}  // namespace

void compress(Step& step, const CompressorWeights& w, CompressorRole role) {
  Compression(step, w, role).run();
}

}  // namespace dsv4
