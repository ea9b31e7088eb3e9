#include "model/int4_weights.h"

#include "base/error.h"

#include <algorithm>
#include <cstring>
#include <optional>

#include <fmt/core.h>
#include <fmt/ranges.h>

namespace dsv4 {
namespace {

constexpr std::string_view kWeight = "weight";
constexpr int64_t kPerWord = 8;  // integers in a word of 32 bits

int64_t words_for(int64_t n) { return (n + kPerWord - 1) / kPerWord; }

std::string with_suffix(const TensorSpec& spec, std::string_view suffix) {
  return spec.name.substr(0, spec.name.size() - kWeight.size()) + std::string(suffix);
}

std::optional<ScaleFormat> scale_format(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return ScaleFormat::kF32;
    case DType::kF16:
      return ScaleFormat::kF16;
    case DType::kBF16:
      return ScaleFormat::kBF16;
    default:
      return std::nullopt;
  }
}

// The tensors of one weight.
class Parts {
 public:
  Parts(const Checkpoint& checkpoint, const Int4Config& config, const TensorSpec& spec,
        std::string_view codes)
      : checkpoint_(checkpoint),
        config_(config),
        spec_(spec),
        codes_(*checkpoint.find(with_suffix(spec, codes))) {}

  Int4Weight awq() {
    require(Int4Method::kAwq, "awq");
    const int64_t rows = spec_.shape[0];
    const int64_t cols = spec_.shape[1];
    const int64_t group = group_size();
    if (rows % kPerWord != 0) {
      refuse(codes_,
             fmt::format("AWQ needs a multiple of {} outputs, this has {}", kPerWord, rows));
    }
    Int4Weight weight = start(WeightFormat::kAwqInt4, group);
    QuantMatrix& m = weight.matrix;
    m.data = part(weight, "qweight", {cols, rows / kPerWord}).data.data();
    m.zeros = part(weight, "qzeros", {cols / group, rows / kPerWord}).data.data();
    m.scale_cols = rows;
    set_scales(m, part(weight, "scales", {cols / group, rows}));
    return weight;
  }

  Int4Weight packed() {
    require(Int4Method::kCompressedTensors, "compressed-tensors");
    const int64_t rows = spec_.shape[0];
    const int64_t cols = spec_.shape[1];
    const int64_t group = group_size();
    if (const auto* order = checkpoint_.find(with_suffix(spec_, "weight_g_idx"))) {
      refuse(*order,
             "columns in another order are not supported; quantise again with "
             "\"actorder\": \"weight\"");
    }
    Int4Weight weight = start(WeightFormat::kPackedInt4, group);
    QuantMatrix& m = weight.matrix;
    m.data = part(weight, "weight_packed", {rows, words_for(cols)}).data.data();
    m.scale_cols = cols / group;
    set_scales(m, part(weight, "weight_scale", {rows, m.scale_cols}));
    check_size(part(weight, "weight_shape", {2}));
    if (!config_.symmetric) {
      m.zeros = part(weight, "weight_zero_point", {words_for(rows), m.scale_cols}).data.data();
    }
    return weight;
  }

 private:
  [[noreturn]] void refuse(const StoredTensor& tensor, const std::string& message) const {
    throw Error(ErrorCode::kInvalidInput, checkpoint_.describe(tensor), message);
  }

  void require(Int4Method method, const char* name) const {
    if (config_.method == method) return;
    refuse(codes_, fmt::format("config.json has no quantization_config with \"quant_method\": "
                               "\"{}\", which says how to read it",
                               name));
  }

  int64_t group_size() const {
    const int64_t cols = spec_.shape[1];
    const int64_t size = config_.group_size == 0 ? cols : config_.group_size;
    if (cols % size == 0) return size;
    refuse(codes_, fmt::format("groups of {} do not divide its {} inputs", size, cols));
  }

  Int4Weight start(WeightFormat format, int64_t group) const {
    Int4Weight weight;
    weight.matrix = {
        .rows = spec_.shape[0], .cols = spec_.shape[1], .block_cols = group, .format = format};
    return weight;
  }

  // The tensor of this suffix, of this shape: 32-bit words, or what the caller looks at itself.
  const StoredTensor& part(Int4Weight& weight, std::string_view suffix,
                           const std::vector<int64_t>& shape) const {
    const std::string name = with_suffix(spec_, suffix);
    const StoredTensor* tensor = checkpoint_.find(name);
    if (tensor == nullptr) {
      throw Error(ErrorCode::kNotFound, checkpoint_.describe(codes_),
                  fmt::format("{} of shape {}, which belongs to it, is missing", name, shape));
    }
    const DType dtype = tensor->dtype;
    const bool is_scale = suffix == "scales" || suffix == "weight_scale";
    const bool is_shape = suffix == "weight_shape";
    const bool good_type = is_scale   ? scale_format(dtype).has_value()
                           : is_shape ? dtype == DType::kI64 || dtype == DType::kI32
                                      : dtype == DType::kI32;
    if (!good_type) refuse(*tensor, fmt::format("cannot be of type {}", dtype_name(dtype)));
    if (tensor->shape != shape) {
      refuse(*tensor,
             fmt::format("has shape {}, the configuration asks for {}", tensor->shape, shape));
    }
    weight.names.push_back(name);
    return *tensor;
  }

  static void set_scales(QuantMatrix& m, const StoredTensor& scales) {
    m.scales = scales.data.data();
    m.scale_format = scale_format(scales.dtype).value();
  }

  // weight_shape holds the size of the weight before packing.
  void check_size(const StoredTensor& tensor) const {
    const size_t size = dtype_bytes(tensor.dtype);
    for (size_t i = 0; i < 2; ++i) {
      int64_t extent = 0;  // little-endian: the low bytes of an I32 come first too
      std::memcpy(&extent, tensor.data.data() + i * size, size);
      if (tensor.dtype == DType::kI32) extent = static_cast<int32_t>(extent);
      if (extent != spec_.shape[i]) {
        refuse(tensor, fmt::format("entry {} is {}, the configuration asks for {}", i, extent,
                                   spec_.shape[i]));
      }
    }
  }

  const Checkpoint& checkpoint_;
  const Int4Config& config_;
  const TensorSpec& spec_;
  const StoredTensor& codes_;
};

}  // namespace

const std::vector<std::string>& int4_suffixes() {
  static const std::vector<std::string> kSuffixes = {
      "qweight",      "qzeros",       "scales",           "weight_packed",
      "weight_scale", "weight_shape", "weight_zero_point"};
  return kSuffixes;
}

bool has_int4(const Checkpoint& checkpoint, const TensorSpec& spec) {
  // Rows of the embedding are read one at a time, in the formats that keep them together.
  const bool possible = spec.shape.size() == 2 && spec.name.ends_with(".weight") &&
                        spec.cls != TensorClass::kEmbedding;
  if (!possible || checkpoint.find(spec.name) != nullptr) return false;
  return checkpoint.find(with_suffix(spec, "qweight")) != nullptr ||
         checkpoint.find(with_suffix(spec, "weight_packed")) != nullptr;
}

Int4Weight find_int4(const Checkpoint& checkpoint, const Int4Config& config,
                     const TensorSpec& spec) {
  if (checkpoint.find(with_suffix(spec, "qweight")) != nullptr) {
    return Parts(checkpoint, config, spec, "qweight").awq();
  }
  return Parts(checkpoint, config, spec, "weight_packed").packed();
}

}  // namespace dsv4
