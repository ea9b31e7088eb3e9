// Mixture of experts (architecture.md 5.9): a router that is learned, or for the first layers a
// table by token id; routed experts, tokens grouped by expert; one shared expert.
#pragma once

#include "model/step.h"
#include "model/weights.h"

namespace dsv4 {

// Reads the normed input work.x, writes the sublayer's output to work.y.
void mixture_of_experts(Step& step, const MoeWeights& w);

}  // namespace dsv4
