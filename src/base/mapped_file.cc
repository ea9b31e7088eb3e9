#include "base/mapped_file.h"

#include "base/error.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include <fmt/core.h>

namespace dsv4 {
namespace {

Error not_read(const std::filesystem::path& path, const char* action) {
  const int number = errno;
  return Error(number == ENOENT ? ErrorCode::kNotFound : ErrorCode::kIo, path.string(),
               fmt::format("cannot {}: {}", action, std::strerror(number)));
}

// Opens a regular file without waiting (a pipe would block until it has a writer).
int open_file(const std::filesystem::path& path, struct stat& status) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) throw not_read(path, "open");
  if (::fstat(fd, &status) != 0 || !S_ISREG(status.st_mode)) {
    ::close(fd);
    throw Error(ErrorCode::kIo, path.string(), "is not a regular file");
  }
  return fd;
}

}  // namespace

MappedFile::MappedFile(const std::filesystem::path& path) : path_(path) {
  struct stat status {};
  const int fd = open_file(path, status);
  const auto size = static_cast<size_t>(status.st_size);
  void* data = size == 0 ? nullptr : ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd, 0);
  ::close(fd);
  if (data == MAP_FAILED) throw not_read(path, "map");
  if (size == 0) return;
#if defined(MADV_HUGEPAGE)
  // Advice: where the file system can, what is not in memory yet is read into huge pages.
  ::madvise(data, size, MADV_HUGEPAGE);
#endif
  bytes_ = {static_cast<const std::byte*>(data), size};
}

MappedFile::~MappedFile() {
  if (!bytes_.empty()) ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

void MappedFile::populate() const {
#if defined(MADV_POPULATE_READ)
  ::madvise(const_cast<std::byte*>(bytes_.data()), bytes_.size(), MADV_POPULATE_READ);
#endif
  // In a virtual machine the first touch of a page costs more than its entry in the page table.
  constexpr size_t kPage = 4096;
  const volatile std::byte* bytes = bytes_.data();
  for (size_t i = 0; i < bytes_.size(); i += kPage) static_cast<void>(bytes[i]);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)), bytes_(std::exchange(other.bytes_, {})) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

FileReader::FileReader(const std::filesystem::path& path) : path_(path) {
  struct stat status {};
  fd_ = open_file(path, status);
}

FileReader::~FileReader() {
  if (fd_ >= 0) ::close(fd_);
}

FileReader::FileReader(FileReader&& other) noexcept
    : path_(std::move(other.path_)), fd_(std::exchange(other.fd_, -1)) {}

FileReader& FileReader::operator=(FileReader&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(fd_, other.fd_);
  return *this;
}

void FileReader::read(uint64_t offset, std::span<std::byte> out) const {
  while (!out.empty()) {
    const ssize_t n = ::pread(fd_, out.data(), out.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) throw not_read(path_, "read");
    if (n == 0) {
      throw Error(ErrorCode::kIo, path_.string(), fmt::format("ends before byte {}", offset));
    }
    out = out.subspan(static_cast<size_t>(n));
    offset += static_cast<uint64_t>(n);
  }
}

std::string read_file(const std::filesystem::path& path, size_t limit_bytes) {
  const MappedFile file(path);
  if (file.bytes().size() > limit_bytes) {
    throw Error(ErrorCode::kOutOfRange, path.string(),
                fmt::format("has {} bytes, the limit is {}", file.bytes().size(), limit_bytes));
  }
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

}  // namespace dsv4
