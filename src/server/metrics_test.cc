#include "server/metrics.h"

#include <gtest/gtest.h>

#include <limits>
#include <thread>
#include <vector>

namespace dsv4 {
namespace {

TEST(Metrics, prints_the_text_format) {
  Metrics metrics;
  metrics.counter("b_total", "Of \\ and\nlines.", {{"key", "a\"b\\c\nd"}, {"x", "1"}}).add(3);
  metrics.counter("b_total", "ignored", {{"key", "e"}, {"x", "2"}}).add();
  metrics.gauge_of("a", "A.", {}, [] { return -0.5; });
  metrics.gauge_of("d", "D.", {{"l", "v"}}, [] { return 1e6; });
  Histogram& histogram = metrics.histogram("c_seconds", "C.", {0.1, 1, 2.5}, {{"k", "v"}});
  for (const double value : {0.05, 0.1, 0.11, 2.0, 99.0}) histogram.observe(value);
  EXPECT_EQ(metrics.print(), R"(# HELP a A.
# TYPE a gauge
a -0.5
# HELP b_total Of \\ and\nlines.
# TYPE b_total counter
b_total{key="a\"b\\c\nd",x="1"} 3
b_total{key="e",x="2"} 1
# HELP c_seconds C.
# TYPE c_seconds histogram
c_seconds_bucket{k="v",le="0.1"} 2
c_seconds_bucket{k="v",le="1"} 3
c_seconds_bucket{k="v",le="2.5"} 4
c_seconds_bucket{k="v",le="+Inf"} 5
c_seconds_sum{k="v"} 101.26
c_seconds_count{k="v"} 5
# HELP d D.
# TYPE d gauge
d{l="v"} 1000000
)");
}

TEST(Metrics, prints_numbers_that_are_none) {
  Metrics metrics;
  double value = std::numeric_limits<double>::infinity();
  metrics.gauge_of("g", "G", {}, [&] { return value; });
  EXPECT_NE(metrics.print().find("g +Inf\n"), std::string::npos);
  value = std::numeric_limits<double>::quiet_NaN();
  EXPECT_NE(metrics.print().find("g NaN\n"), std::string::npos);
}

TEST(Metrics, gives_one_series_for_one_set_of_labels) {
  Metrics metrics;
  Counter& counter = metrics.counter("n_total", "N", {{"a", "1"}});
  EXPECT_EQ(&counter, &metrics.counter("n_total", "N", {{"a", "1"}}));
  EXPECT_NE(&counter, &metrics.counter("n_total", "N", {{"a", "2"}}));
}

TEST(Metrics, counts_from_many_threads) {
  Metrics metrics;
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int k = 0; k < 10'000; ++k) {
        metrics.counter("n_total", "N").add();
        metrics.histogram("h", "H", {1, 2}).observe(k % 3);
        if (k % 1000 == 0) static_cast<void>(metrics.print());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(metrics.counter("n_total", "N").value(), 40'000u);
  EXPECT_NE(metrics.print().find("h_count 40000\n"), std::string::npos);
}

}  // namespace
}  // namespace dsv4
