// Numbers of parameters by class, from the table of tensors (architecture.md section 2). Block
// scales and tables of integers are not parameters.
#pragma once

#include "model/config.h"
#include "model/tensor_specs.h"

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

namespace dsv4 {

inline constexpr size_t kTensorClasses = static_cast<size_t>(TensorClass::kMtp) + 1;

// What people call the class, for example "routed experts".
std::string_view tensor_class_name(TensorClass cls);

struct ParamCount {
  std::array<int64_t, kTensorClasses> by_class{};
  // Used for one token: everything but the embedding table, and of the routed experts the active
  // ones. Without MTP.
  int64_t activated = 0;

  int64_t& operator[](TensorClass cls) { return by_class[static_cast<size_t>(cls)]; }
  int64_t operator[](TensorClass cls) const { return by_class[static_cast<size_t>(cls)]; }
  int64_t main_model() const;
  int64_t with_mtp() const { return main_model() + (*this)[TensorClass::kMtp]; }
};

// Layers of one kind (ratio and routing) have the same tensors: the first of each kind and their
// number.
struct EqualLayers {
  int64_t first = 0;
  int64_t number = 0;
};
std::vector<EqualLayers> group_equal_layers(const ModelConfig& config);

// The MTP block is counted where the config declares one; it shares embedding and head. DSpark
// stages are not counted.
ParamCount count_params(const ModelConfig& config);

}  // namespace dsv4
