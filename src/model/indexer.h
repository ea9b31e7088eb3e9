// The lightning indexer of CSA layers (architecture.md 5.6): scores every visible compressed entry
// for each query by a small attention of its own and keeps the best.
#pragma once

#include "model/step.h"
#include "model/weights.h"

namespace dsv4 {

// Entries of layer `ratio` that a query at `position` may see: complete blocks, its own included.
inline int64_t n_visible_entries(int64_t position, int64_t ratio) { return (position + 1) / ratio; }

// Updates the index keys of each sequence, then chooses up to index_topk entries for each token:
// work.index_ids [n, Ki], padded with -1. Reads work.x and work.qr.
void select_entries(Step& step, const IndexerWeights& w);

}  // namespace dsv4
