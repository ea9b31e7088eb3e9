// GGUF files put together by hand, byte by byte as docs/formats.md has them, for tests of what
// reads and writes them. Nothing here uses the writer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace dsv4 {

// The bytes of a number, and of numbers one behind the other.
template <typename T>
std::string raw(T value) {
  return std::string(reinterpret_cast<const char*>(&value), sizeof(value));
}
template <typename T>
std::string raws(std::initializer_list<T> values) {
  std::string bytes;
  for (const T value : values) bytes += raw(value);
  return bytes;
}

inline std::string gguf_text(std::string_view text) {
  return raw(uint64_t{text.size()}) + std::string(text);
}

// A key with a value of ggml's type number; of an array with the number of its elements' type.
inline std::string gguf_key(std::string_view key, uint32_t type, const std::string& value) {
  return gguf_text(key) + raw(type) + value;
}
inline std::string gguf_array(std::string_view key, uint32_t element, uint64_t count,
                              const std::string& values) {
  return gguf_key(key, 9, raw(element) + raw(count) + values);
}
inline std::string gguf_u32(std::string_view key, uint32_t value) {
  return gguf_key(key, 4, raw(value));
}

// `ne` has the contiguous dimension first, as the file does.
inline std::string gguf_tensor(std::string_view name, const std::vector<int64_t>& ne, uint32_t type,
                               uint64_t offset) {
  std::string bytes = gguf_text(name) + raw(static_cast<uint32_t>(ne.size()));
  for (const int64_t extent : ne) bytes += raw(extent);
  return bytes + raw(type) + raw(offset);
}

// A whole file: keys and tensors by the functions above, and the data section.
inline std::string gguf_file(const std::vector<std::string>& keys,
                             const std::vector<std::string>& tensors, const std::string& data,
                             size_t alignment = 32) {
  std::string file = "GGUF" + raw(uint32_t{3}) + raw(uint64_t{tensors.size()});
  file += raw(uint64_t{keys.size()});
  for (const std::string& key : keys) file += key;
  for (const std::string& tensor : tensors) file += tensor;
  if (!tensors.empty()) file.resize((file.size() + alignment - 1) / alignment * alignment);
  return file + data;
}

inline std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text));
}

}  // namespace dsv4
