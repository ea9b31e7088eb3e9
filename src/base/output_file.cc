#include "base/output_file.h"

#include "base/error.h"

#include <cerrno>
#include <cstring>
#include <utility>

#include <fmt/core.h>
#include <unistd.h>

namespace dsv4 {
namespace {

Error io_error(const std::string& path, const char* action) {
  return {ErrorCode::kIo, path, fmt::format("cannot {}: {}", action, std::strerror(errno))};
}

}  // namespace

OutputFile::OutputFile(std::filesystem::path path)
    : path_(std::move(path)), part_path_(path_.string() + ".part") {
  file_ = std::fopen(part_path_.c_str(), "wb");
  if (file_ == nullptr) throw io_error(part_path_, "create");
}

OutputFile::~OutputFile() {
  if (file_ != nullptr) std::fclose(file_);
  std::error_code ignored;
  std::filesystem::remove(part_path_, ignored);  // a finished file has another name
}

void OutputFile::write(std::span<const std::byte> data) {
  if (data.empty()) return;
  if (std::fwrite(data.data(), 1, data.size(), file_) != data.size()) {
    throw io_error(part_path_, "write");
  }
  written_bytes_ += data.size();
}

void OutputFile::finish() {
  const bool synced = std::fflush(file_) == 0 && ::fsync(::fileno(file_)) == 0;
  if (!synced) throw io_error(part_path_, "write");
  const bool closed = std::fclose(std::exchange(file_, nullptr)) == 0;
  if (!closed) throw io_error(part_path_, "write");
  if (std::rename(part_path_.c_str(), path_.c_str()) != 0) {
    throw io_error(path_.string(), "rename the finished file to this name");
  }
}

}  // namespace dsv4
