// A picture of how latencies are distributed: for each value, the share of those that are at most
// as large, over a logarithmic axis.
#pragma once

#include "bench/serve_bench.h"

#include <string>
#include <vector>

namespace dsv4 {

struct LatencySeries {
  std::string label;
  Distribution seconds;
};

struct LatencyChart {
  std::string title;
  std::string subtitle;
  std::vector<LatencySeries> first;    // drawn on the left
  std::vector<LatencySeries> between;  // on the right
};

// As SVG. Values of zero are drawn as a microsecond.
std::string latency_svg(const LatencyChart& chart);

}  // namespace dsv4
