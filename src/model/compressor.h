// Token compression of CSA and HCA layers (architecture.md 5.5): every r tokens become one entry, a
// per-channel softmax pooling of their projections. The same code serves the indexer's compressor.
#pragma once

#include "model/step.h"
#include "model/weights.h"

namespace dsv4 {

// Which compressor of a layer: the one of attention's entries or the one of the index keys.
enum class CompressorRole { kAttention, kIndexer };

// Runs the compressor over work.x, from each sequence's running tail on, and appends the entries
// completed by these tokens to the sequences' states.
void compress(Step& step, const CompressorWeights& w, CompressorRole role);

}  // namespace dsv4
