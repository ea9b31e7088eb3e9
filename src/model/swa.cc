// Sliding window attention (layers of ratio 0 and the MTP block).
#include "model/attention.h"

namespace dsv4 {

void swa_attention(Step& step, const AttentionWeights& w) {
  project_queries_and_entries(step, w);
  step.work.keys.clear();
  for (const Segment& segment : step.batch.segments) {
    for (int64_t t = 0; t < segment.n_tokens; ++t) start_keys_with_window(step, segment, t);
  }
  attend_and_project(step, w);
}

}  // namespace dsv4
