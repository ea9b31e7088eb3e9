#include "engine/scheduler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>

namespace dsv4 {
namespace {

std::map<SequenceId, int64_t> plan_of(Scheduler& scheduler) {
  std::map<SequenceId, int64_t> shares;
  for (const auto& [id, n] : scheduler.plan()) {
    EXPECT_FALSE(shares.contains(id));
    shares[id] = n;
  }
  return shares;
}

TEST(Scheduler, starts_by_priority_then_service_then_arrival) {
  Scheduler scheduler({.max_running = 8, .max_batch_tokens = 100});
  EXPECT_EQ(scheduler.next_waiting(), 0u);
  scheduler.add(1, "a", 0);
  scheduler.add(2, "a", 0);
  scheduler.add(3, "b", 0);
  scheduler.add(4, "c", 1);
  EXPECT_EQ(scheduler.next_waiting(), 4u);
  scheduler.start(4, 10);
  EXPECT_EQ(scheduler.next_waiting(), 1u);
  const SequenceId passed[] = {1, 3};
  EXPECT_EQ(scheduler.next_waiting(passed), 2u);
  scheduler.start(1, 10);
  scheduler.plan();
  scheduler.commit(1, 10, 1);  // a has been served, b not
  EXPECT_EQ(scheduler.next_waiting(), 3u);
  scheduler.start(3, 10);
  EXPECT_EQ(scheduler.next_waiting(), 2u);
}

TEST(Scheduler, starts_nobody_when_all_places_are_taken) {
  Scheduler scheduler({.max_running = 1, .max_batch_tokens = 100});
  scheduler.add(1, "", 0);
  scheduler.add(2, "", 0);
  scheduler.start(1, 5);
  EXPECT_EQ(scheduler.next_waiting(), 0u);
  scheduler.remove(1);
  EXPECT_EQ(scheduler.next_waiting(), 2u);
}

TEST(Scheduler, starts_nobody_who_is_held) {
  Scheduler scheduler({.max_running = 8, .max_batch_tokens = 100});
  scheduler.add(1, "a", 0);
  scheduler.add(2, "a", 0);
  scheduler.hold(1);
  EXPECT_EQ(scheduler.n_waiting(), 2);
  EXPECT_EQ(scheduler.next_waiting(), 2u);
  scheduler.remove(2);
  EXPECT_EQ(scheduler.next_waiting(), 0u);
  scheduler.release(1);
  EXPECT_EQ(scheduler.next_waiting(), 1u);
  scheduler.hold(1);
  scheduler.remove(1);
  EXPECT_EQ(scheduler.n_waiting(), 0);
}

TEST(Scheduler, lets_replies_go_on_beside_a_long_prompt) {
  Scheduler scheduler({.max_running = 8, .max_batch_tokens = 100});
  for (SequenceId id = 1; id <= 3; ++id) {
    scheduler.add(id, "", 0);
    scheduler.start(id, id == 1 ? 100000 : 1);
    if (id > 1) scheduler.commit(id, 0, 1);
  }
  const auto shares = plan_of(scheduler);
  EXPECT_EQ(shares, (std::map<SequenceId, int64_t>{{1, 98}, {2, 1}, {3, 1}}));
}

TEST(Scheduler, computes_a_short_prompt_in_the_next_step_and_the_oldest_goes_on) {
  Scheduler scheduler({.max_running = 8, .max_batch_tokens = 100});
  scheduler.add(1, "", 0);
  scheduler.start(1, 100000);
  scheduler.add(2, "", 0);
  scheduler.start(2, 60);
  EXPECT_EQ(plan_of(scheduler), (std::map<SequenceId, int64_t>{{1, 40}, {2, 60}}));
  scheduler.add(3, "", 0);
  scheduler.start(3, 500);
  EXPECT_EQ(plan_of(scheduler), (std::map<SequenceId, int64_t>{{1, 25}, {2, 60}, {3, 15}}));
}

TEST(Scheduler, goes_on_with_prompts_in_the_smallest_steps_too) {
  for (const int64_t n_tokens : {1, 2, 3}) {
    Scheduler scheduler({.max_running = 8, .max_batch_tokens = n_tokens});
    for (SequenceId id = 1; id <= 4; ++id) {
      scheduler.add(id, "", 0);
      scheduler.start(id, 1);
      scheduler.commit(id, 0, id == 4 ? 1000 : 1);
    }
    std::map<SequenceId, int64_t> served;
    for (int step = 0; step < 40; ++step) {
      for (const auto& [id, n] : plan_of(scheduler)) served[id] += n;
    }
    for (SequenceId id = 1; id <= 4; ++id) EXPECT_GE(served[id], 5) << id << " of " << n_tokens;
  }
}

TEST(Scheduler, gives_tenants_equal_shares_whatever_they_ask_for) {
  Scheduler scheduler({.max_running = 8, .max_batch_tokens = 64});
  std::map<SequenceId, int64_t> pending;
  std::map<bool, int64_t> served;  // of the tenant "many"
  for (SequenceId id = 1; id <= 5; ++id) {
    scheduler.add(id, id == 1 ? "one" : "many", 0);
    scheduler.start(id, pending[id] = 1000000);
  }
  for (int step = 0; step < 1000; ++step) {
    for (const auto& [id, n] : plan_of(scheduler)) {
      scheduler.commit(id, n, pending[id] -= n);
      served[id != 1] += n;
    }
  }
  EXPECT_NEAR(static_cast<double>(served[false]) / static_cast<double>(served[true]), 1, 0.4);
}

TEST(Scheduler, saves_nothing_up_for_a_tenant_that_was_away) {
  Scheduler scheduler({.max_running = 8, .max_batch_tokens = 64});
  scheduler.add(1, "busy", 0);
  scheduler.start(1, 100000);
  scheduler.commit(1, 50000, 50000);
  scheduler.add(2, "new", 0);  // begins where busy is
  scheduler.start(2, 1000);
  scheduler.commit(2, 100, 900);
  scheduler.add(3, "busy", 0);
  scheduler.add(4, "new", 0);
  EXPECT_EQ(scheduler.next_waiting(), 3u);
}

TEST(Scheduler, suspends_the_last_and_lets_it_come_back_first) {
  Scheduler scheduler({.max_running = 8, .max_batch_tokens = 64});
  for (SequenceId id = 1; id <= 3; ++id) {
    scheduler.add(id, "", 0);
    scheduler.start(id, 10);
  }
  EXPECT_EQ(scheduler.next_victim(), 3u);
  scheduler.suspend(3);
  scheduler.add(4, "", 0);
  EXPECT_EQ(scheduler.next_waiting(), 3u);
}

// Against random traffic: a step is never larger than allowed, nobody who runs is forgotten.
TEST(Scheduler, serves_everybody_under_random_traffic) {
  std::mt19937 random(7);
  Scheduler scheduler({.max_running = 6, .max_batch_tokens = 16});
  std::map<SequenceId, int64_t> prompt_left;
  std::map<SequenceId, int64_t> reply_left;
  SequenceId last = 0;
  int64_t n_ended = 0;
  for (int step = 0; step < 20000; ++step) {
    if (step < 10000 && random() % 4 == 0) {
      scheduler.add(++last, std::string(1, static_cast<char>('a' + random() % 3)), 0);
      prompt_left[last] = 1 + static_cast<int64_t>(random() % 60);
      reply_left[last] = 1 + static_cast<int64_t>(random() % 20);
    }
    while (const SequenceId id = scheduler.next_waiting()) scheduler.start(id, prompt_left[id]);
    int64_t n_batch = 0;
    const auto shares = plan_of(scheduler);
    ASSERT_EQ(shares.empty(), scheduler.n_running() == 0);
    for (const auto& [id, n] : shares) {
      n_batch += n;
      ASSERT_GT(n, 0);
      ASSERT_LE(n, std::max<int64_t>(1, prompt_left[id]));
      prompt_left[id] -= std::min(n, prompt_left[id]);
      if (prompt_left[id] == 0 && --reply_left[id] < 0) {
        scheduler.remove(id);
        ++n_ended;
      } else {
        scheduler.commit(id, n, std::max<int64_t>(1, prompt_left[id]));
      }
    }
    ASSERT_LE(n_batch, 16);
  }
  EXPECT_EQ(scheduler.n_running(), 0);
  EXPECT_EQ(scheduler.n_waiting(), 0);
  EXPECT_EQ(n_ended, static_cast<int64_t>(last));
}

}  // namespace
}  // namespace dsv4
