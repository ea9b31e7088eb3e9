// Ways to read a file: mapped as a whole, in parts without a map, and small ones at once.
#pragma once

#include <cstddef>
#include <cstdint>
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
  // Reads the whole file into memory now, so that later reads do not wait for it.
  void populate() const;
  // The same for a range, of which whoever looks at it later finds all bytes. Throws Error(kIo)
  // naming the byte that cannot be read: to look at one would end the program.
  void load(uint64_t offset, uint64_t size) const;
  // What load() does where the system (Linux before 5.14) cannot map a range and say what failed.
  void load_by_reading(uint64_t offset, uint64_t size) const;
  // Gives the memory of the whole pages of a range back; who looks at them reads them again.
  void release(uint64_t offset, uint64_t size) const;
  const std::filesystem::path& path() const { return path_; }

 private:
  // The whole pages of a range, as far as the file goes.
  std::span<const std::byte> pages_around(uint64_t offset, uint64_t size) const;

  std::filesystem::path path_;
  std::span<const std::byte> bytes_;
  int fd_ = -1;  // stays open for release(); -1 for an empty file
};

// Reads parts of a file into memory of the caller. Move-only; safe to use from any thread. The
// constructor throws as MappedFile does.
class FileReader {
 public:
  explicit FileReader(const std::filesystem::path& path);
  ~FileReader();
  FileReader(FileReader&& other) noexcept;
  FileReader& operator=(FileReader&& other) noexcept;

  // Fills `out` with the bytes from `offset` on. Throws Error(kIo) where the file ends before.
  void read(uint64_t offset, std::span<std::byte> out) const;

 private:
  std::filesystem::path path_;
  int fd_ = -1;
};

// The whole content of a file of at most `limit_bytes`. Throws Error(kNotFound, kIo or
// kOutOfRange).
std::string read_file(const std::filesystem::path& path, size_t limit_bytes = size_t{1} << 30);

}  // namespace dsv4
