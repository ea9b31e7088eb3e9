// Compressed sparse attention (ratio 4): the window and the top-k compressed entries of the
// lightning indexer.
#include "model/attention.h"
#include "model/compressor.h"
#include "model/indexer.h"

#include <algorithm>

namespace dsv4 {
namespace {

void add_selected_entries(Step& step, const Segment& segment, int64_t row) {
  const PagedRows& entries = step.state(segment).compressor[0].entries;
  const Matrix<int32_t> ids = step.work.index_ids.view();
  const int64_t n_entries = segment.end_position() / 4;
  // Official: as many places as entries exist at the end of the batch, some of them absent.
  const int64_t n_places = std::min(step.config.index_topk, n_entries);
  for (int64_t i = 0; i < n_places; ++i) {
    const int32_t id = ids(segment.first_row + row, i);
    if (id >= 0) {
      step.work.keys.add(entries.row(id));
    } else if (step.math.official()) {
      step.work.keys.add(nullptr);
    }
  }
}

}  // namespace

void csa_attention(Step& step, const AttentionWeights& w) {
  project_queries_and_entries(step, w);
  select_entries(step, w.indexer);
  compress(step, w.compressor, CompressorRole::kAttention);
  step.work.keys.clear();
  for (const Segment& segment : step.batch.segments) {
    for (int64_t t = 0; t < segment.n_tokens; ++t) {
      start_keys_with_window(step, segment, t);
      add_selected_entries(step, segment, t);
    }
  }
  attend_and_project(step, w);
}

}  // namespace dsv4
