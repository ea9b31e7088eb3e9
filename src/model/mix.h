// Which type each tensor of a quantised model has: the mixes that users of GGUF files know, and
// those of safetensors checkpoints. Of the latter kF8E4M3 and kI8 stand for FP8 and FP4 with their
// block scales, as released, and kI32 for the 4-bit integers of AWQ.
#pragma once

#include "model/config.h"
#include "model/tensor_specs.h"
#include "tensor/dtype.h"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace dsv4 {

// Types by what a tensor is for.
struct Mix {
  DType gate_up = DType::kBF16;    // routed experts' w1 and w3
  DType down = DType::kBF16;       // routed experts' w2
  DType down_more = DType::kBF16;  // the same in the layers that get more bits
  DType shared = DType::kBF16;
  DType attention = DType::kBF16;  // its projections, the indexer's too
  DType head = DType::kBF16;
  DType embedding = DType::kF16;
  DType small = DType::kF16;  // routers, compressors, hyper-connections
};

// The files that a type can stand in.
enum class Container { kAny, kGguf, kSafetensors };
Container container_of(DType type);

// A mix by name: F32, F16, BF16, Q8_0, Q6_K, Q5_K_M, Q4_K_M, Q4_K_S, Q3_K_M, Q2_K, IQ2_XXS, MXFP4,
// and every block type alone; of safetensors FP4 (as released: FP4 experts, FP8 elsewhere), FP8 and
// AWQ-INT4. Throws Error(kNotFound) listing the names.
Mix mix_of_name(std::string_view name);
// Names of those that a GGUF file or a safetensors checkpoint can have; kAny: all.
std::vector<std::string> mix_names(Container container = Container::kAny);

// A single type by name, for one class of tensors. Throws Error(kNotFound) naming `where` and
// listing the names.
DType weight_type_of_name(std::string_view name, const std::string& where);
// Its name: "FP8", "FP4" and "INT4" for the types of safetensors, dtype_name of others.
std::string_view weight_type_name(DType type);

// The type of a tensor in a layer (any number for global tensors). Where rows do not fill blocks of
// it, Q8_0 or F16 takes its place; FP8 or BF16 that of FP4 and INT4.
DType mixed_type(const Mix& mix, const TensorSpec& spec, int64_t layer, const ModelConfig& config);

}  // namespace dsv4
