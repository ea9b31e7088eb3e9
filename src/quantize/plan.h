// What a quantised model consists of: each tensor to write, its type and where its weights come
// from.
#pragma once

#include "model/mix.h"
#include "quantize/source_model.h"

#include <cstdint>
#include <map>
#include <optional>
#include <span>
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

// What has to be known of a weight to plan it.
struct WeightShape {
  TensorSpec spec;
  int64_t layer = kNoLayer;       // n_layers for the MTP block
  DType plain = DType::kBF16;     // where it stays as the release has it
  std::optional<DType> id_table;  // of a table of expert ids its type
};

// Of a model, and of a release of this geometry (with its MTP block, where there is one).
std::vector<WeightShape> weight_shapes(const SourceModel& source);
std::vector<WeightShape> weight_shapes(const ModelConfig& config);

// Throws Error(kInvalidInput, kUnsupported) for a type that the container cannot hold, or tensors
// that it has no names for.
QuantizePlan plan_quantize(const SourceModel& source, const TypeChoice& types, Container container);
// From shapes alone: PlannedWeight::sources are places in them.
QuantizePlan plan_quantize(const ModelConfig& config, std::span<const WeightShape> weights,
                           const TypeChoice& types, Container container);

// The part of a model that a tensor belongs to, as people choose types by.
std::string_view part_name(const TensorSpec& spec);

}  // namespace dsv4
