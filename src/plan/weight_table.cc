#include "plan/weight_table.h"

#include "quantize/output_files.h"

#include <filesystem>
#include <map>
#include <tuple>
#include <utility>

namespace dsv4 {
namespace {

namespace fs = std::filesystem;

// Adds weights, with the routed experts of a layer as one row of the table for each of their parts.
class TableBuilder {
 public:
  TableBuilder(const ModelConfig& config, std::string format) {
    table_.config = config;
    table_.format = std::move(format);
  }

  void add(const TensorSpec& spec, int64_t layer, DType dtype, bool ids, int64_t bytes) {
    TableWeight weight{.cls = spec.cls, .layer = layer, .dtype = dtype, .ids = ids};
    weight.cols = spec.shape.back();
    if (spec.shape.size() == 2) weight.rows = spec.shape[0];
    weight.bytes = bytes;
    if (spec.kind == TensorKind::kExpert) {
      constexpr size_t kSuffix = std::string_view("w1.weight").size();
      const std::string part = spec.name.substr(spec.name.size() - kSuffix);
      const auto [found, is_new] = experts_.try_emplace({layer, part}, table_.weights.size());
      if (!is_new) {
        TableWeight& all = table_.weights[found->second];
        ++all.n_matrices;
        all.bytes += bytes;
        return;
      }
    }
    table_.weights.push_back(weight);
  }

  WeightTable finish(int64_t file_bytes, bool stacked) {
    table_.file_bytes = file_bytes;
    table_.stacked = stacked;
    return std::move(table_);
  }

 private:
  WeightTable table_;
  std::map<std::pair<int64_t, std::string>, size_t> experts_;
};

DType dtype_of(const QuantMatrix& matrix) {
  if (const auto block = block_type(matrix.format)) return *block;
  switch (matrix.format) {
    case WeightFormat::kF16:
      return DType::kF16;
    case WeightFormat::kBF16:
      return DType::kBF16;
    case WeightFormat::kFP8:
      return DType::kF8E4M3;
    case WeightFormat::kFP4:
      return DType::kI8;
    case WeightFormat::kAwqInt4:
    case WeightFormat::kPackedInt4:
      return DType::kI32;
    default:
      return DType::kF32;
  }
}

WeightTable planned(const ModelConfig& config, const std::vector<WeightShape>& shapes,
                    const QuantizePlan& plan, const std::string& mix, int64_t file_bytes) {
  TableBuilder builder(config, mix);
  for (const PlannedWeight& weight : plan.weights) {
    const int64_t each = weight.bytes() / std::ssize(weight.sources);
    for (const size_t source : weight.sources) {
      const WeightShape& shape = shapes[source];
      const DType dtype = shape.id_table ? weight.tensors[0].dtype : weight.type;
      builder.add(shape.spec, shape.layer, dtype, shape.id_table.has_value(), each);
    }
  }
  return builder.finish(file_bytes, plan.container == Container::kGguf);
}

QuantizePlan plan_of(const ModelConfig& config, const std::vector<WeightShape>& shapes,
                     const std::string& mix) {
  TypeChoice types;
  types.mix = mix_of_name(mix);
  const bool gguf = container_of(types.mix.gate_up) != Container::kSafetensors;
  return plan_quantize(config, shapes, types, gguf ? Container::kGguf : Container::kSafetensors);
}

}  // namespace

std::string_view TableWeight::format() const { return weight_type_name(dtype); }

int64_t WeightTable::expert_bytes() const {
  int64_t sum = 0;
  for (const TableWeight& weight : weights) {
    if (weight.cls == TensorClass::kRoutedExpert) sum += weight.bytes;
  }
  return sum;
}

std::vector<StoredGroup> WeightTable::groups() const {
  std::map<std::tuple<TensorClass, DType, bool>, StoredGroup> groups;
  for (const TableWeight& w : weights) {
    const bool int4 = w.dtype == DType::kI32 && !w.ids;
    StoredGroup& group = groups[{w.cls, w.dtype, int4}];
    group.cls = w.cls;
    group.dtype = w.dtype;
    group.int4 = int4;
    group.n_tensors += stacked ? 1 : w.n_matrices;
    group.n_bytes += w.bytes;
  }
  std::vector<StoredGroup> result;
  for (const auto& [key, group] : groups) result.push_back(group);
  return result;
}

WeightTable weight_table(const SourceModel& source) {
  TableBuilder builder(source.config(), "as stored");
  for (const SourceTensor& tensor : source.tensors()) {
    if (tensor.table != nullptr) {
      builder.add(tensor.spec, tensor.layer, tensor.table->dtype, true,
                  std::ssize(tensor.table->data));
      continue;
    }
    const QuantMatrix& m = tensor.matrix;
    builder.add(tensor.spec, tensor.layer, dtype_of(m), false,
                m.rows * m.row_bytes() + m.scales_bytes() + m.zeros_bytes());
  }
  int64_t file_bytes = 0;
  for (const MappedFile& file : source.checkpoint().files()) file_bytes += std::ssize(file.bytes());
  return builder.finish(file_bytes, source.checkpoint().gguf() != nullptr);
}

WeightTable weight_table(const SourceModel& source, const std::string& mix) {
  const std::vector<WeightShape> shapes = weight_shapes(source);
  const QuantizePlan plan = plan_of(source.config(), shapes, mix);
  return planned(source.config(), shapes, plan, mix, output_bytes(source, plan, mix));
}

WeightTable weight_table(const ModelConfig& config, const std::string& mix) {
  const std::vector<WeightShape> shapes = weight_shapes(config);
  const QuantizePlan plan = plan_of(config, shapes, mix);
  return planned(config, shapes, plan, mix, output_bytes(config, plan, mix));
}

}  // namespace dsv4
