#include "engine/engine.h"

#include "engine/engine_testing.h"

namespace dsv4 {
namespace {

TEST_F(EngineTest, gives_each_of_many_what_it_would_get_alone) {
  std::vector<Request> requests;
  for (uint64_t i = 0; i < 20; ++i) {
    requests.push_back(request(i, 1 + static_cast<int64_t>(i * 37 % 300)));
  }
  std::vector<Outcome> expected;
  for (const Request& r : requests) expected.push_back(alone(r));
  Engine engine(model_, tokenizer_, options());
  for (int round = 0; round < 3; ++round) {  // the later ones from the cache
    std::vector<std::shared_ptr<EventStream>> streams;
    for (const Request& r : requests) streams.push_back(engine.submit(r).stream);
    for (size_t i = 0; i < requests.size(); ++i) {
      const Outcome reply = read(*streams[i])[0];
      EXPECT_EQ(reply, expected[i]) << i << " in round " << round;
      if (round > 0) {
        EXPECT_EQ(reply.usage.n_cached, std::ssize(requests[i].prompt) - 1);
      }
    }
  }
}

TEST_F(EngineTest, gives_the_same_when_memory_is_short_and_states_are_taken_away) {
  std::vector<Request> requests;
  for (uint64_t i = 0; i < 8; ++i) {
    requests.push_back(request(i, 200, 150));
    if (i % 2 == 0) continue;
    requests.back().stop_ids.clear();
    requests.back().stop_strings.clear();
  }
  std::vector<Outcome> expected;
  for (const Request& r : requests) expected.push_back(alone(r));
  EngineOptions tight = options();
  // Three begin; behind token 256 each needs more pages.
  const int64_t one = state_bytes(model_.state_layout(), 250).total();
  tight.state_bytes = one * 3;
  tight.cache.budget_bytes = one;
  Engine engine(model_, tokenizer_, tight);
  std::vector<std::shared_ptr<EventStream>> streams;
  for (const Request& r : requests) streams.push_back(engine.submit(r).stream);
  for (size_t i = 0; i < requests.size(); ++i) {
    EXPECT_EQ(read(*streams[i])[0], expected[i]) << i;
  }
  engine.stop();
  EXPECT_LE(engine.stats().state_bytes, tight.state_bytes);
  EXPECT_GT(engine.stats().n_preempted, 0);
}

TEST_F(EngineTest, reuses_the_conversation_up_to_where_it_changed) {
  Engine engine(model_, tokenizer_, options());
  Request first = request(2, 600);
  const Outcome reply = read(*engine.submit(first).stream)[0];
  Request next = first;
  next.prompt.insert(next.prompt.end(), reply.ids.begin(), reply.ids.end());
  const std::vector<int32_t> more = prompt(77, 40);
  next.prompt.insert(next.prompt.end(), more.begin(), more.end());
  const Outcome second = read(*engine.submit(next).stream)[0];
  EXPECT_EQ(second, alone(next));
  // All but the last token of the reply, which had never been computed.
  EXPECT_GE(second.usage.n_cached, 600 + std::ssize(reply.ids) - 1);

  Request edited = next;
  edited.prompt[590] = edited.prompt[590] == 5 ? 6 : 5;
  const Outcome third = read(*engine.submit(edited).stream)[0];
  EXPECT_EQ(third, alone(edited));
  EXPECT_GE(third.usage.n_cached, 590 - 512);
  Request other_salt = next;
  other_salt.salt = 1;
  EXPECT_EQ(read(*engine.submit(other_salt).stream)[0].usage.n_cached, 0);
}

TEST_F(EngineTest, gives_each_choice_its_seed_and_computes_the_prompt_once) {
  Engine engine(model_, tokenizer_, options());
  Request asked = request(5, 300);
  asked.n_choices = 4;
  const std::vector<Outcome> replies = read(*engine.submit(asked).stream, 4);
  for (uint64_t i = 0; i < 4; ++i) EXPECT_EQ(replies[i], alone(asked, i)) << i;
  engine.stop();
  EXPECT_LE(engine.stats().n_prompt_tokens, 300 + 3);
}

TEST_F(EngineTest, computes_a_long_beginning_once_for_all_who_come_at_the_same_time) {
  Engine engine(model_, tokenizer_, options());
  const std::vector<int32_t> shared = prompt(50, 800);
  std::vector<Request> requests;
  std::vector<std::shared_ptr<EventStream>> streams;
  for (uint64_t i = 0; i < 6; ++i) {
    Request asked = request(2 * i, 40, 5);
    asked.prompt.insert(asked.prompt.begin(), shared.begin(), shared.end());
    asked.boundaries = {800};
    requests.push_back(asked);
    streams.push_back(engine.submit(asked).stream);
  }
  for (size_t i = 0; i < requests.size(); ++i) {
    EXPECT_EQ(read(*streams[i])[0], alone(requests[i])) << i;
  }
  engine.stop();
  EXPECT_LE(engine.stats().n_prompt_tokens, 800 + 6 * 41);
}

TEST_F(EngineTest, stops_computing_for_readers_that_are_gone) {
  Engine engine(model_, tokenizer_, options());
  std::vector<std::shared_ptr<EventStream>> streams;
  for (uint64_t i = 0; i < 20; ++i) streams.push_back(engine.submit(request(i, 50, 1000)).stream);
  for (const auto& stream : streams) stream->cancel();
  for (const auto& stream : streams) {
    const Outcome reply = read(*stream)[0];
    EXPECT_TRUE(reply.reason != EndReason::kLength) << reply;
  }
  engine.stop();
  const EngineStats stats = engine.stats();
  EXPECT_EQ(stats.n_running, 0);
  EXPECT_EQ(stats.n_waiting, 0);
  EXPECT_GT(stats.n_cancelled, 0);
}

TEST_F(EngineTest, ends_requests_at_their_deadline) {
  Engine engine(model_, tokenizer_, options());
  Request late = request(2, 100, 1000);
  late.stop_ids.clear();
  late.deadline = std::chrono::steady_clock::now();
  EXPECT_EQ(read(*engine.submit(late).stream)[0].reason, EndReason::kDeadline);
}

TEST_F(EngineTest, refuses_what_can_never_run) {
  Engine engine(model_, tokenizer_, options());
  EXPECT_THROW(engine.submit(Request{}), Error);
  EXPECT_THROW(engine.submit(Request{.prompt = {-1}}), Error);
  EXPECT_THROW(engine.submit(Request{.prompt = {1 << 30}}), Error);
  EXPECT_THROW(engine.submit(Request{.prompt = prompt(1, 1200)}), Error);
  EXPECT_THROW(engine.submit(Request{.prompt = {1}, .sampling = {.temperature = -1}}), Error);
  EXPECT_THROW(engine.submit(Request{.prompt = {1}, .n_choices = 0}), Error);
  EngineOptions small = options();
  small.state_bytes = state_bytes(model_.state_layout(), 100).total();
  Engine small_engine(model_, tokenizer_, small);
  EXPECT_THROW(small_engine.submit(Request{.prompt = {1}, .max_tokens = 1000}), Error);
}

TEST_F(EngineTest, refuses_more_requests_than_allowed_and_all_when_it_stops) {
  EngineOptions few = options();
  few.max_requests = 2;
  Engine engine(model_, tokenizer_, few);
  Request endless = request(2, 100, 1000);
  endless.stop_ids.clear();
  endless.stop_strings.clear();
  const auto a = engine.submit(endless);
  const auto b = engine.submit(endless);
  EXPECT_EQ(engine.submit(endless).refusal, Engine::Refusal::kQueueFull);
  a.stream->cancel();
  read(*a.stream);
  const auto c = engine.submit(endless);
  EXPECT_EQ(c.refusal, Engine::Refusal::kNone);
  engine.refuse_new();
  EXPECT_EQ(engine.submit(endless).refusal, Engine::Refusal::kStopping);
  engine.stop();
  EXPECT_EQ(read(*b.stream)[0].reason, EndReason::kCancelled);
  EXPECT_EQ(read(*c.stream)[0].reason, EndReason::kCancelled);
}

TEST_F(EngineTest, closes_reasoning_when_its_budget_is_spent) {
  Engine engine(model_, tokenizer_, options());
  Request thinking = request(4, 60, 40);
  thinking.stop_ids.clear();
  const int32_t end_id = 7;
  thinking.thinking = {.tokens = 10, .closing = {9, 8, end_id}};
  thinking.sampling.logit_bias[end_id] = -1000;  // never by itself
  const Outcome reply = read(*engine.submit(thinking).stream)[0];
  ASSERT_EQ(reply.ids.size(), 40u);
  EXPECT_EQ((std::vector<int32_t>(reply.ids.begin() + 10, reply.ids.begin() + 13)),
            (std::vector<int32_t>{9, 8, end_id}));
  EXPECT_EQ(std::ranges::count(reply.ids, end_id), 1);

  // A model that would stop instead is made to answer.
  thinking.stop_ids = {3};
  thinking.sampling.logit_bias[3] = 1000;
  const Outcome answer = read(*engine.submit(thinking).stream)[0];
  EXPECT_EQ((std::vector<int32_t>(answer.ids.begin(), answer.ids.begin() + 3)),
            (std::vector<int32_t>{9, 8, end_id}));
  ASSERT_GE(answer.ids.size(), 5u);
  EXPECT_NE(answer.ids[3], 3);
  EXPECT_EQ(answer.ids[4], 3);
  EXPECT_EQ(answer.reason, EndReason::kStopId);
}

// Tokens 10, 11, 12, 10, ... in turn.
class InTurn : public TokenConstraint {
 public:
  bool mask(std::span<uint64_t> allowed) override {
    std::ranges::fill(allowed, uint64_t{0});
    allowed[0] = uint64_t{1} << next_;
    return true;
  }
  void accept(int32_t id) override { next_ = id == 12 ? 10 : id + 1; }
  std::unique_ptr<TokenConstraint> clone() const override {
    return std::make_unique<InTurn>(*this);
  }

 private:
  int32_t next_ = 10;
};

TEST_F(EngineTest, keeps_to_a_constraint) {
  Engine engine(model_, tokenizer_, options());
  Request constrained = request(1, 30, 7);
  constrained.stop_strings.clear();
  constrained.n_choices = 2;
  constrained.constraint = std::make_shared<InTurn>();
  for (const Outcome& reply : read(*engine.submit(constrained).stream, 2)) {
    EXPECT_EQ(reply.ids, (std::vector<int32_t>{10, 11, 12, 10, 11, 12, 10}));
  }
}

}  // namespace
}  // namespace dsv4
