// Heavily compressed attention (ratio 128 in the released models): the window and all compressed
// entries.
#include "model/attention.h"
#include "model/compressor.h"
#include "model/indexer.h"

namespace dsv4 {
namespace {

void add_visible_entries(Step& step, const Segment& segment, int64_t row, int64_t ratio) {
  const PagedRows& entries = step.state(segment).compressor[0].entries;
  const int64_t n_visible = n_visible_entries(segment.position + row, ratio);
  for (int64_t j = 0; j < n_visible; ++j) step.work.keys.add(entries.row(j));
  if (!step.math.official()) return;
  // Places of the entries that exist at the end of the batch but are not visible yet.
  for (int64_t j = n_visible; j < segment.end_position() / ratio; ++j) step.work.keys.add(nullptr);
}

}  // namespace

void hca_attention(Step& step, const AttentionWeights& w) {
  project_queries_and_entries(step, w);
  compress(step, w.compressor, CompressorRole::kAttention);
  step.work.keys.clear();
  for (const Segment& segment : step.batch.segments) {
    for (int64_t t = 0; t < segment.n_tokens; ++t) {
      start_keys_with_window(step, segment, t);
      add_visible_entries(step, segment, t, step.config.ratio(step.layer));
    }
  }
  attend_and_project(step, w);
}

}  // namespace dsv4
