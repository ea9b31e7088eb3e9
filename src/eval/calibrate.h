// Importance of weights from text: what the model feeds into each of its products while it reads.
#pragma once

#include "model/model.h"
#include "quantize/importance.h"

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

namespace dsv4 {

struct Calibration {
  ImportanceTable table;  // as it was seen, rare experts not blended yet
  int64_t n_experts = 0;  // routed ones, of all layers
  int64_t n_unseen = 0;   // that no token chose
  int64_t n_rare = 0;     // that fewer than kPriorTokens chose, the unseen too
};

// Called with tokens done and all tokens.
using CalibrationProgress = std::function<void(int64_t done, int64_t total)>;

// Runs chunks of at most the model's max_batch_tokens, each from an empty state. The up projections
// of experts are left out: their input is the gate's.
Calibration calibrate(Model& model, std::span<const std::vector<int32_t>> chunks,
                      const CalibrationProgress& progress = {});

}  // namespace dsv4
