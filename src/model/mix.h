// Which type each tensor of a quantised model has: the mixes that users of GGUF files know.
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

// A mix by name: BF16, F16, Q8_0, Q6_K, Q5_K_M, Q4_K_M, Q4_K_S, Q3_K_M, Q2_K, IQ2_XXS, MXFP4, and
// every block type alone. Throws Error(kNotFound) listing the names.
Mix mix_of_name(std::string_view name);
std::vector<std::string> mix_names();

// The type of a tensor in a layer (any number for global tensors). Where rows do not fill blocks of
// it, Q8_0 or F16 takes its place.
DType mixed_type(const Mix& mix, const TensorSpec& spec, int64_t layer, const ModelConfig& config);

}  // namespace dsv4
