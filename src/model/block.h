// One layer of the model.
#pragma once

#include "model/step.h"
#include "model/weights.h"

namespace dsv4 {

// Advances the residual streams work.streams through one layer: attention and mixture of experts,
// each between the in and out of its hyper-connection (architecture.md 5.3).
void block_forward(Step& step, const BlockWeights& w, LayerKind kind);

}  // namespace dsv4
