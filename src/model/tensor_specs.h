// The one table of tensors: names in a released checkpoint, shapes and types, by layer
// (architecture.md section 3). Loading, synthesis and inspection all read it.
#pragma once

#include "model/config.h"

#include <string>
#include <vector>

namespace dsv4 {

// How the release stores a tensor, and so which stored types a loader accepts.
enum class TensorKind {
  kLinear,   // FP8 with block scales; F32, F16 or BF16 without
  kExpert,   // FP4 (I8) or FP8 with block scales; F32, F16 or BF16 without
  kMatrix,   // BF16; F32 or F16 too
  kNorm,     // BF16 vector; F32 or F16 too
  kFloat,    // F32; BF16 or F16 too
  kTokenMap  // I64 or I32 table of expert ids
};

// What the tensor is for, in the classes that people count by.
enum class TensorClass {
  kEmbedding,
  kHead,
  kAttention,
  kCompressor,
  kRouter,
  kRoutedExpert,
  kSharedExpert,
  kHyperConnection,
  kNorm,
  kMtp
};

struct TensorSpec {
  std::string name;
  std::vector<int64_t> shape;  // logical: FP4 files store half of the last dimension
  TensorKind kind;
  TensorClass cls;
};

// Name of the block scales that belong to a weight: "X.weight" has "X.scale".
std::string scale_name(const std::string& weight_name);

std::vector<TensorSpec> global_specs(const ModelConfig& config);
std::vector<TensorSpec> layer_specs(const ModelConfig& config, int64_t layer);
// The multi-token prediction block "mtp.0.".
std::vector<TensorSpec> mtp_specs(const ModelConfig& config);

}  // namespace dsv4
