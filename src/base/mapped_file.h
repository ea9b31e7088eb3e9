// Read-only view of a whole file, and a reader of small files.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>

namespace dsv4 {

// Maps a file into memory for its lifetime; nothing is copied. Move-only; safe to read from any
// thread. Throws Error(kNotFound or kIo) when the file cannot be opened or mapped.
class MappedFile {
 public:
  explicit MappedFile(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;

  std::span<const std::byte> bytes() const { return bytes_; }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
  std::span<const std::byte> bytes_;
};

// The whole content of a file of at most `limit_bytes`. Throws Error(kNotFound, kIo or
// kOutOfRange).
std::string read_file(const std::filesystem::path& path, size_t limit_bytes = size_t{1} << 30);

}  // namespace dsv4
