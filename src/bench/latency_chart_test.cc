#include "bench/latency_chart.h"

#include <gtest/gtest.h>

namespace dsv4 {
namespace {

size_t count(const std::string& text, const std::string& part) {
  size_t n = 0;
  for (size_t at = 0; (at = text.find(part, at)) != text.npos; at += part.size()) ++n;
  return n;
}

TEST(LatencyChart, draws_a_curve_for_each_run_with_its_quantiles) {
  LatencyChart chart{.title = "a <b> & c", .subtitle = "today"};
  std::vector<float> values;
  for (int i = 1; i < 1000; ++i) values.push_back(0.001f * static_cast<float>(i));
  for (const char* label : {"one", "two"}) {
    chart.first.push_back({label, Distribution(values)});
    chart.between.push_back({label, Distribution({0.002f})});
  }
  const std::string svg = latency_svg(chart);
  EXPECT_EQ(count(svg, "<polyline"), 4u);
  EXPECT_EQ(count(svg, ">p50 500 ms<"), 2u);
  EXPECT_EQ(count(svg, ">p99 2 ms<"), 2u);
  EXPECT_NE(svg.find("a &lt;b&gt; &amp; c"), std::string::npos);
  EXPECT_EQ(svg.find("nan"), std::string::npos);
  EXPECT_EQ(svg.find("inf"), std::string::npos);
  EXPECT_TRUE(svg.ends_with("</svg>\n"));
}

TEST(LatencyChart, draws_nothing_and_zeros) {
  LatencyChart chart;
  EXPECT_EQ(count(latency_svg(chart), "<polyline"), 0u);
  chart.first.push_back({"zeros", Distribution({0, 0})});
  chart.between.push_back({"none", Distribution({})});
  const std::string svg = latency_svg(chart);
  EXPECT_EQ(count(svg, "<polyline"), 1u);
  EXPECT_EQ(svg.find("nan"), std::string::npos);
  EXPECT_EQ(svg.find("inf"), std::string::npos);
}

}  // namespace
}  // namespace dsv4
