// What the pictures of the benches and of plans are drawn with.
#pragma once

#include <iterator>
#include <string>
#include <string_view>
#include <utility>

#include <fmt/format.h>

namespace dsv4 {

// Text as it stands between tags and within quotes of SVG and HTML: no character of it is markup.
// Control characters become spaces.
std::string escape_markup(std::string_view text);

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
  // A file of its own, on white.
  Svg(double width, double height, double font_size);
  // A part of a page, as wide as its place there and in the page's colors; for those who do not see
  // it there is a title and a description.
  static Svg part_of_page(double width, double height, const std::string& title,
                          const std::string& description);

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
  Svg() = default;

  std::string out_;
};

}  // namespace dsv4
