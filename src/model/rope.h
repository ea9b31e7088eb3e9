// Rotary embedding: frequencies of the two variants and the angles of a batch
// (architecture.md 4.3).
#pragma once

#include "kernels/ops.h"
#include "model/config.h"

#include <span>
#include <vector>

namespace dsv4 {

// Which frequencies a layer uses, for everything rotary in it.
enum class RopeVariant {
  kMain,      // SWA layers and MTP: rope_theta, no YaRN
  kCompress,  // CSA and HCA layers: compress_rope_theta with YaRN
};

inline RopeVariant rope_variant(int64_t ratio) {
  return ratio == 0 ? RopeVariant::kMain : RopeVariant::kCompress;
}

// Angular step per position of each pair, [rope_dim / 2], in float32 as the reference computes
// them.
std::vector<float> rope_frequencies(const ModelConfig& config, RopeVariant variant);

// cos and sin of float32(position) * frequency (the product in float32, then exact to rounding).
class RopeTable {
 public:
  RopeTable(const ModelConfig& config, RopeVariant variant, int64_t max_tokens);

  // Valid until the next call.
  RopeAngles angles(std::span<const int64_t> positions);
  int64_t bytes() const { return static_cast<int64_t>(cos_.bytes() + sin_.bytes()); }

 private:
  std::vector<float> frequencies_;
  Tensor<float, 2> cos_;
  Tensor<float, 2> sin_;
};

}  // namespace dsv4
