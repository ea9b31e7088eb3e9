// No allocation in a warm step: what the step thread and the threads of the operations take from
// the heap while many replies go on.
#include "engine/engine_testing.h"

#include <atomic>
#include <cstdlib>
#include <new>
#include <thread>

#include <execinfo.h>
namespace {

std::atomic<bool> counting{false};
std::atomic<int64_t> n_allocations{0};
thread_local bool is_reader = false;
std::atomic<int> n_shown{0};

}  // namespace

[[gnu::noinline]] void* operator new(std::size_t n) {
  if (counting.load(std::memory_order_relaxed) && !is_reader) {
    n_allocations.fetch_add(1, std::memory_order_relaxed);
    if (n_shown.fetch_add(1) < 400) {
      void* f[14];
      int k = backtrace(f, 14);
      is_reader = true;
      backtrace_symbols_fd(f, k, 2);
      (void)!write(2, "--\n", 3);
      is_reader = false;
    }
  }
  if (void* memory = std::malloc(n)) return memory;
  throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }

namespace dsv4 {
namespace {

TEST_F(EngineTest, takes_nothing_from_the_heap_in_a_warm_step) {
  is_reader = true;
  Engine engine(model_, tokenizer_, options());
  std::vector<std::shared_ptr<EventStream>> streams;
  for (uint64_t i = 0; i < 8; ++i) {
    Request asked = request(i, 40, 1000);
    asked.stop_ids.clear();
    asked.stop_strings = {"no such text"};
    streams.push_back(engine.submit(asked).stream);
  }
  std::vector<StreamEvent> events;
  const auto read_until = [&](int64_t n_steps) {
    while (engine.stats().n_steps < n_steps) {
      for (const auto& stream : streams) stream->take(events);
      events.clear();
      std::this_thread::yield();
    }
    return engine.stats().n_steps;
  };
  const int64_t begin = read_until(600);
  counting = true;
  const int64_t end = read_until(begin + 200);
  counting = false;
  for (const auto& stream : streams) stream->cancel();
  engine.stop();
  const double per_step =
      static_cast<double>(n_allocations.load()) / static_cast<double>(end - begin);
  RecordProperty("allocations_per_step", std::to_string(per_step));
  EXPECT_LT(per_step, 0.5) << "of 8 replies";
}

}  // namespace
}  // namespace dsv4
