// Measures the model against the golden vectors (tests/golden): each difference once, for the tests
// that bound it (golden_test.cc) and for the table of docs/numerics.md (golden_report.cc).
#pragma once

#include "formats/checkpoint.h"
#include "kernels/ops.h"
#include "model/model.h"

#include <cstdint>
#include <string>
#include <vector>

namespace dsv4::golden {

// Logits of one vector against ours.
struct LogitsRow {
  std::string vector;  // "prompt.p33.logits_all"
  double max_abs = 0;
  double rms = 0;
  int64_t n_rows = 0;
  int64_t n_argmax_wrong = 0;  // of the rows whose argmax the vectors list
};

// One stage of a trace.
struct StageRow {
  std::string vector;   // "trace.p33.layers.1.attn.q"
  double relative = 0;  // largest difference over the largest value
  double rms = 0;
  int64_t n_ids_wrong = 0;  // of stages that choose: elements that differ as sets
};

struct Measurement {
  std::vector<LogitsRow> logits;
  std::vector<StageRow> stages;
  std::vector<std::string> missing;  // golden tensors that we have no counterpart for
};

// Runs every vector of tests/golden/NAME in one numerics.
Measurement measure(const std::string& name, Numerics numerics, Ops& ops);

// The folder of a golden model.
std::string folder(const std::string& name);

}  // namespace dsv4::golden
