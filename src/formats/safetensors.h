// The safetensors container: header parsing with full validation, and a streaming writer.
// Layout: u64 header length, JSON header, data section (little-endian, no padding).
#pragma once

#include "base/output_file.h"
#include "tensor/dtype.h"

#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace dsv4 {

// One tensor of a file; `begin` and `end` are absolute byte offsets in it.
struct TensorEntry {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;
  uint64_t begin = 0;
  uint64_t end = 0;
};

struct SafetensorsHeader {
  std::vector<TensorEntry> tensors;             // by byte offset
  std::map<std::string, std::string> metadata;  // "__metadata__"
};

// Parses and validates the header of `file` (the whole file, or at least its header, with
// `file_bytes` the size of the whole file). Every range lies inside the file, matches dtype and
// shape and overlaps no other; names are unique and printable. Bytes that belong to no tensor are
// allowed. Throws Error(kInvalidInput) naming `where`, the tensor and the byte offset.
SafetensorsHeader parse_safetensors_header(std::span<const std::byte> file, uint64_t file_bytes,
                                           const std::string& where);

// Writes one file: declare all tensors first, then append their data in the same order, then
// finish(). The file appears under its name only when finished. Throws Error(kIo).
class SafetensorsWriter {
 public:
  struct Declaration {
    std::string name;
    DType dtype;
    std::vector<int64_t> shape;
  };

  SafetensorsWriter(std::filesystem::path path, const std::vector<Declaration>& tensors,
                    const std::map<std::string, std::string>& metadata = {});

  // Of the finished file.
  static uint64_t file_bytes(const std::vector<Declaration>& tensors,
                             const std::map<std::string, std::string>& metadata = {});
  // Whether the file at `path` is what a writer of these tensors and this metadata finished.
  static bool is_written(const std::filesystem::path& path, const std::vector<Declaration>& tensors,
                         const std::map<std::string, std::string>& metadata = {});

  // Appends bytes of the data section; may be called in pieces of any size.
  void append(std::span<const std::byte> data);
  // Checks that exactly the declared bytes were appended, syncs and renames. A writer that goes
  // without it removes what it wrote.
  void finish();

 private:
  struct Layout {
    std::string header;
    uint64_t file_bytes = 0;
  };
  static Layout lay_out(const std::vector<Declaration>& tensors,
                        const std::map<std::string, std::string>& metadata);

  OutputFile file_;
  uint64_t expected_bytes_ = 0;  // of the whole file
};

}  // namespace dsv4
