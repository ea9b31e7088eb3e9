// Where a figure is from.
#pragma once

#include <string>

namespace dsv4 {

struct Source {
  std::string title;
  std::string url;   // empty: not on a page
  std::string date;  // when it was looked at, YYYY-MM-DD; empty: not known

  bool operator==(const Source&) const = default;
};

}  // namespace dsv4
