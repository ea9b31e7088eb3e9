#include "kernels/cpu/roofs.h"

#include "kernels/cpu/kernel_table.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
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

}  // namespace

Roofs measure_roofs(ThreadPool& pool, Isa isa) {
  const KernelTable& table = kernel_table(isa);
  Roofs roofs;
  std::vector<uint32_t> sinks(static_cast<size_t>(pool.n_threads()), 1);
  const auto sink = [&](int64_t part) { return &sinks[static_cast<size_t>(part)]; };

  constexpr int64_t kBytesPerThread = int64_t{256} << 20;
  std::vector<std::byte> memory(static_cast<size_t>(kBytesPerThread * pool.n_threads()));
  const auto read = [&](int64_t part) {
    *sink(part) += table.read_roof(memory.data() + part * kBytesPerThread, kBytesPerThread);
    return static_cast<double>(kBytesPerThread);
  };
  pool.parallel_for(pool.n_threads(), 1, [&](int64_t begin, int64_t end) {  // first touch
    std::fill_n(memory.data() + begin * kBytesPerThread, (end - begin) * kBytesPerThread,
                std::byte{1});
  });
  roofs.read = best_rate(pool, 7, read);

  constexpr int64_t kRounds = 4'000'000;
  constexpr int kTries = 3;
  roofs.int8 =
      best_rate(pool, kTries, [&](int64_t p) { return table.int8_roof(kRounds, sink(p)); });
  roofs.f32 = best_rate(pool, kTries, [&](int64_t p) { return table.f32_roof(kRounds, sink(p)); });
  if (has_bf16_products()) {
    roofs.bf16 = best_rate(pool, kTries, [&](int64_t p) { return bf16_roof(kRounds, sink(p)); });
  }
  return roofs;
}

}  // namespace dsv4
