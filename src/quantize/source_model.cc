#include "quantize/source_model.h"

#include "model/named_matrices.h"
#include "model/names.h"

#include <algorithm>
#include <map>
#include <utility>

#include <fmt/core.h>
#include <fmt/ranges.h>
#include <xxhash.h>

namespace dsv4 {
namespace {

// A vector, or a small table that the weights hold as one (the bias by position).
QuantMatrix plain_matrix(const StoredTensor& tensor) {
  QuantMatrix m{.data = tensor.data.data(), .rows = 1, .cols = tensor.shape.back()};
  if (tensor.shape.size() == 2) m.rows = tensor.shape[0];
  if (const auto blocks = weight_format(tensor.dtype)) {
    m.format = *blocks;
  } else {
    m.format = tensor.dtype == DType::kF32   ? WeightFormat::kF32
               : tensor.dtype == DType::kF16 ? WeightFormat::kF16
                                             : WeightFormat::kBF16;
  }
  return m;
}

}  // namespace

SourceModel::SourceModel(const std::filesystem::path& path)
    : path_(path), config_(load_config(path)), checkpoint_(open_checkpoint(path)) {
  const ModelWeights weights = load_weights(checkpoint_, config_);  // checks every tensor
  std::map<std::string, QuantMatrix> matrices;
  for_each_matrix(weights, [&](const std::string& name, const QuantMatrix& matrix) {
    matrices.emplace(name, matrix);
  });
  add(global_specs(config_), kNoLayer, matrices);
  for (int64_t layer = 0; layer < config_.n_layers; ++layer) {
    add(layer_specs(config_, layer), layer, matrices);
  }
  if (weights.mtp) add(mtp_specs(config_), config_.n_layers, matrices);
}

void SourceModel::add(std::vector<TensorSpec> specs, int64_t layer,
                      const std::map<std::string, QuantMatrix>& matrices) {
  for (TensorSpec& spec : specs) {
    SourceTensor tensor{std::move(spec), layer, {}, nullptr};
    if (const auto found = matrices.find(tensor.spec.name); found != matrices.end()) {
      tensor.matrix = found->second;
    } else if (tensor.spec.kind == TensorKind::kTokenMap) {
      tensor.table = checkpoint_.find(tensor.spec.name);
    } else {
      tensor.matrix = plain_matrix(*checkpoint_.find(tensor.spec.name));
    }
    tensors_.push_back(std::move(tensor));
  }
}

int64_t SourceModel::bytes() const {
  int64_t bytes = 0;
  for (const StoredTensor& tensor : checkpoint_.tensors()) {
    bytes += static_cast<int64_t>(tensor.data.size());
  }
  return bytes;
}

uint64_t SourceModel::sample_hash() const {
  constexpr size_t kSamples = 256;  // tensors, each a page to read
  constexpr size_t kSampleBytes = 64;
  std::string text = config_to_json(config_);
  const std::vector<StoredTensor>& all = checkpoint_.tensors();
  const size_t step = all.size() / kSamples + 1;
  for (size_t i = 0; i < all.size(); ++i) {
    const StoredTensor& tensor = all[i];
    text += fmt::format("{} {} {} {} {}\n", tensor.name, dtype_name(tensor.dtype), tensor.shape,
                        tensor.file, tensor.offset);
    if (i % step != 0) continue;
    const size_t begin = tensor.data.size() / 2;
    const auto part =
        tensor.data.subspan(begin, std::min(kSampleBytes, tensor.data.size() - begin));
    text.append(reinterpret_cast<const char*>(part.data()), part.size());
  }
  return XXH3_64bits(text.data(), text.size());
}

bool SourceModel::is_part_of(const std::filesystem::path& path) const {
  std::error_code ignored;  // of paths that are not there
  if (std::filesystem::equivalent(path_, path, ignored)) return true;
  return std::ranges::any_of(checkpoint_.files(), [&](const MappedFile& file) {
    return std::filesystem::equivalent(file.path(), path, ignored);
  });
}

}  // namespace dsv4
