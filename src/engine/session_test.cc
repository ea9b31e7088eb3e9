#include "engine/session.h"

#include "base/rng.h"
#include "base/thread_pool.h"
#include "kernels/cpu/cpu_ops.h"

#include <gtest/gtest.h>

#include <cstring>

namespace dsv4 {
namespace {

class SessionTest : public testing::Test {
 protected:
  SessionTest()
      : pool_(2),
        ops_(make_cpu_ops(pool_)),
        model_(std::string(DSV4_SOURCE_DIR) + "/models/mini", *ops_,
               {.max_batch_tokens = 64, .rollback_tokens = 8}) {}

  int32_t id(uint64_t stream, uint64_t index) const {
    return static_cast<int32_t>(random_bits(5, stream, index) %
                                static_cast<uint64_t>(model_.config().vocab_size));
  }
  std::vector<int32_t> ids(uint64_t stream, uint64_t n) const {
    std::vector<int32_t> result;
    for (uint64_t i = 0; i < n; ++i) result.push_back(id(stream, i));
    return result;
  }
  // Logits of a session that has seen nothing before.
  std::vector<float> fresh(const std::vector<int32_t>& tokens) {
    Session session(model_);
    session.sync(tokens);
    return {session.logits().begin(), session.logits().end()};
  }
  void expect_fresh(const Session& session, const std::vector<int32_t>& tokens) {
    EXPECT_EQ(session.tokens(), tokens);
    const std::vector<float> expected = fresh(tokens);
    EXPECT_EQ(std::memcmp(expected.data(), session.logits().data(), expected.size() * 4), 0);
  }

  ThreadPool pool_;
  std::unique_ptr<Ops> ops_;
  Model model_;
};

TEST_F(SessionTest, computes_only_what_follows_the_common_prefix) {
  Session session(model_);
  std::vector<int32_t> tokens = ids(1, 150);
  session.sync(tokens);
  EXPECT_EQ(session.n_computed(), 150);
  tokens.push_back(7);
  session.sync(tokens);
  EXPECT_EQ(session.n_computed(), 1);
  expect_fresh(session, tokens);
  tokens.resize(147);  // four tokens taken back; the last one is computed again for its logits
  session.sync(tokens);
  EXPECT_EQ(session.n_computed(), 1);
  expect_fresh(session, tokens);
}

TEST_F(SessionTest, returns_to_a_remembered_state) {
  Session session(model_);
  const std::vector<int32_t> prompt = ids(2, 100);
  session.sync(prompt);
  session.remember();
  std::vector<int32_t> first = prompt;
  for (uint64_t i = 0; i < 60; ++i) first.push_back(id(3, i));
  session.sync(first);
  std::vector<int32_t> second(prompt.begin(), prompt.end() - 3);  // diverges before the checkpoint
  for (uint64_t i = 0; i < 30; ++i) second.push_back(id(4, i));
  session.sync(second);
  EXPECT_EQ(session.n_computed(), 30);
  expect_fresh(session, second);
}

TEST_F(SessionTest, random_edits_give_the_logits_of_a_fresh_session) {
  Session session(model_);
  std::vector<int32_t> tokens = ids(6, 40);
  for (uint64_t round = 0; round < 40; ++round) {
    const auto keep = 1 + random_bits(7, round, 0) % tokens.size();
    tokens.resize(keep);
    for (uint64_t i = 0; i < random_bits(7, round, 1) % 40; ++i) tokens.push_back(id(8 + round, i));
    session.sync(tokens);
    expect_fresh(session, tokens);
    if (round % 3 == 0) session.remember();
  }
}

TEST_F(SessionTest, a_stopped_prefill_can_be_continued) {
  Session session(model_);
  const std::vector<int32_t> tokens = ids(9, 200);
  EXPECT_FALSE(session.sync(tokens, [](int64_t done, int64_t) { return done < 100; }));
  EXPECT_EQ(session.tokens().size(), 128u);
  EXPECT_TRUE(session.sync(tokens));
  EXPECT_EQ(session.n_computed(), 72);
  expect_fresh(session, tokens);
}

TEST_F(SessionTest, refused_tokens_leave_the_session_usable) {
  Session session(model_);
  std::vector<int32_t> tokens = ids(10, 20);
  session.sync(tokens);
  std::vector<int32_t> bad = tokens;
  bad.push_back(1 << 20);
  EXPECT_ANY_THROW(session.sync(bad));
  tokens.push_back(3);
  session.sync(tokens);
  expect_fresh(session, tokens);
}

}  // namespace
}  // namespace dsv4
