#include "base/mapped_file.h"

#include "base/check.h"
#include "base/error.h"
#include "base/output_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include <fmt/core.h>

namespace dsv4 {
namespace {

// Opens a regular file without waiting (a pipe would block until it has a writer).
int open_file(const std::filesystem::path& path, struct stat& status) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) throw absent_or_io_error(path, "open");
  if (::fstat(fd, &status) != 0 || !S_ISREG(status.st_mode)) {
    ::close(fd);
    throw Error(ErrorCode::kIo, path.string(), "is not a regular file");
  }
  return fd;
}

// Of Linux 5.14 on, whatever the headers know.
constexpr int kPopulateRead = 22;

// Advice to read is cut to what the system reads at once; pieces of this size are read in full.
constexpr uint64_t kAdvisedBytes = uint64_t{128} << 10;

uint64_t page_bytes() { return static_cast<uint64_t>(::sysconf(_SC_PAGESIZE)); }

// Maps pages that are read on the way; an errno where one cannot be.
int populate_read(std::byte* begin, uint64_t size) {
  while (::madvise(begin, size, kPopulateRead) != 0) {
    if (errno != EINTR && errno != EAGAIN) return errno;
  }
  return 0;
}

struct ReadUntil {
  uint64_t n_bytes = 0;
  int error = 0;  // of what comes after them; 0 where all are read
};

// The same for systems that cannot say it: a read that fails is an error, a look is a signal.
ReadUntil read_and_touch(int fd, const std::byte* begin, uint64_t offset, uint64_t size) {
  std::byte buffer[1 << 16];
  for (uint64_t done = 0; done < size;) {
    const uint64_t n_asked = std::min<uint64_t>(size - done, sizeof(buffer));
    const ssize_t n = ::pread(fd, buffer, n_asked, static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return {done, n < 0 ? errno : EFAULT};
    done += static_cast<uint64_t>(n);
  }
  for (uint64_t i = 0; i < size; i += page_bytes()) {
    static_cast<void>(*static_cast<const volatile std::byte*>(begin + i));
  }
  return {size, 0};
}

Error page_not_read(const std::filesystem::path& path, uint64_t offset, int error) {
  return {ErrorCode::kIo, path.string(),
          fmt::format("cannot read the page at byte {}: {}", offset,
                      error == EFAULT ? "the disk failed, or the file was cut since it was opened"
                                      : std::strerror(error))};
}

}  // namespace

MappedFile::MappedFile(const std::filesystem::path& path) : path_(path) {
  struct stat status {};
  const int fd = open_file(path, status);
  const auto size = static_cast<size_t>(status.st_size);
  if (size == 0) {
    ::close(fd);
    return;
  }
  void* data = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd, 0);
  if (data == MAP_FAILED) {
    const Error error = absent_or_io_error(path, "map");
    ::close(fd);
    throw error;
  }
  fd_ = fd;
#if defined(MADV_HUGEPAGE)
  // Advice: where the file system can, what is not in memory yet is read into huge pages.
  ::madvise(data, size, MADV_HUGEPAGE);
#endif
  bytes_ = {static_cast<const std::byte*>(data), size};
}

MappedFile::~MappedFile() {
  if (!bytes_.empty()) ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
  if (fd_ >= 0) ::close(fd_);
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

std::span<const std::byte> MappedFile::pages_around(uint64_t offset, uint64_t size) const {
  CHECK(offset <= bytes_.size() && size <= bytes_.size() - offset, offset, size);
  if (size == 0) return {};
  const uint64_t page = page_bytes();
  const uint64_t begin = offset / page * page;
  const uint64_t end = std::min<uint64_t>((offset + size + page - 1) / page * page, bytes_.size());
  return bytes_.subspan(begin, end - begin);
}

void MappedFile::load(uint64_t offset, uint64_t size) const {
  const std::span<const std::byte> pages = pages_around(offset, size);
  if (pages.empty()) return;
  auto* data = const_cast<std::byte*>(pages.data());
  for (uint64_t i = 0; i < pages.size();
       i += kAdvisedBytes) {  // all are under way before one is awaited
    ::madvise(data + i, std::min(kAdvisedBytes, pages.size() - i), MADV_WILLNEED);
  }
  const int error = populate_read(data, pages.size());
  if (error == EINVAL) return load_by_reading(offset, size);
  if (error == 0) return;
  const uint64_t page = page_bytes();
  uint64_t bad = 0;  // the first page that cannot be read
  while (bad + page < pages.size() && populate_read(data + bad, page) == 0) bad += page;
  throw page_not_read(path_, static_cast<uint64_t>(data - bytes_.data()) + bad, error);
}

void MappedFile::load_by_reading(uint64_t offset, uint64_t size) const {
  const std::span<const std::byte> pages = pages_around(offset, size);
  if (pages.empty()) return;
  const auto begin = static_cast<uint64_t>(pages.data() - bytes_.data());
  const ReadUntil read = read_and_touch(fd_, pages.data(), begin, pages.size());
  if (read.error == 0) return;
  throw page_not_read(path_, (begin + read.n_bytes) / page_bytes() * page_bytes(), read.error);
}

void MappedFile::release(uint64_t offset, uint64_t size) const {
  CHECK(offset <= bytes_.size() && size <= bytes_.size() - offset, offset, size);
  const uint64_t page = page_bytes();
  const uint64_t begin = (offset + page - 1) / page * page;
  const bool to_the_end = offset + size == bytes_.size();
  const uint64_t end = to_the_end ? bytes_.size() : (offset + size) / page * page;
  if (begin >= end) return;
  // Out of the page table first: the system keeps pages that somebody has mapped.
  ::madvise(const_cast<std::byte*>(bytes_.data()) + begin, end - begin, MADV_DONTNEED);
  const uint64_t whole = (end - begin + page - 1) / page * page;
  ::posix_fadvise(fd_, static_cast<off_t>(begin), static_cast<off_t>(whole), POSIX_FADV_DONTNEED);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)),
      bytes_(std::exchange(other.bytes_, {})),
      fd_(std::exchange(other.fd_, -1)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(bytes_, other.bytes_);
  std::swap(fd_, other.fd_);
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
    if (n < 0) throw absent_or_io_error(path_, "read");
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
