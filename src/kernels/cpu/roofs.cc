#include "kernels/cpu/roofs.h"

#include "kernels/cpu/kernel_table.h"

#include <sys/mman.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <new>
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

constexpr int64_t kBytesPerThread = int64_t{256} << 20;

// Memory in large pages where the system has them, so that translations do not count.
std::span<std::byte> map_memory(int64_t n_bytes) {
  const auto size = static_cast<size_t>(n_bytes);
  void* memory = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  ::madvise(memory, size, MADV_HUGEPAGE);
  return {static_cast<std::byte*>(memory), size};
}

}  // namespace

RoofMeter::RoofMeter(ThreadPool& pool, Isa isa)
    : pool_(pool),
      isa_(isa),
      memory_(map_memory(kBytesPerThread * pool.n_threads())),
      sinks_(static_cast<size_t>(pool.n_threads()), 1) {
  pool_.parallel_for(pool_.n_threads(), 1, [&](int64_t begin, int64_t end) {  // first touch
    std::fill_n(memory_.data() + begin * kBytesPerThread, (end - begin) * kBytesPerThread,
                std::byte{1});
  });
}

RoofMeter::~RoofMeter() { ::munmap(memory_.data(), memory_.size()); }

Roofs RoofMeter::measure() {
  const KernelTable& table = kernel_table(isa_);
  constexpr int kTries = 3;
  constexpr int64_t kRounds = 1'000'000;
  const auto rate_of = [&](double (*products)(int64_t, uint32_t*)) {
    return best_rate(pool_, kTries, [&](int64_t part) {
      return products(kRounds, &sinks_[static_cast<size_t>(part)]);
    });
  };
  Roofs roofs;
  roofs.read = best_rate(pool_, kTries, [&](int64_t part) {
    sinks_[static_cast<size_t>(part)] +=
        table.read_roof(memory_.data() + part * kBytesPerThread, kBytesPerThread);
    return static_cast<double>(kBytesPerThread);
  });
  roofs.int8 = rate_of(table.int8_roof);
  roofs.f32 = rate_of(table.f32_roof);
  if (has_bf16_products()) roofs.bf16 = rate_of(bf16_roof);
  return roofs;
}

}  // namespace dsv4
