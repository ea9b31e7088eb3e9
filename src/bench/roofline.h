// A picture of what was measured below the limits of the machine: operations for each byte read to
// the right, speed upwards, both logarithmic.
#pragma once

#include "kernels/cpu/roofs.h"

#include <string>
#include <vector>

namespace dsv4 {

struct RooflinePoint {
  std::string label;
  std::string series;  // points of one series look alike
  double ops_per_byte = 0;
  double ops_per_second = 0;
};

struct RooflineChart {
  std::string title;
  std::string subtitle;
  // The highest and the lowest that were measured in the run; a roof of 0 is not drawn.
  Roofs high;
  Roofs low;
  std::vector<RooflinePoint> points;
};

// As SVG. Points whose place is not above zero are left out.
std::string roofline_svg(const RooflineChart& chart);

}  // namespace dsv4
