// The model that is quantised: every tensor of its checkpoint, whatever its format, in the order of
// the table of tensors.
#pragma once

#include "formats/checkpoint.h"
#include "model/config.h"
#include "model/tensor_specs.h"
#include "model/weights.h"

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace dsv4 {

// Of embedding, head and the final norm.
inline constexpr int64_t kNoLayer = -1;

struct SourceTensor {
  TensorSpec spec;
  int64_t layer = kNoLayer;             // n_layers for the MTP block
  QuantMatrix matrix;                   // vectors have one row; not of a token map
  const StoredTensor* table = nullptr;  // of a token map
};

// Owns the mapped checkpoint, which the tensors view.
class SourceModel {
 public:
  // `path` is a folder or file of any format. Throws Error for anything wrong with its files.
  explicit SourceModel(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return path_; }
  const ModelConfig& config() const { return config_; }
  const Checkpoint& checkpoint() const { return checkpoint_; }
  const std::vector<SourceTensor>& tensors() const { return tensors_; }
  int64_t bytes() const;
  // Of the configuration, of names, types, shapes and places of all tensors, and of a few bytes of
  // some of them.
  uint64_t sample_hash() const;
  // Whether `path` is the model's folder or one of its files.
  bool is_part_of(const std::filesystem::path& path) const;

 private:
  void add(std::vector<TensorSpec> specs, int64_t layer,
           const std::map<std::string, QuantMatrix>& matrices);

  std::filesystem::path path_;
  ModelConfig config_;
  Checkpoint checkpoint_;
  std::vector<SourceTensor> tensors_;
};

}  // namespace dsv4
