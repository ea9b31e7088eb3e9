#include "bench/roofline.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

namespace dsv4 {
namespace {

RooflineChart chart() {
  return {.title = "A <fast> & \"loud\" machine",
          .subtitle = "2 threads",
          .high = {.read = 80e9, .int8 = 2000e9, .f32 = 500e9, .bf16 = 1000e9},
          .low = {.read = 40e9, .int8 = 1000e9, .f32 = 500e9, .bf16 = 1000e9},
          .points = {{"Q4_K", "1 token", 3.5, 200e9},
                     {"Q4_K", "512 tokens", 1800, 1150e9},
                     {"decode, 4096", "decode", 3.6, 180e9},
                     {"nothing", "none", 0, 0}}};
}

// Whether every element is closed in order and every "&" begins one of XML's five names.
testing::AssertionResult is_well_formed(std::string_view xml) {
  std::vector<std::string> open;
  size_t n_roots = 0;
  for (size_t i = 0; i < xml.size();) {
    if (xml[i] == '&') {
      const std::string_view name = xml.substr(i, xml.find(';', i) + 1 - i);
      if (name != "&amp;" && name != "&lt;" && name != "&gt;" && name != "&quot;") {
        return testing::AssertionFailure() << "bare & at " << i;
      }
    }
    if (xml[i] == '>') return testing::AssertionFailure() << "bare > at " << i;
    if (xml[i] != '<') {
      ++i;
      continue;
    }
    const size_t end = xml.find('>', i);
    if (end == std::string_view::npos) return testing::AssertionFailure() << "open tag at " << i;
    const std::string_view tag = xml.substr(i + 1, end - i - 1);
    if (tag.find('<') != std::string_view::npos) {
      return testing::AssertionFailure() << "bare < in " << tag;
    }
    if (std::ranges::count(tag, '"') % 2 != 0) {
      return testing::AssertionFailure() << "open quote in " << tag;
    }
    const std::string name(tag.substr(0, tag.find_first_of(" /", 1)));
    if (tag.starts_with('/')) {
      if (open.empty() || "/" + open.back() != tag) {
        return testing::AssertionFailure() << "closes what is not open: " << tag;
      }
      open.pop_back();
    } else {
      if (open.empty()) ++n_roots;
      if (!tag.ends_with('/')) open.push_back(name);
    }
    i = end + 1;
  }
  if (!open.empty() || n_roots != 1) return testing::AssertionFailure() << "not one root";
  return testing::AssertionSuccess();
}

size_t count(std::string_view text, std::string_view part) {
  size_t n = 0;
  for (size_t at = text.find(part); at != std::string_view::npos; at = text.find(part, at + 1)) ++n;
  return n;
}

TEST(Roofline, is_xml_with_every_label) {
  const std::string svg = roofline_svg(chart());
  EXPECT_TRUE(is_well_formed(svg));
  for (const char* label :
       {"A &lt;fast&gt; &amp; &quot;loud&quot; machine", "2 threads", "operations per byte read",
        "Gop/s", "read 80 GB/s", "int8 2000 Gop/s", "bf16 1000 Gop/s", "f32 500 Gop/s", "1 token",
        "512 tokens", ">decode<", "decode, 4096"}) {
    EXPECT_NE(svg.find(label), std::string::npos) << label;
  }
  EXPECT_EQ(count(svg, ">Q4_K<"), 2u);
  EXPECT_EQ(count(svg, "nothing"), 0u);
  // The slowest read and int8, and the line of the legend.
  EXPECT_EQ(count(svg, "stroke-dasharray"), 3u);
}

TEST(Roofline, draws_a_run_without_rows) {
  EXPECT_TRUE(is_well_formed(roofline_svg({})));
  RooflineChart only_roofs = chart();
  only_roofs.points.clear();
  only_roofs.high.bf16 = only_roofs.low.bf16 = 0;
  const std::string svg = roofline_svg(only_roofs);
  EXPECT_TRUE(is_well_formed(svg));
  EXPECT_EQ(svg.find("bf16"), std::string::npos);
}

TEST(Roofline, has_both_axes_logarithmic) {
  // Equal factors are equal distances.
  RooflineChart three = chart();
  three.points = {{"a", "s", 1, 10e9}, {"b", "s", 10, 100e9}, {"c", "s", 100, 1000e9}};
  const std::string svg = roofline_svg(three);
  std::vector<double> x, y;
  for (size_t at = svg.find("<circle"); at != std::string::npos; at = svg.find("<circle", at + 1)) {
    x.push_back(std::atof(svg.c_str() + svg.find("cx=\"", at) + 4));
    y.push_back(std::atof(svg.c_str() + svg.find("cy=\"", at) + 4));
  }
  ASSERT_EQ(x.size(), 4u);  // with that of the legend
  EXPECT_NEAR(x[1] - x[0], x[2] - x[1], 0.2);
  EXPECT_NEAR(y[1] - y[0], y[2] - y[1], 0.2);
  EXPECT_GT(x[1], x[0]);
  EXPECT_LT(y[1], y[0]);
}

}  // namespace
}  // namespace dsv4
