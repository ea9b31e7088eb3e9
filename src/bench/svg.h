// What the pictures of the benches are drawn with.
#pragma once

#include <iterator>
#include <string>
#include <utility>

#include <fmt/format.h>

namespace dsv4 {

struct SvgPlace {
  double x = 0;
  double y = 0;
};

// A logarithmic axis from `low` to `high`, drawn from pixel `from` to pixel `to`.
struct LogAxis {
  double low, high, from, to;

  double at(double value) const;
};

// Between steps 1, 2 and 5 of a decade, so that [low, high] is inside.
LogAxis make_log_axis(double low, double high, double from, double to);

// Elements in the order in which they are added. Text is escaped.
class Svg {
 public:
  Svg(double width, double height, double font_size);

  template <typename... Args>
  void add(fmt::format_string<Args...> format, Args&&... args) {
    fmt::format_to(std::back_inserter(out_), format, std::forward<Args>(args)...);
  }

  // `more` are further attributes.
  void line(SvgPlace a, SvgPlace b, const char* color, double width, const char* more = "");
  void text(double x, double y, const char* anchor, const char* color, const std::string& words,
            const std::string& more = "");

  // The whole picture; nothing is added afterwards.
  std::string finish();

 private:
  std::string out_;
};

}  // namespace dsv4
