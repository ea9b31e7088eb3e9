#include "bench/disk_bench.h"

#include "base/error.h"
#include "base/output_file.h"
#include "base/rng.h"
#include "bench/timing.h"
#include "synth/block_values.h"
#include "tensor/tensor.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <thread>
#include <vector>

#include <fmt/core.h>

namespace dsv4 {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int64_t kAlignment = 4096;  // of direct reads: enough for all devices

// Memory that direct reads may go to.
class AlignedBlock {
 public:
  explicit AlignedBlock(int64_t size) : memory_({size + kAlignment}) {
    const auto address = reinterpret_cast<uintptr_t>(memory_.view().data());
    data_ = memory_.view().data() + (kAlignment - address % kAlignment) % kAlignment;
    std::fill_n(data_, size, std::byte{0});  // first touch
  }
  std::byte* data() const { return data_; }

 private:
  Tensor<std::byte, 1> memory_;
  std::byte* data_;
};

// A file that blocks are read from.
class BlockFile {
 public:
  explicit BlockFile(const DiskPlan& plan) : plan_(plan) {
    if (!plan.file.empty()) {
      open();
    } else if (!plan.folder.empty()) {
      make();
    } else {
      throw Error(ErrorCode::kInvalidInput, "disk", "needs a file or a folder to measure in");
    }
    try {
      prepare();
    } catch (...) {
      ::close(fd_);
      throw;
    }
  }
  ~BlockFile() { ::close(fd_); }
  BlockFile(const BlockFile&) = delete;
  BlockFile& operator=(const BlockFile&) = delete;

  const std::string& name() const { return name_; }
  bool direct() const { return direct_; }
  int64_t size() const { return size_; }
  int64_t block_bytes() const { return block_; }
  // Places where a block may begin.
  int64_t n_places() const { return (size_ - block_) / kAlignment + 1; }

  // Returns 0 or what errno says. Safe to use from any thread.
  int read(int64_t place, std::byte* out) const {
    const int64_t offset = place * kAlignment;
    for (int64_t done = 0; done < block_;) {
      const ssize_t n = ::pread(fd_, out + done, static_cast<size_t>(block_ - done), offset + done);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return errno;
      if (n == 0) return EIO;  // the file became shorter
      done += n;
    }
    return 0;
  }

  // Blocks that are not read past the page cache must not stay in it.
  void forget(int64_t place) const {
    if (!direct_) ::posix_fadvise(fd_, place * kAlignment, block_, POSIX_FADV_DONTNEED);
  }

 private:
  void open() {
    name_ = plan_.file.string();
    fd_ = ::open(plan_.file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd_ < 0) throw absent_or_io_error(name_, "open");
  }

  // A file that has no name any more when this returns, so that nothing is left of it whatever
  // happens.
  void make() {
    name_ = (plan_.folder / "dsv4-disk-XXXXXX").string();
    fd_ = ::mkostemp(name_.data(), O_CLOEXEC);
    if (fd_ < 0) throw absent_or_io_error(plan_.folder, "create a file");
    ::unlink(name_.c_str());
    try {
      write();
    } catch (...) {
      ::close(fd_);
      throw;
    }
  }

  void write() {
    constexpr int64_t kPiece = int64_t{1} << 20;
    const auto free = static_cast<int64_t>(free_disk_bytes(plan_.folder));
    const int64_t size = std::min(plan_.file_bytes, free / 4) / kPiece * kPiece;
    if (size == 0) {
      throw Error(ErrorCode::kOutOfRange, plan_.folder.string(),
                  fmt::format("has {} bytes free, too few to measure the disk with", free));
    }
    // Random, for file systems that compress.
    std::vector<std::byte> piece(static_cast<size_t>(kPiece));
    fill_blocks({1, 1}, BlockTemplate{{0xFF}, {0}}, 0, piece);
    const Clock::time_point start = Clock::now();
    for (int64_t done = 0; done < size;) {
      const auto at = static_cast<size_t>(done % kPiece);
      const ssize_t n = ::write(fd_, piece.data() + at, piece.size() - at);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) throw io_error(plan_.folder, "write a file");
      done += n;
      if (done % (16 * kPiece) != 0) continue;
      if (::fdatasync(fd_) != 0) throw io_error(plan_.folder, "write a file");
      if (seconds_since(start) > plan_.write_seconds) break;
    }
    if (::fsync(fd_) != 0) throw io_error(plan_.folder, "write a file");
  }

  void prepare() {
    struct stat status {};
    if (::fstat(fd_, &status) != 0) throw io_error(name_, "read the size");
    size_ = status.st_size;
    if (!S_ISREG(status.st_mode) || size_ < kAlignment) {
      throw Error(ErrorCode::kOutOfRange, name_,
                  fmt::format("expected a file of at least {} bytes", kAlignment));
    }
    block_ = std::min(std::max(plan_.block_bytes, kAlignment), size_) / kAlignment * kAlignment;
    // Some file systems refuse the flag, others the first read with it.
    const int flags = ::fcntl(fd_, F_GETFL);
    direct_ = ::fcntl(fd_, F_SETFL, flags | O_DIRECT) == 0;
    if (direct_ && read(0, AlignedBlock(block_).data()) != 0) {
      direct_ = false;
      ::fcntl(fd_, F_SETFL, flags);
    }
    if (direct_) return;
    ::posix_fadvise(fd_, 0, 0, POSIX_FADV_RANDOM);
    ::posix_fadvise(fd_, 0, 0, POSIX_FADV_DONTNEED);
  }

  const DiskPlan& plan_;
  std::string name_;
  int fd_ = -1;
  bool direct_ = false;
  int64_t size_ = 0;
  int64_t block_ = 0;
};

struct Reads {
  double bytes_per_second = 0;
  Median seconds;  // of one read
};

Reads read_blocks(const BlockFile& file, int n_threads, double seconds) {
  std::atomic<int> error{0};
  std::mutex mutex;
  std::vector<double> times;  // of all threads
  std::vector<AlignedBlock> blocks;
  for (int i = 0; i < n_threads; ++i) blocks.emplace_back(file.block_bytes());
  const Clock::time_point start = Clock::now();
  const auto read = [&](int thread) {
    std::vector<double> own;
    const auto n_places = static_cast<uint64_t>(file.n_places());
    const auto stream = static_cast<uint64_t>(64 * n_threads + thread);  // other places each time
    for (uint64_t i = 0; error == 0 && (i == 0 || seconds_since(start) < seconds); ++i) {
      const auto place = static_cast<int64_t>(random_bits(1, stream, i) % n_places);
      const Clock::time_point begin = Clock::now();
      const int failed = file.read(place, blocks[static_cast<size_t>(thread)].data());
      own.push_back(seconds_since(begin));
      if (failed != 0) error = failed;
      file.forget(place);
    }
    const std::lock_guard lock(mutex);
    times.insert(times.end(), own.begin(), own.end());
  };
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < n_threads; ++i) threads.emplace_back(read, i);
  }
  const double elapsed = seconds_since(start);
  if (error != 0) throw io_error(file.name(), "read", error);
  const double bytes = static_cast<double>(file.block_bytes()) * static_cast<double>(times.size());
  return {bytes / elapsed, median(std::move(times))};
}

}  // namespace

std::string DiskMeasurement::text() const {
  return fmt::format(
      "blocks of {} KiB at random places of {} MiB, {}: {:.2f} GB/s with several threads, {:.2f} "
      "with one (a block in {:.2f} ms, spread {:.0f}%)",
      block_bytes >> 10, file_bytes >> 20,
      direct ? "past the page cache" : "through the page cache, which was asked to forget them",
      rates.read * 1e-9, read_alone * 1e-9, block_s * 1e3, spread * 100);
}

DiskMeasurement bench_disk(const DiskPlan& plan) {
  const BlockFile file(plan);
  const Reads alone = read_blocks(file, 1, plan.seconds);
  const Reads together = read_blocks(file, plan.n_threads, plan.seconds);
  DiskMeasurement result{.read_alone = alone.bytes_per_second,
                         .block_s = alone.seconds.value,
                         .spread = alone.seconds.spread,
                         .direct = file.direct(),
                         .block_bytes = file.block_bytes(),
                         .file_bytes = file.size()};
  constexpr double kShortest = 1e-6;  // no request takes less
  result.rates.read = std::max(alone.bytes_per_second, together.bytes_per_second);
  const double bytes_s = static_cast<double>(file.block_bytes()) / result.rates.read;
  result.rates.latency_s = std::max(kShortest, alone.seconds.value - bytes_s);
  return result;
}

}  // namespace dsv4
