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

struct SourceTensor {
  TensorSpec spec;
  int64_t layer = 0;                    // of the main layers; 0 for others
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
  // Of the configuration and the names, types, shapes and places of all tensors, not their values.
  uint64_t table_hash() const;

 private:
  void add(std::vector<TensorSpec> specs, int64_t layer,
           const std::map<std::string, QuantMatrix>& matrices);

  std::filesystem::path path_;
  ModelConfig config_;
  Checkpoint checkpoint_;
  std::vector<SourceTensor> tensors_;
};

}  // namespace dsv4
