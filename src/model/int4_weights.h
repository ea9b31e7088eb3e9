// Weights in 4-bit integers, each in several tensors (docs/formats.md): of AWQ X.qweight, X.qzeros
// and X.scales, of compressed-tensors X.weight_packed, X.weight_scale, X.weight_shape and, when
// asymmetric, X.weight_zero_point. They stand where the table of tensors has X.weight.
#pragma once

#include "formats/checkpoint.h"
#include "model/config.h"
#include "model/tensor_specs.h"
#include "quant/quant_matrix.h"

#include <string>
#include <vector>

namespace dsv4 {

struct Int4Weight {
  QuantMatrix matrix;
  std::vector<std::string> names;  // of its tensors
};

// What stands for "weight" at the end of the names.
const std::vector<std::string>& int4_suffixes();

// Whether the checkpoint holds 4-bit integers for "X.weight" of the table. A plain X.weight beside
// them goes first: they then belong to no model.
bool has_int4(const Checkpoint& checkpoint, const TensorSpec& spec);

// The checked weight, which has_int4(). Throws Error naming the tensor that is missing, misshaped
// or of the wrong type.
Int4Weight find_int4(const Checkpoint& checkpoint, const Int4Config& config,
                     const TensorSpec& spec);

}  // namespace dsv4
