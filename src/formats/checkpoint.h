// A checkpoint: one safetensors file, the shards named by model.safetensors.index.json, one GGUF
// file or the parts of a split one, behind one table of tensors. Everything stays in the mapped
// files; opening copies nothing.
#pragma once

#include "base/mapped_file.h"
#include "formats/gguf.h"
#include "formats/safetensors.h"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace dsv4 {

// The GGUF file (the first part of a split one) that a path names or that is the model of a folder;
// nothing for a safetensors model.
std::optional<std::filesystem::path> find_gguf(const std::filesystem::path& path);

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
  // `path` is a folder (index file, else model.safetensors, else the one *.safetensors or GGUF file
  // in it, split or not) or a single file, whose content tells what it is. Throws Error(kNotFound,
  // kIo, kInvalidInput or kUnsupported): for an index that disagrees with its shards the tensor and
  // both files are named.
  static Checkpoint open(const std::filesystem::path& path);

  // The tensor of this name, or nullptr.
  const StoredTensor* find(std::string_view name) const;
  // All tensors, by file and offset.
  const std::vector<StoredTensor>& tensors() const { return tensors_; }
  // Of all tensors, as stored.
  int64_t tensor_bytes() const;
  const std::vector<MappedFile>& files() const { return files_; }
  // Of a GGUF file (the first part of a split one), else nullptr.
  const GgufMetadata* gguf() const { return gguf_ ? &*gguf_ : nullptr; }

  // The same files behind another table of tensors. Throws Error(kInvalidInput) where a name occurs
  // twice.
  void replace_tensors(std::vector<StoredTensor> tensors);
  // "FILE: tensor NAME at byte OFFSET", for errors.
  std::string describe(const StoredTensor& tensor) const;

 private:
  void add_file(const std::filesystem::path& path);
  GgufMetadata add_gguf(MappedFile file);
  void add_gguf_parts(const std::filesystem::path& first);
  void index_tensors();
  void check_index(const std::map<std::string, std::string>& index,
                   const std::filesystem::path& index_path) const;

  std::vector<MappedFile> files_;
  std::optional<GgufMetadata> gguf_;
  std::vector<StoredTensor> tensors_;
  std::unordered_map<std::string_view, size_t> by_name_;  // keys view tensors_' names
};

}  // namespace dsv4
