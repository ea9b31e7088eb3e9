// A checkpoint: one safetensors file, or the shards named by model.safetensors.index.json, behind
// one table of tensors. Everything stays in the mapped files; opening copies nothing.
#pragma once

#include "formats/safetensors.h"

#include <cstddef>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace dsv4 {

// A tensor as stored. Views stay valid as long as the Checkpoint lives (also after a move).
struct StoredTensor {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;
  std::span<const std::byte> data;
  size_t file = 0;      // index into Checkpoint::files()
  uint64_t offset = 0;  // of the first byte in that file
};

// Move-only; safe to read from any thread.
class Checkpoint {
 public:
  // `path` is a folder (index file, else model.safetensors, else the one *.safetensors file in it)
  // or a single .safetensors file. Throws Error(kNotFound, kIo or kInvalidInput): for an index that
  // disagrees with its shards the tensor and both files are named.
  static Checkpoint open(const std::filesystem::path& path);

  // The tensor of this name, or nullptr.
  const StoredTensor* find(std::string_view name) const;
  // All tensors, by file and offset.
  const std::vector<StoredTensor>& tensors() const { return tensors_; }
  const std::vector<MappedFile>& files() const { return files_; }
  // "FILE: tensor NAME at byte OFFSET", for errors.
  std::string describe(const StoredTensor& tensor) const;

 private:
  void add_file(const std::filesystem::path& path);
  void check_index(const std::map<std::string, std::string>& index,
                   const std::filesystem::path& index_path) const;

  std::vector<MappedFile> files_;
  std::vector<StoredTensor> tensors_;
  std::unordered_map<std::string_view, size_t> by_name_;  // keys view tensors_' names
};

}  // namespace dsv4
