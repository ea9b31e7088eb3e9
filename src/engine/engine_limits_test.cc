// What happens where memory, time or a part of a request fails: only who is meant is hit, and
// nothing is lost that need not be.
#include "engine/engine_testing.h"

#include <optional>
#include <stdexcept>

namespace dsv4 {
namespace {

class EngineLimits : public EngineTest {
 protected:
  // Entries of its longest sequences take more than the rings of a state.
  EngineLimits()
      : long_model_(folder(), *ops_,
                    {.numerics = Numerics::kFast, .max_batch_tokens = 256, .context = 24'000}) {}

  int64_t bytes_of(int64_t n_tokens) const {
    return state_bytes(long_model_.state_layout(), n_tokens).total();
  }
  EngineOptions with_memory(int64_t bytes) const {
    EngineOptions result = options();
    result.state_bytes = bytes;
    result.cache.budget_bytes = bytes;
    return result;
  }
  // Goes on until it is cancelled.
  Request endless(uint64_t stream, int64_t n_prompt) const {
    Request result = request(stream, n_prompt, 1000);
    result.stop_ids.clear();
    result.stop_strings.clear();
    return result;
  }

  Model long_model_;
};

void wait_for_token(EventStream& stream) {
  std::vector<StreamEvent> events;
  const auto is_token = [](const StreamEvent& e) { return e.token.has_value(); };
  while (std::ranges::none_of(events, is_token) && stream.wait_and_take(events)) {
  }
}

TEST_F(EngineLimits, a_long_request_has_room_after_many_short_ones_at_once) {
  Engine engine(long_model_, tokenizer_, with_memory(bytes_of(6000)));
  const auto a = engine.submit(endless(2, 20)).stream;
  const auto b = engine.submit(endless(4, 20)).stream;
  wait_for_token(*a);
  wait_for_token(*b);  // both have a state
  a->cancel();
  b->cancel();
  read(*a);
  read(*b);
  Request big = request(2, 5500, 2);
  big.stop_ids.clear();
  const Outcome reply = read(*engine.submit(big).stream)[0];
  EXPECT_EQ(reply.reason, EndReason::kLength) << reply;
}

TEST_F(EngineLimits, a_prompt_is_not_begun_that_will_not_fit_beside_those_that_are) {
  Engine engine(long_model_, tokenizer_, with_memory(bytes_of(5000) * 3 / 2));
  std::vector<std::shared_ptr<EventStream>> streams;
  for (uint64_t i = 0; i < 2; ++i) {
    Request asked = request(2 * i + 2, 5000, 2);
    asked.tenant = std::string(1, static_cast<char>('a' + i));
    streams.push_back(engine.submit(asked).stream);
  }
  for (const auto& stream : streams) EXPECT_EQ(read(*stream)[0].reason, EndReason::kLength);
  engine.stop();
  EXPECT_EQ(engine.stats().n_preempted, 0);
  EXPECT_EQ(engine.stats().n_prompt_tokens, 2 * 5000);
}

TEST_F(EngineLimits, one_that_waits_for_memory_costs_the_cache_nothing) {
  Engine engine(long_model_, tokenizer_, with_memory(bytes_of(20'000)));
  const Request kept = request(6, 100, 2);
  read(*engine.submit(kept).stream);
  const auto running = engine.submit(endless(2, 20)).stream;
  wait_for_token(*running);
  const auto waiting = engine.submit(endless(4, 19'000)).stream;
  const int64_t n_steps = engine.stats().n_steps;
  while (engine.stats().n_waiting == 0 || engine.stats().n_steps < n_steps + 5) {
    wait_for_token(*running);
  }
  EXPECT_EQ(engine.stats().cache.n_evicted, 0);
  EXPECT_EQ(read(*engine.submit(kept).stream)[0].usage.n_cached, 99);
  waiting->cancel();
  running->cancel();
  read(*waiting);
  read(*running);
}

TEST_F(EngineLimits, the_cache_keeps_to_its_budget_when_all_have_ended) {
  EngineOptions tight = with_memory(int64_t{1} << 28);
  tight.cache.budget_bytes = bytes_of(0);
  Engine engine(long_model_, tokenizer_, tight);
  read(*engine.submit(request(2, 6000, 2)).stream);
  engine.stop();
  EXPECT_LE(engine.stats().cache.used_bytes, tight.cache.budget_bytes);
}

TEST_F(EngineLimits, many_that_wait_for_a_common_beginning_let_others_pass) {
  Engine engine(model_, tokenizer_, options());
  const std::vector<int32_t> shared = prompt(50, 1100);
  const auto long_request = [&](uint64_t i) {
    Request asked = request(2 * i + 2, 10, 2);
    asked.prompt.insert(asked.prompt.begin(), shared.begin(), shared.end());
    return asked;
  };
  // The step thread itself asks for all the others, before the first one's first step.
  std::vector<std::shared_ptr<EventStream>> streams;
  std::optional<int64_t> n_steps;
  const auto when_short_one_starts = [&] {
    if (!n_steps) n_steps = engine.stats().n_steps;
  };
  const auto first = engine.submit(long_request(0), [&] {
    if (!streams.empty()) return;
    for (uint64_t i = 1; i < 30; ++i) streams.push_back(engine.submit(long_request(i)).stream);
    streams.push_back(engine.submit(request(200, 10, 1), when_short_one_starts).stream);
  });
  read(*first.stream);
  for (const auto& stream : streams) read(*stream);
  ASSERT_TRUE(n_steps);
  EXPECT_LE(*n_steps, 2);  // the long one takes 18
}

// A constraint that does as it is told.
class Scripted : public TokenConstraint {
 public:
  enum class Fault { kNone, kNoClone, kNoMask, kNoToken };
  explicit Scripted(Fault fault) : fault_(fault) {}

  bool mask(std::span<uint64_t> allowed) override {
    if (fault_ == Fault::kNoMask) throw std::runtime_error("no mask");
    std::ranges::fill(allowed, fault_ == Fault::kNoToken ? uint64_t{0} : ~uint64_t{0});
    return true;
  }
  void accept(int32_t) override {}
  std::unique_ptr<TokenConstraint> clone() const override {
    if (fault_ == Fault::kNoClone) throw std::runtime_error("no clone");
    return std::make_unique<Scripted>(*this);
  }

 private:
  Fault fault_;
};

TEST_F(EngineLimits, a_constraint_that_fails_ends_its_own_request_only) {
  Engine engine(model_, tokenizer_, options());
  const Request other = request(2, 100, 40);
  for (const auto fault :
       {Scripted::Fault::kNoClone, Scripted::Fault::kNoMask, Scripted::Fault::kNoToken}) {
    const auto beside = engine.submit(other).stream;
    for (const float temperature : {0.0f, 1.0f}) {
      Request broken = request(5, 30, 7);
      broken.sampling.temperature = temperature;
      broken.constraint = std::make_shared<Scripted>(fault);
      broken.n_choices = 2;
      for (const Outcome& reply : read(*engine.submit(broken).stream, 2)) {
        EXPECT_EQ(reply.reason, EndReason::kError);
        EXPECT_FALSE(reply.error.empty());
        EXPECT_TRUE(reply.ids.empty());
      }
    }
    EXPECT_EQ(read(*beside)[0], alone(other));
  }
  engine.stop();
  EXPECT_EQ(engine.stats().n_running + engine.stats().n_waiting, 0);
}

TEST_F(EngineLimits, choices_that_wait_share_the_prompt) {
  auto asked = std::make_shared<const Request>(request(2, 100, 5));
  const auto stream = std::make_shared<EventStream>(nullptr);
  Sequence one(asked, stream, 0, tokenizer_, 1200);
  const Sequence other(asked, stream, 1, tokenizer_, 1200);
  EXPECT_EQ(&one.tokens(), &asked->prompt);
  EXPECT_EQ(&other.tokens(), &asked->prompt);
  SamplingScratch scratch;
  const std::vector<float> logits(static_cast<size_t>(model_.config().vocab_size));
  one.extend(logits, scratch);
  EXPECT_EQ(one.n_tokens(), 101);
  EXPECT_EQ(other.n_tokens(), 100);
}

TEST_F(EngineLimits, an_answer_follows_closed_reasoning_where_a_constraint_lets_it_end_too) {
  Engine engine(model_, tokenizer_, options());
  Request thinking = request(4, 60, 40);
  thinking.stop_ids = {3};
  thinking.sampling.logit_bias[3] = 1000;
  thinking.thinking = {.tokens = 10, .closing = {7}};
  thinking.constraint = std::make_shared<Scripted>(Scripted::Fault::kNone);
  const Outcome answer = read(*engine.submit(thinking).stream)[0];
  ASSERT_EQ(answer.ids.size(), 3u) << answer;
  EXPECT_EQ(answer.ids[0], 7);
  EXPECT_NE(answer.ids[1], 3);
  EXPECT_EQ(answer.ids[2], 3);
}

TEST_F(EngineLimits, refuses_ids_of_the_request_that_the_model_does_not_have) {
  Engine engine(model_, tokenizer_, options());
  for (const int32_t id : {-1, 1280, 1 << 30}) {
    Request asked = request(2, 10, 2);
    asked.stop_ids = {1, id};
    EXPECT_THROW(engine.submit(asked), Error) << id;
    asked.stop_ids = {};
    asked.thinking = {.tokens = 1, .closing = {id}};
    EXPECT_THROW(engine.submit(asked), Error) << id;
  }
  Request never_closed = request(2, 10, 2);
  never_closed.thinking = {.tokens = 1};
  EXPECT_THROW(engine.submit(never_closed), Error);
}

TEST_F(EngineLimits, all_choices_end_when_time_is_over_or_the_reader_leaves) {
  Engine engine(model_, tokenizer_, options());
  Request late = endless(2, 1000);
  late.n_choices = 5;
  const auto left = engine.submit(late).stream;
  late.deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(20);
  const auto timed = engine.submit(late).stream;
  for (const Outcome& reply : read(*timed, 5)) EXPECT_EQ(reply.reason, EndReason::kDeadline);
  left->cancel();
  for (const Outcome& reply : read(*left, 5)) EXPECT_EQ(reply.reason, EndReason::kCancelled);
  engine.stop();
  EXPECT_EQ(engine.stats().n_running + engine.stats().n_waiting, 0);
}

}  // namespace
}  // namespace dsv4
