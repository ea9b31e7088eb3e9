// What every part of a forward pass is given: the batch, the arithmetic, the scratch memory.
#pragma once

#include "cache/sequence_state.h"
#include "formats/routing_trace.h"
#include "model/config.h"
#include "model/expert_store.h"
#include "model/numerics.h"
#include "model/trace.h"
#include "model/workspace.h"

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace dsv4 {

// Consecutive tokens of one sequence: rows [first_row, first_row + n_tokens) of the batch, at
// positions from `position` on.
struct Segment {
  SequenceState* state = nullptr;
  int64_t first_row = 0;
  int64_t n_tokens = 0;
  int64_t position = 0;

  int64_t end_position() const { return position + n_tokens; }
};

// The tokens of a forward pass, of one or more sequences.
struct Batch {
  std::vector<Segment> segments;
  std::vector<int32_t> ids;
  std::vector<int64_t> positions;

  int64_t n_tokens() const { return static_cast<int64_t>(ids.size()); }
  void clear() { segments.clear(), ids.clear(), positions.clear(); }

  // Appends the next tokens of a sequence; a sequence may appear once per batch.
  void add(SequenceState& state, std::span<const int32_t> tokens) {
    segments.push_back({&state, n_tokens(), static_cast<int64_t>(tokens.size()), state.n_tokens()});
    for (const int32_t id : tokens) {
      positions.push_back(segments.back().position + n_tokens() - segments.back().first_row);
      ids.push_back(id);
    }
  }
};

// The context of one layer in one forward pass.
struct Step {
  const ModelConfig& config;
  const Batch& batch;
  Arithmetic& math;
  Workspace& work;
  RopeAngles rope;                        // of this layer's variant
  int64_t layer = 0;                      // index into the sequences' states
  Trace* trace = nullptr;                 // may be null
  ExpertStore* experts = nullptr;         // null: all stay where they are
  RoutingTraceWriter* routing = nullptr;  // may be null

  Ops& ops() const { return math.ops(); }
  int64_t n_tokens() const { return batch.n_tokens(); }
  LayerState& state(const Segment& segment) const { return segment.state->layer(layer); }

  template <typename Rows>
  void record(std::string_view name, const Rows& rows) const {
    if (trace != nullptr) trace->record(name, rows);
  }
};

}  // namespace dsv4
