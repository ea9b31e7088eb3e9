// The tensors of a synthetic checkpoint as they are stored, and how their bytes are made.
#pragma once

#include "model/config.h"
#include "model/mix.h"
#include "model/tensor_specs.h"
#include "tensor/dtype.h"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

namespace dsv4 {

enum class SynthFormat {
  kNative,  // as released: FP4 experts, FP8 linears, BF16 and F32
  kBf16,    // every matrix BF16
  kGguf     // a GGUF file, with the types of a mix
};

struct PlannedTensor {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;  // as stored: FP4 has half of the last dimension
  size_t spec = 0;             // in SynthPlan::specs
  bool is_scale = false;       // block scales of that spec

  int64_t bytes() const;
};

// All tensors in the order of writing; scales follow their weight.
struct SynthPlan {
  ModelConfig config;
  std::vector<TensorSpec> specs;
  std::vector<PlannedTensor> tensors;

  int64_t bytes() const;
};

// Tensors of all layers and, where config.n_mtp_layers > 0, of the MTP block. Throws
// Error(kUnsupported) for a width that FP4 cannot store.
SynthPlan plan_tensors(const ModelConfig& config, SynthFormat format);
// The same for a GGUF file: its names, experts stacked, types by the mix.
SynthPlan plan_gguf(const ModelConfig& config, const Mix& mix);

// The bytes of a tensor: fill(first, out) writes those from byte `first` on. Both are multiples of
// `granule`, except that the last range may end with the tensor. A pure function, for any thread.
struct TensorBytes {
  int64_t granule = 8;
  std::function<void(int64_t first, std::span<std::byte> out)> fill;
};
TensorBytes tensor_bytes(const SynthPlan& plan, const PlannedTensor& tensor, uint64_t seed);

}  // namespace dsv4
