// A file that appears under its name only when it is finished: written beside it as ".part", then
// synced and renamed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <span>
#include <string>

namespace dsv4 {

// Used by one thread at a time. All functions throw Error(kIo).
class OutputFile {
 public:
  explicit OutputFile(std::filesystem::path path);
  // Removes what was written unless it was finished.
  ~OutputFile();
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  void write(std::span<const std::byte> data);
  void finish();

  uint64_t written_bytes() const { return written_bytes_; }

 private:
  std::filesystem::path path_;
  std::string part_path_;
  std::FILE* file_ = nullptr;
  uint64_t written_bytes_ = 0;
};

}  // namespace dsv4
