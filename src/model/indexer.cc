#include "model/indexer.h"

#include "model/compressor.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace dsv4 {
namespace {

constexpr int64_t kRatio = 4;

// Queries: index heads from the shared low-rank query, rotated, Hadamard-transformed; and the
// weight of each head, from the layer's input.
void project_queries(Step& step, const IndexerWeights& w) {
  const int64_t n = step.n_tokens();
  const ModelConfig& config = step.config;
  const View<float, 3> q = step.work.index_q.first(n);
  const auto rows = q.reshape<2>({n * config.n_index_heads, config.index_head_dim});
  const auto flat = q.reshape<2>({n, config.n_index_heads * config.index_head_dim});
  step.math.linear(step.work.qr.first(n), w.wq_b, flat);
  step.ops().rope(q, step.rope, Rotation::kForward);
  step.math.round(rows);
  step.ops().hadamard(rows);
  step.math.round(rows);
  step.math.round_index(rows);

  const Matrix<float> weights = step.work.index_weights.first(n);
  step.math.linear(step.work.x.first(n), w.weights_proj, weights);
  const double scale = 1 / std::sqrt(static_cast<double>(config.index_head_dim) *
                                     static_cast<double>(config.n_index_heads));
  for (int64_t t = 0; t < n; ++t) {
    for (float& weight : weights[t].span()) weight *= static_cast<float>(scale);
  }
  step.math.round(weights);
  step.record("indexer.q", q);
  step.record("indexer.weights", weights);
}

// Scores and chooses for the tokens [begin, begin + n) of the segment. Scores beyond the visible
// entries are computed only for a trace.
void choose(Step& step, const Segment& segment, int64_t begin, int64_t n, int64_t n_entries) {
  const int64_t row = segment.first_row + begin;
  ListBuilder<std::byte>& keys = step.work.index_keys;
  std::vector<int64_t>& visible = step.work.n_visible;
  visible.clear();
  const PagedRows& entries = step.state(segment).indexer[0].entries;
  keys.clear();
  for (int64_t j = 0; j < n_entries; ++j) keys.add_shared(entries.row(j));
  for (int64_t t = begin; t < begin + n; ++t) {
    visible.push_back(n_visible_entries(segment.position + t, kRatio));
    keys.share(0, step.trace != nullptr ? n_entries : visible.back());
  }
  const Matrix<float> scores =
      step.work.index_scores.first(n * n_entries).reshape<2>({n, n_entries});
  step.ops().indexer_scores(step.work.index_q.first(row + n).slice(row, n),
                            step.work.index_weights.first(row + n).slice(row, n),
                            {step.work.index_format, keys.lists()}, step.math.rounding(), scores);
  // The official implementation attends to the entries in the order of their scores.
  const TopKOrder order = step.math.official() ? TopKOrder::kByScore : TopKOrder::kByIndex;
  step.ops().top_k(scores, visible, order, step.work.index_ids.first(row + n).slice(row, n));
  step.record("indexer.score", scores);
}

// Where all visible entries are chosen anyway, scores are not needed.
void choose_all(Step& step, const Segment& segment) {
  const Matrix<int32_t> ids =
      step.work.index_ids.first(step.n_tokens()).slice(segment.first_row, segment.n_tokens);
  for (int64_t t = 0; t < segment.n_tokens; ++t) {
    const int64_t n_visible = n_visible_entries(segment.position + t, kRatio);
    for (int64_t j = 0; j < ids.size(1); ++j) {
      ids(t, j) = j < n_visible ? static_cast<int32_t>(j) : -1;
    }
  }
}

// Choices as the manifests list them: sorted, with as many columns as entries can be chosen.
void record_choices(Step& step, const Segment& segment) {
  const int64_t n_columns = std::min(step.config.index_topk, segment.end_position() / kRatio);
  Tensor<int32_t, 2> sorted({segment.n_tokens, n_columns});
  for (int64_t t = 0; t < segment.n_tokens; ++t) {
    const auto chosen = step.work.index_ids.view()[segment.first_row + t].span();
    const auto row = sorted.view()[t].span();
    std::copy_n(chosen.begin(), n_columns, row.begin());
    std::ranges::sort(row, [](int32_t a, int32_t b) {
      return static_cast<uint32_t>(a) < static_cast<uint32_t>(b);  // -1 comes last
    });
  }
  step.trace->record_ids("indexer.topk", sorted.view());
}

}  // namespace

void select_entries(Step& step, const IndexerWeights& w) {
  compress(step, w.compressor, CompressorRole::kIndexer);
  project_queries(step, w);
  for (const Segment& segment : step.batch.segments) {
    const int64_t n_entries = segment.end_position() / kRatio;
    const bool all_chosen = n_entries <= step.config.index_topk;
    if (n_entries == 0 || (all_chosen && !step.math.official() && step.trace == nullptr)) {
      choose_all(step, segment);
      continue;
    }
    const int64_t n_slice = std::max<int64_t>(1, step.work.index_scores.view().size(0) / n_entries);
    for (int64_t begin = 0; begin < segment.n_tokens; begin += n_slice) {
      choose(step, segment, begin, std::min(n_slice, segment.n_tokens - begin), n_entries);
    }
    if (step.trace != nullptr) record_choices(step, segment);
  }
}

}  // namespace dsv4
