// What a quantised model consists of: each tensor to write, its type and where its weights come
// from.
#pragma once

#include "model/mix.h"
#include "quantize/source_model.h"

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace dsv4 {

struct TypeChoice {
  Mix mix;                        // of all layers
  std::map<int64_t, Mix> layers;  // of single layers instead
  int64_t int4_group = 128;

  const Mix& of(int64_t layer) const;
};

// A tensor of the file.
struct StoredShape {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;  // outermost first

  int64_t bytes() const;
};

// A weight, or all experts of a layer in one stack.
struct PlannedWeight {
  std::vector<size_t> sources;       // of SourceModel::tensors()
  DType type = DType::kBF16;         // of model/mix.h
  std::vector<StoredShape> tensors;  // the weights, then scales or zero points where they are apart

  int64_t bytes() const;
};

struct QuantizePlan {
  Container container = Container::kGguf;
  TypeChoice types;
  std::vector<PlannedWeight> weights;  // in the order of writing

  int64_t bytes() const;
};

// Throws Error(kInvalidInput, kUnsupported) for a type that the container cannot hold, or tensors
// that it has no names for.
QuantizePlan plan_quantize(const SourceModel& source, const TypeChoice& types, Container container);

// The part of a model that a tensor belongs to, as people choose types by.
std::string_view part_name(const TensorSpec& spec);

}  // namespace dsv4
