// What memory for experts gains: the engine's own policy over a recorded trace or a stated skew.
#pragma once

#include "formats/routing_trace.h"
#include "plan/planner.h"

namespace dsv4 {

// Choices of independent tokens with Zipf's law, as many in a pass as there are users; what counts
// is how things go once the cache has filled.
ExpertModel expert_model_of_skew(const WeightTable& table, const Workload& workload);

// A recorded trace, with the expert sizes of the table; its first quarter fills the cache. Throws
// Error(kInvalidInput) for one of another geometry or without passes.
ExpertModel expert_model_of_trace(const WeightTable& table, RoutingTrace trace);

}  // namespace dsv4
