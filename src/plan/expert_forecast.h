// What memory for experts gains: the engine's own policy over a recorded trace or a stated skew.
#pragma once

#include "formats/routing_trace.h"
#include "plan/planner.h"

namespace dsv4 {

// Choices of independent tokens with Zipf's law, as many in a pass as there are users; what counts
// is how things go once the cache has filled. They are drawn once for loads and formats alike.
ExpertModelFor expert_models_of_skew();

// A recorded trace, with the expert sizes of the table; its first quarter fills the cache. Making a
// model throws Error(kInvalidInput) for a trace of another geometry or without passes.
ExpertModelFor expert_models_of_trace(RoutingTrace trace);

}  // namespace dsv4
