// The GGUF container, version 3: typed metadata, tensor table, aligned data; and a streaming writer
// (docs/formats.md). Everything is little-endian.
#pragma once

#include "base/output_file.h"
#include "tensor/dtype.h"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace dsv4 {

enum class GgufType : uint32_t {
  kU8,
  kI8,
  kU16,
  kI16,
  kU32,
  kI32,
  kF32,
  kBool,
  kString,
  kArray,
  kU64,
  kI64,
  kF64
};

// A metadata value as stored; it views the file.
struct GgufValue {
  GgufType type = GgufType::kU8;
  GgufType element = GgufType::kU8;  // of an array
  uint64_t count = 1;                // of an array's elements
  std::span<const std::byte> bytes;  // of the value, or of an array's elements

  // Nothing where the type is another one. Integers of any width, and booleans as 0 and 1.
  std::optional<int64_t> as_integer() const;
  // Integers and floats.
  std::optional<double> as_number() const;
  std::optional<std::string_view> as_string() const;
  // Arrays; a scalar is an array of one.
  std::optional<std::vector<int64_t>> as_integers() const;
  std::optional<std::vector<double>> as_numbers() const;
  std::optional<std::vector<std::string_view>> as_strings() const;
};

struct GgufKey {
  std::string_view key;
  GgufValue value;
};

// The metadata of one file.
class GgufMetadata {
 public:
  const GgufValue* find(std::string_view key) const;
  const std::vector<GgufKey>& keys() const { return keys_; }

 private:
  friend class GgufParser;
  std::vector<GgufKey> keys_;  // in the order of the file
  std::unordered_map<std::string_view, size_t> by_key_;
};

// A tensor; `shape` has the outermost dimension first, as elsewhere in this program.
struct GgufTensor {
  std::string_view name;
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;
  uint64_t begin = 0;  // absolute
  uint64_t end = 0;
};

struct GgufHeader {
  GgufMetadata metadata;
  std::vector<GgufTensor> tensors;  // in the order of the file
  uint64_t alignment = 32;
};

// Whether the file begins as a GGUF file does.
bool is_gguf(std::span<const std::byte> file);

// Parses and validates the whole file's header; the result views `file`. Every tensor lies inside
// the file, aligned, and overlaps no other. Throws Error(kInvalidInput, kUnsupported) naming
// `where`, the key or tensor, and the byte.
GgufHeader parse_gguf(std::span<const std::byte> file, const std::string& where);

// ggml's number of a type. Throws Error(kUnsupported) for one that GGUF lacks.
uint32_t gguf_type_number(DType dtype);

// Metadata in the making. Of the key general.alignment the writer takes note.
class GgufBuilder {
 public:
  void add_u32(std::string_view key, uint32_t value);
  void add_u16(std::string_view key, uint16_t value);
  void add_f32(std::string_view key, float value);
  void add_bool(std::string_view key, bool value);
  void add_string(std::string_view key, std::string_view value);
  void add_i32s(std::string_view key, std::span<const int32_t> values);
  void add_f32s(std::string_view key, std::span<const float> values);
  void add_strings(std::string_view key, std::span<const std::string> values);
  // A value as another file has it.
  void add(std::string_view key, const GgufValue& value);

  uint64_t count() const { return count_; }
  uint64_t alignment() const { return alignment_; }
  const std::string& bytes() const { return bytes_; }

 private:
  void start(std::string_view key, GgufType type);
  void start_array(std::string_view key, GgufType element, uint64_t count);
  void put_string(std::string_view text);

  uint64_t count_ = 0;
  uint64_t alignment_ = 32;
  std::string bytes_;
};

// Writes one file: metadata and tensors are declared first, then the data of each appended in
// order, then finish(). The file appears under its name only when finished. Throws Error(kIo).
class GgufWriter {
 public:
  struct Declaration {
    std::string name;
    DType dtype;
    std::vector<int64_t> shape;  // outermost first
    uint64_t bytes() const;
  };

  GgufWriter(std::filesystem::path path, const GgufBuilder& metadata,
             const std::vector<Declaration>& tensors);
  // Goes on with a file of the same metadata and tensors that was left unfinished, from the first
  // tensor on that it has not all of; what this one writes stays too.
  static GgufWriter resume(std::filesystem::path path, const GgufBuilder& metadata,
                           const std::vector<Declaration>& tensors);
  // Of the finished file.
  static uint64_t file_bytes(const GgufBuilder& metadata, const std::vector<Declaration>& tensors);
  // Tensors that are complete.
  size_t n_written() const { return current_; }
  // Appends bytes of the current tensor, in pieces of any size; the padding between tensors is
  // added here.
  void append(std::span<const std::byte> data);
  // Checks that exactly the declared bytes were appended, syncs and renames.
  void finish();

 private:
  struct Layout {
    std::string header;  // padded
    uint64_t alignment = 32;
    std::vector<uint64_t> sizes;  // of the tensors
  };
  static Layout lay_out(const GgufBuilder& metadata, const std::vector<Declaration>& tensors);
  GgufWriter(std::filesystem::path path, Layout layout);  // resumes
  void pad();

  Layout layout_;
  OutputFile file_;
  size_t current_ = 0;      // tensor
  uint64_t in_tensor_ = 0;  // bytes of it that are written
};

}  // namespace dsv4
