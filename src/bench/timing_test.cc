#include "bench/timing.h"

#include <gtest/gtest.h>

#include <chrono>
#include <thread>
#include <vector>

namespace dsv4 {
namespace {

TEST(Timing, takes_the_median_and_the_quartiles_of_values) {
  EXPECT_EQ(median({}).value, 0);
  EXPECT_EQ(median({3}).value, 3);
  EXPECT_EQ(median({3}).spread, 0);
  EXPECT_EQ(median({4, 1, 2, 3}).value, 2.5);
  const Median five = median({50, 10, 30, 20, 40});
  EXPECT_EQ(five.value, 30);
  EXPECT_DOUBLE_EQ(five.spread, 20.0 / 30);
}

TEST(Timing, adds_times_until_they_are_long_enough) {
  std::vector<double> times = {7};
  const auto step = [] { return 0.25; };
  add_times(0, step, times);
  EXPECT_EQ(times, (std::vector<double>{7, 0.25}));
  add_times(0.6, step, times);
  EXPECT_EQ(times, (std::vector<double>{7, 0.25, 0.25, 0.25, 0.25}));
}

TEST(Timing, repeats_a_call_in_twice_as_many_until_it_has_taken_long_enough) {
  int n_calls = 0;
  seconds_per_call(0, [&] { ++n_calls; });
  EXPECT_EQ(n_calls, 1);
  n_calls = 0;
  const double seconds = seconds_per_call(0.002, [&] {
    ++n_calls;
    std::this_thread::sleep_for(std::chrono::microseconds(500));
  });
  EXPECT_GE(seconds, 0.0005);
  EXPECT_TRUE(n_calls == 1 || n_calls == 3 || n_calls == 7) << n_calls;
}

TEST(Timing, adds_the_time_of_a_call_once_where_no_time_is_given) {
  std::vector<double> times = {7};
  add_call_times(
      0, [] { std::this_thread::sleep_for(std::chrono::microseconds(200)); }, times);
  ASSERT_EQ(times.size(), 2u);
  EXPECT_GE(times[1], 0.0002);
}

TEST(Timing, holds_each_slice_against_the_roofs_around_it) {
  // A machine that becomes twice as fast after the second slice: steps keep half of the roof.
  int n_roofs = 0;
  const auto roofs = [&] {
    const double speed = n_roofs++ < 3 ? 1 : 2;
    return Roofs{.read = 100 * speed, .int8 = 1000 * speed, .f32 = 0, .bf16 = 0};
  };
  const auto step = [&] { return n_roofs < 3 ? 0.2 : 0.1; };
  const Timing timing = measure_slices({.n_slices = 5, .min_seconds = 0.35}, roofs, step);
  EXPECT_EQ(n_roofs, 6);
  EXPECT_EQ(timing.slices.size(), 5u);
  EXPECT_EQ(timing.n_steps, 2 + 2 + 4 + 4 + 4);
  EXPECT_DOUBLE_EQ(timing.seconds.value, 0.1);
  EXPECT_DOUBLE_EQ(timing.share(10, &Roofs::read).value, 0.5);
  EXPECT_DOUBLE_EQ(timing.share(10, &Roofs::read).spread, 0);
  EXPECT_DOUBLE_EQ(timing.share(10, &Roofs::int8).value, 0.05);
  EXPECT_DOUBLE_EQ(timing.roof(&Roofs::read), 200);
}

TEST(Timing, takes_the_higher_roof_of_before_and_after) {
  double read = 0;
  const auto roofs = [&] { return Roofs{.read = read += 10, .int8 = 1, .f32 = 1, .bf16 = 0}; };
  const Timing timing = measure_slices({.n_slices = 2, .min_seconds = 0}, roofs, [] { return 1; });
  EXPECT_EQ(timing.slices[0].roofs.read, 20);
  EXPECT_EQ(timing.slices[1].roofs.read, 30);
  EXPECT_EQ(timing.n_steps, 2);
}

}  // namespace
}  // namespace dsv4
