// A file that appears under its name only when it is finished: written beside it as ".part", then
// synced and renamed.
#pragma once

#include "base/error.h"

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <span>
#include <string>

namespace dsv4 {

// What the system refused, just now unless errno was `number`: Error(kIo) "cannot `action`: ...".
Error io_error(const std::filesystem::path& path, const char* action, int number = errno);
// The same, but kNotFound where there is nothing of this name.
Error absent_or_io_error(const std::filesystem::path& path, const char* action, int number = errno);

// Used by one thread at a time. All functions throw Error(kIo).
class OutputFile {
 public:
  explicit OutputFile(std::filesystem::path path);
  // A file whose first bytes are `start`, of long work: what was written of it stays when the work
  // stops, and is gone on with if the file that is there begins so too (written_bytes() tells).
  OutputFile(std::filesystem::path path, std::span<const std::byte> start);
  // Removes what was written unless it was finished or can be gone on with.
  ~OutputFile();
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  void write(std::span<const std::byte> data);
  // Forgets what was written from byte `size` on.
  void truncate(uint64_t size);
  void finish();

  uint64_t written_bytes() const { return written_bytes_; }

 private:
  std::filesystem::path path_;
  std::string part_path_;
  bool stays_ = false;
  std::FILE* file_ = nullptr;
  uint64_t written_bytes_ = 0;
};

// Bytes that the disk of a path, which need not exist yet, has free. Throws Error(kIo).
uint64_t free_disk_bytes(const std::filesystem::path& path);

}  // namespace dsv4
