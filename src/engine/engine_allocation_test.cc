// No allocation in a warm step: what the step thread and the threads of the operations take from
// the heap while many replies go on. Tensors and pages are not counted; they have tests of their
// own.
#include "engine/engine_testing.h"

#include <atomic>
#include <cstdlib>
#include <new>
#include <thread>

// Sanitizers have allocators of their own.
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)

namespace {

std::atomic<bool> counting{false};
std::atomic<int64_t> n_allocations{0};
thread_local bool is_reader = false;  // whose allocations are not counted

}  // namespace

[[gnu::noinline]] void* operator new(std::size_t n) {
  if (counting.load(std::memory_order_relaxed) && !is_reader) ++n_allocations;
  if (void* memory = std::malloc(n)) return memory;
  throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }

namespace dsv4 {
namespace {

// Tokens of so few bytes that strings hold them within themselves.
class ShortTokens : public TokenConstraint {
 public:
  explicit ShortTokens(const Tokenizer& tokenizer, int64_t vocab_size)
      : words_(static_cast<size_t>(vocab_size + 63) / 64) {
    for (int32_t id = 10; id < vocab_size; ++id) {
      if (tokenizer.token_bytes(id).size() > 3) continue;
      words_[static_cast<size_t>(id) / 64] |= uint64_t{1} << (id % 64);
    }
  }
  bool mask(std::span<uint64_t> allowed) override {
    std::ranges::copy(words_, allowed.begin());
    return true;
  }
  void accept(int32_t) override {}
  std::unique_ptr<TokenConstraint> clone() const override {
    return std::make_unique<ShortTokens>(*this);
  }

 private:
  std::vector<uint64_t> words_;
};

TEST_F(EngineTest, takes_next_to_nothing_from_the_heap_in_a_warm_step) {
  is_reader = true;
  Engine engine(model_, tokenizer_, options());
  std::vector<std::shared_ptr<EventStream>> streams;
  for (uint64_t i = 0; i < 8; ++i) {
    Request asked = request(i, 40, 1000);
    asked.stop_ids.clear();
    asked.stop_strings = {"no such text"};
    asked.constraint = std::make_shared<ShortTokens>(tokenizer_, model_.config().vocab_size);
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
  // What is left: lists of events that grow while the reader is slow.
  EXPECT_LT(per_step, 0.5) << n_allocations << " in steps of 8 tokens";
}

}  // namespace
}  // namespace dsv4

#endif
