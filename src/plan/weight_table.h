// The weights of a model in one format: class, layer, type, shape and bytes of each, whether they
// lie in files or are only planned. Memory, file sizes and times are computed from it.
#pragma once

#include "model/config.h"
#include "model/tensor_specs.h"
#include "plan/footprint.h"
#include "quantize/plan.h"
#include "quantize/source_model.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace dsv4 {

// A tensor, or all routed experts of a layer that have the same part (gate, up or down).
struct TableWeight {
  TensorClass cls = TensorClass::kNorm;
  int64_t layer = kNoLayer;   // n_layers for the MTP block
  DType dtype = DType::kF32;  // of model/mix.h: kI8 is FP4, kI32 INT4; I64 or I32 for expert ids
  bool ids = false;           // a table of expert ids, no weights
  int64_t rows = 1;           // of one matrix
  int64_t cols = 0;
  int64_t n_matrices = 1;  // experts
  int64_t bytes = 0;       // of all, with their scales

  // As in ProductRate::format.
  std::string_view format() const;
};

struct WeightTable {
  ModelConfig config;
  std::string format;  // of the mix, or "as stored"
  std::vector<TableWeight> weights;
  int64_t file_bytes = 0;  // of everything on disk
  bool stacked = false;    // the experts of a layer are one tensor: GGUF

  // Of all routed experts of the main model.
  int64_t expert_bytes() const;
  std::vector<StoredGroup> groups() const;
};

// A model that is there, in the format that it is stored in.
WeightTable weight_table(const SourceModel& source);
// The same model, or a release of a geometry, quantised to a mix (model/mix.h). Throws Error for a
// mix that the model's shapes do not allow.
WeightTable weight_table(const SourceModel& source, const std::string& mix);
WeightTable weight_table(const ModelConfig& config, const std::string& mix);

}  // namespace dsv4
