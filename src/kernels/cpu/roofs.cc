#include "kernels/cpu/roofs.h"

#include "kernels/cpu/kernel_table.h"

#include <sys/mman.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <new>
#include <optional>
#include <vector>

namespace dsv4 {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// The best rate of several tries of body(part), which returns the work done by one thread.
template <typename Body>
double best_rate(ThreadPool& pool, int n_tries, const Body& body) {
  std::vector<double> work(static_cast<size_t>(pool.n_threads()));
  double best = 0;
  for (int i = 0; i < n_tries; ++i) {
    const Clock::time_point start = Clock::now();
    pool.parallel_for(pool.n_threads(), 1, [&](int64_t begin, int64_t end) {
      for (int64_t part = begin; part < end; ++part) work[static_cast<size_t>(part)] = body(part);
    });
    double sum = 0;
    for (const double w : work) sum += w;
    best = std::max(best, sum / seconds_since(start));
  }
  return best;
}

constexpr int kTries = 3;

// First touch of what the i-th thread reads, bytes(i), at the start of its `stride` bytes.
template <typename Bytes>
void touch(ThreadPool& pool, const RoofMemory& memory, int64_t stride, const Bytes& bytes) {
  pool.parallel_for(pool.n_threads(), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      std::fill_n(memory.data() + i * stride, bytes(i), std::byte{1});
    }
  });
}

// The rate at which the threads read so many bytes each.
double read_roof(ThreadPool& pool, Isa isa, const RoofMemory& memory, int64_t stride,
                 int64_t bytes_per_thread, std::span<uint32_t> sinks) {
  const KernelTable& table = kernel_table(isa);
  return best_rate(pool, kTries, [&](int64_t part) {
    sinks[static_cast<size_t>(part)] +=
        table.read_roof(memory.data() + part * stride, bytes_per_thread);
    return static_cast<double>(bytes_per_thread);
  });
}

}  // namespace

int64_t roof_bytes_per_thread(int n_threads, int64_t most) {
  constexpr int64_t kTogether = int64_t{4} << 30;
  constexpr int64_t kPage = 4096;
  return std::min(most, std::max(kTogether / n_threads / kPage * kPage, kPage));
}

RoofMemory::RoofMemory(int64_t n_bytes) {
  const auto size = static_cast<size_t>(n_bytes);
  void* memory = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  ::madvise(memory, size, MADV_HUGEPAGE);
  bytes_ = {static_cast<std::byte*>(memory), size};
}

RoofMemory::~RoofMemory() { ::munmap(bytes_.data(), bytes_.size()); }

RoofMeter::RoofMeter(ThreadPool& pool, Isa isa, int64_t bytes_per_thread)
    : pool_(pool),
      isa_(isa),
      bytes_per_thread_(roof_bytes_per_thread(pool.n_threads(), bytes_per_thread)),
      memory_(bytes_per_thread_ * pool.n_threads()),
      sinks_(static_cast<size_t>(pool.n_threads()), 1) {
  touch(pool_, memory_, bytes_per_thread_, [&](int64_t) { return bytes_per_thread_; });
}

Roofs RoofMeter::measure() {
  const KernelTable& table = kernel_table(isa_);
  constexpr int64_t kRounds = 1'000'000;
  const auto rate_of = [&](double (*products)(int64_t, uint32_t*)) {
    return best_rate(pool_, kTries, [&](int64_t part) {
      return products(kRounds, &sinks_[static_cast<size_t>(part)]);
    });
  };
  Roofs roofs;
  roofs.read = read_roof(pool_, isa_, memory_, bytes_per_thread_, bytes_per_thread_, sinks_);
  roofs.int8 = rate_of(table.int8_roof);
  roofs.f32 = rate_of(table.f32_roof);
  if (has_bf16_products()) roofs.bf16 = rate_of(bf16_roof);
  return roofs;
}

std::vector<double> read_roofs_by_threads(const ThreadOptions& options, Isa isa,
                                          int64_t bytes_per_thread) {
  std::vector<double> rates;
  std::optional<ThreadPool> pool(options);
  const int n = pool->n_threads();
  const RoofMemory memory(bytes_per_thread * n);  // those for few threads use more of each part
  const auto bytes_with = [&](int n_threads) {
    return roof_bytes_per_thread(n_threads, bytes_per_thread);
  };
  touch(*pool, memory, bytes_per_thread,
        [&](int64_t i) { return bytes_with(static_cast<int>(i) + 1); });
  std::vector<uint32_t> sinks(static_cast<size_t>(n));
  for (int n_threads = n; n_threads > 0; --n_threads) {
    pool.reset();  // before the next one asks which cores it may use
    pool.emplace(ThreadOptions{.n_threads = n_threads, .pin = options.pin});
    rates.push_back(read_roof(*pool, isa, memory, bytes_per_thread, bytes_with(n_threads), sinks));
  }
  std::ranges::reverse(rates);
  return rates;
}

}  // namespace dsv4
