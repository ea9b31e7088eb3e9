#include "base/output_file.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/file.h>
#include <unistd.h>

namespace dsv4 {
namespace {

bool begins_with(std::FILE* file, std::span<const std::byte> start) {
  std::vector<std::byte> bytes(start.size());
  const size_t n = std::fread(bytes.data(), 1, bytes.size(), file);
  return n == start.size() && std::ranges::equal(bytes, start);
}

Error refused(ErrorCode code, const std::filesystem::path& path, const char* action, int number) {
  return {code, path.string(), fmt::format("cannot {}: {}", action, std::strerror(number))};
}

}  // namespace

Error io_error(const std::filesystem::path& path, const char* action, int number) {
  return refused(ErrorCode::kIo, path, action, number);
}

Error absent_or_io_error(const std::filesystem::path& path, const char* action, int number) {
  return refused(number == ENOENT ? ErrorCode::kNotFound : ErrorCode::kIo, path, action, number);
}

OutputFile::OutputFile(std::filesystem::path path)
    : path_(std::move(path)), part_path_(path_.string() + ".part") {
  file_ = std::fopen(part_path_.c_str(), "wb");
  if (file_ == nullptr) throw io_error(part_path_, "create");
}

OutputFile::OutputFile(std::filesystem::path path, std::span<const std::byte> start)
    : path_(std::move(path)), part_path_(path_.string() + ".part"), stays_(true) {
  const int fd = ::open(part_path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (fd < 0) throw io_error(part_path_, "create");
  file_ = ::fdopen(fd, "r+b");
  if (file_ == nullptr) {
    ::close(fd);
    throw io_error(part_path_, "open");
  }
  if (::flock(fd, LOCK_EX | LOCK_NB) != 0) {  // held until the file is closed
    std::fclose(file_);
    throw Error(ErrorCode::kIo, part_path_, "is being written by another run");
  }
  if (begins_with(file_, start)) {
    std::fseek(file_, 0, SEEK_END);
    written_bytes_ = static_cast<uint64_t>(::ftello(file_));
    return;
  }
  truncate(0);
  write(start);
}

OutputFile::~OutputFile() {
  if (file_ != nullptr) std::fclose(file_);
  if (stays_) return;
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

void OutputFile::truncate(uint64_t size) {
  const auto offset = static_cast<off_t>(size);
  if (std::fflush(file_) != 0 || ::ftruncate(::fileno(file_), offset) != 0 ||
      ::fseeko(file_, offset, SEEK_SET) != 0) {
    throw io_error(part_path_, "truncate");
  }
  written_bytes_ = size;
}

void OutputFile::finish() {
  const bool synced = std::fflush(file_) == 0 && ::fsync(::fileno(file_)) == 0;
  if (!synced) throw io_error(part_path_, "write");
  const bool closed = std::fclose(std::exchange(file_, nullptr)) == 0;
  if (!closed) throw io_error(part_path_, "write");
  if (std::rename(part_path_.c_str(), path_.c_str()) != 0) {
    throw io_error(path_, "rename the finished file to this name");
  }
}

uint64_t free_disk_bytes(const std::filesystem::path& path) {
  std::error_code error;
  std::filesystem::path existing = std::filesystem::absolute(path);
  while (!std::filesystem::exists(existing, error) && existing.has_relative_path()) {
    existing = existing.parent_path();
  }
  const std::filesystem::space_info space = std::filesystem::space(existing, error);
  if (!error) return space.available;
  throw Error(ErrorCode::kIo, existing.string(),
              fmt::format("cannot read the free space: {}", error.message()));
}

}  // namespace dsv4
