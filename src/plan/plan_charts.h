// The plots of `dsv4 plan --html`: SVG that takes its colors from the page (page/style.css).
#pragma once

#include "plan/plan_curves.h"
#include "plan/planner.h"

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace dsv4 {

// A kind of memory, its style in the page and its bytes.
struct MemoryClass {
  std::string_view style;  // class "m-STYLE"
  std::string_view title;
  double MemoryNeed::*bytes;
};
// In the order of the bars.
const std::vector<MemoryClass>& memory_classes();

// A bar for each plan, and a line where the memory of one machine ends.
std::string memory_chart(const std::vector<Plan>& plans, const std::string& title);

struct ChartLine {
  const Curve* curve;
  size_t style;  // class "sSTYLE", below kMostCurves
};

struct LineChart {
  std::string title;
  std::string description;
  std::string x_label;
  std::vector<std::pair<double, std::string>> x_ticks;
  std::vector<ChartLine> lines;                        // at most kMostCurves
  std::vector<std::pair<double, std::string>> levels;  // horizontal lines with their names
};
inline constexpr size_t kMostCurves = 4;

// Both axes are logarithmic. Nothing is drawn of values that are not above zero.
std::string line_chart(const LineChart& chart);

}  // namespace dsv4
