#include "bench/roofline.h"

#include "base/svg.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>
#include <numbers>

#include <fmt/format.h>

namespace dsv4 {
namespace {

constexpr double kWidth = 1120;
constexpr double kHeight = 760;
constexpr double kLeft = 78;
constexpr double kRight = kWidth - 24;
constexpr double kTop = 104;
constexpr double kBottom = kHeight - 62;
constexpr double kFontSize = 10.5;
constexpr double kLetterWidth = 5.9;  // of that size, about

// Letters stay readable where they cross a line.
constexpr const char* kHalo = "paint-order=\"stroke\" stroke=\"#ffffff\" stroke-width=\"2.5\"";
constexpr const char* kBold =
    "font-size=\"12.5\" font-weight=\"bold\" paint-order=\"stroke\" stroke=\"#ffffff\" "
    "stroke-width=\"3\"";
constexpr double kBoldWidth = 7.9;  // of a letter, about

struct Style {
  const char* color;
  const char* shape;
};
constexpr std::array<Style, 6> kStyles = {{{"#1f6fb4", "circle"},
                                           {"#d9730d", "square"},
                                           {"#2e8b57", "diamond"},
                                           {"#b0338a", "triangle"},
                                           {"#6b4fbb", "circle"},
                                           {"#8a6d1d", "square"}}};

struct Box {
  double left, top, right, bottom;

  bool overlaps(const Box& b) const {
    return left < b.right && b.left < right && top < b.bottom && b.top < bottom;
  }
};

class Drawing : private Svg {
 public:
  explicit Drawing(const RooflineChart& chart) : Svg(kWidth, kHeight, kFontSize), chart_(chart) {
    for (const RooflinePoint& p : chart.points) {
      if (p.ops_per_byte > 0 && p.ops_per_second > 0) points_.push_back(&p);
    }
    double min_x = 1, max_x = 100, min_y = 1e11, max_y = 1e11;
    for (const RooflinePoint* p : points_) {
      min_x = std::min(min_x, p->ops_per_byte), max_x = std::max(max_x, p->ops_per_byte);
      min_y = std::min(min_y, p->ops_per_second), max_y = std::max(max_y, p->ops_per_second);
    }
    max_y = std::max({max_y, chart.high.int8, chart.high.bf16, chart.high.f32});
    // To the right of where the highest ceiling begins, so that it is seen.
    if (chart.high.read > 0) max_x = std::max(max_x, 4 * max_y / chart.high.read);
    x_ = make_log_axis(min_x / 1.5, max_x * 1.5, kLeft, kRight);
    y_ = make_log_axis(min_y / 2, max_y * 1.3, kBottom, kTop);
    constexpr double kHalf = 6;
    for (const RooflinePoint* p : points_) {
      const SvgPlace at{x_.at(p->ops_per_byte), y_.at(p->ops_per_second)};
      places_.push_back(at);
      taken_.push_back({at.x - kHalf, at.y - kHalf, at.x + kHalf, at.y + kHalf});
    }
  }

  std::string svg() {
    text(kLeft, 30, "start", "#1c1c1c", chart_.title, "font-size=\"19\" font-weight=\"bold\"");
    text(kLeft, 51, "start", "#555555", chart_.subtitle, "font-size=\"12.5\"");
    draw_grid();
    draw_roofs(chart_.low, chart_.high, /*dashed=*/true);
    draw_roofs(chart_.high, chart_.high, /*dashed=*/false);
    draw_points();
    draw_legend();
    return finish();
  }

 private:
  void draw_grid() {
    for (const bool is_x : {true, false}) {
      const LogAxis& axis = is_x ? x_ : y_;
      const double unit = is_x ? 1 : 1e9;
      const double first = std::pow(10, std::floor(std::log10(axis.low)));
      for (double decade = first; decade <= axis.high * 1.001; decade *= 10) {
        for (const int step : {1, 2, 5}) {
          const double value = step * decade;
          if (value < axis.low * 0.999 || value > axis.high * 1.001) continue;
          const double at = axis.at(value);
          const char* color = step == 1 ? "#d4d4d4" : "#efefef";
          const std::string label = fmt::format("{:g}", value / unit);
          if (is_x) {
            line({at, kTop}, {at, kBottom}, color, 1);
            text(at, kBottom + 18, "middle", "#444444", label, "font-size=\"12\"");
          } else {
            line({kLeft, at}, {kRight, at}, color, 1);
            text(kLeft - 8, at + 4, "end", "#444444", label, "font-size=\"12\"");
          }
        }
      }
    }
    add("<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" fill=\"none\" stroke=\"#8c8c8c\"/>\n",
        kLeft, kTop, kRight - kLeft, kBottom - kTop);
    text((kLeft + kRight) / 2, kHeight - 20, "middle", "#1c1c1c", "operations per byte read",
         "font-size=\"14\"");
    const double middle = (kTop + kBottom) / 2;
    text(22, middle, "middle", "#1c1c1c", "Gop/s",
         fmt::format("font-size=\"14\" transform=\"rotate(-90 22 {:.1f})\"", middle));
  }

  // Lines of `roofs`; dashed ones only where they differ from `high`, and without labels.
  void draw_roofs(const Roofs& roofs, const Roofs& high, bool dashed) {
    const auto wanted = [&](double Roofs::*which) {
      return roofs.*which > 0 && (!dashed || roofs.*which < 0.95 * (high.*which));
    };
    const char* color = dashed ? "#a9a9a9" : "#3c3c3c";
    const char* more = dashed ? " stroke-dasharray=\"5 4\"" : "";
    const double width = dashed ? 1.2 : 2;
    const double top = std::max({roofs.int8, roofs.bf16, roofs.f32});
    const double read = roofs.read > 0 ? roofs.read : high.read;
    if (wanted(&Roofs::read)) {
      const double from = std::max(x_.low, y_.low / read);
      const double to = std::min(x_.high, (top > 0 ? top : y_.high) / read);
      const SvgPlace a{x_.at(from), y_.at(from * read)};
      const SvgPlace b{x_.at(to), y_.at(to * read)};
      line(a, b, color, width, more);
      if (!dashed) label_slope(a, b, fmt::format("read {:.0f} GB/s", read * 1e-9));
    }
    const auto ceiling = [&](double Roofs::*which, const char* name) {
      if (!wanted(which)) return;
      const double y = y_.at(roofs.*which);
      const double from = read > 0 ? std::clamp(roofs.*which / read, x_.low, x_.high) : x_.low;
      line({x_.at(from), y}, {kRight, y}, color, width, more);
      if (dashed) return;
      label_ceiling(y, fmt::format("{} {:.0f} Gop/s", name, roofs.*which * 1e-9));
    };
    ceiling(&Roofs::int8, "int8");
    ceiling(&Roofs::bf16, "bf16");
    ceiling(&Roofs::f32, "f32");
  }

  bool is_free(const Box& box) const {
    return std::ranges::none_of(taken_, [&](const Box& other) { return box.overlaps(other); });
  }

  // Above a ceiling, as far to the right as there is room.
  void label_ceiling(double y, const std::string& words) {
    const double width = kBoldWidth * static_cast<double>(words.size());
    Box box{kRight - 6 - width, y - 18, kRight - 6, y - 2};
    while (!is_free(box) && box.left > (kLeft + kRight) / 2) box.left -= 8, box.right -= 8;
    if (!is_free(box)) box.left = kRight - 6 - width, box.right = kRight - 6;
    text(box.right, y - 6, "end", "#1c1c1c", words, kBold);
    taken_.push_back(box);
  }

  // Along the slope, above it.
  void label_slope(SvgPlace a, SvgPlace b, const std::string& words) {
    const double length = std::hypot(b.x - a.x, b.y - a.y);
    const SvgPlace along{(b.x - a.x) / length, (b.y - a.y) / length};
    const SvgPlace at{a.x + 0.2 * (b.x - a.x) + 7 * along.y, a.y + 0.2 * (b.y - a.y) - 7 * along.x};
    const double angle = std::atan2(b.y - a.y, b.x - a.x) * 180 / std::numbers::pi;
    text(at.x, at.y, "start", "#1c1c1c", words,
         fmt::format("{} transform=\"rotate({:.1f} {:.1f} {:.1f})\"", kBold, angle, at.x, at.y));
    for (double d = 0; d < kBoldWidth * static_cast<double>(words.size()); d += 8) {
      const SvgPlace p{at.x + d * along.x, at.y + d * along.y};
      taken_.push_back({p.x - 8, p.y - 10, p.x + 8, p.y + 4});
    }
  }

  const Style& style_of(const std::string& series) {
    auto found = std::ranges::find(series_, series);
    if (found == series_.end()) found = series_.insert(series_.end(), series);
    return kStyles[static_cast<size_t>(found - series_.begin()) % kStyles.size()];
  }

  void marker(SvgPlace at, const Style& style) {
    const std::string shape = style.shape;
    constexpr double kR = 4.5;
    const char* look = "stroke=\"#ffffff\" stroke-width=\"0.8\"";
    if (shape == "circle") {
      add("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"{}\" fill=\"{}\" {}/>\n", at.x, at.y, kR,
          style.color, look);
      return;
    }
    std::vector<SvgPlace> corners = {{-4, -4}, {4, -4}, {4, 4}, {-4, 4}};
    if (shape == "diamond") corners = {{0, -5.5}, {5.5, 0}, {0, 5.5}, {-5.5, 0}};
    if (shape == "triangle") corners = {{0, -5.5}, {5, 4}, {-5, 4}};
    std::string list;
    for (const SvgPlace& c : corners) list += fmt::format("{:.1f},{:.1f} ", at.x + c.x, at.y + c.y);
    list.pop_back();
    add("<polygon points=\"{}\" fill=\"{}\" {}/>\n", list, style.color, look);
  }

  void draw_points() {
    for (size_t i = 0; i < points_.size(); ++i) {
      draw_label(places_[i], points_[i]->label, style_of(points_[i]->series).color);
    }
    for (size_t i = 0; i < points_.size(); ++i) marker(places_[i], style_of(points_[i]->series));
  }

  // At the nearest free place around the point, with a thin line to it where that is far.
  void draw_label(SvgPlace point, const std::string& label, const char* color) {
    const double width = kLetterWidth * static_cast<double>(label.size()) + 3;
    Box box{point.x + 7, point.y - 5, point.x + 7 + width, point.y + 6};
    const Box first = box;
    const auto fits = [&](const Box& b) {
      return b.left > kLeft + 2 && b.right < kRight - 2 && b.top > kTop + 2 &&
             b.bottom < kBottom - 2 && is_free(b);
    };
    bool found = fits(box);
    for (double radius = 12; !found && radius < 170; radius += 6) {
      constexpr int kAngles = 24;
      for (int i = 0; !found && i < kAngles; ++i) {
        const double angle = 2 * std::numbers::pi * i / kAngles;
        const double dx = std::cos(angle) * (radius + width / 2);
        const double dy = std::sin(angle) * radius;
        box = {point.x + dx - width / 2, point.y + dy - 5.5, point.x + dx + width / 2,
               point.y + dy + 5.5};
        found = fits(box);
      }
    }
    if (!found) box = first;
    taken_.push_back(box);
    const SvgPlace nearest{std::clamp(point.x, box.left, box.right),
                           std::clamp(point.y, box.top, box.bottom)};
    if (std::hypot(nearest.x - point.x, nearest.y - point.y) > 11) {
      line(point, nearest, color, 0.6, " stroke-opacity=\"0.55\"");
    }
    text((box.left + box.right) / 2, box.bottom - 2, "middle", color, label, kHalo);
  }

  void draw_legend() {
    double x = kLeft + 6;
    for (const std::string& series : series_) {
      marker({x, 78}, style_of(series));
      text(x + 11, 82, "start", "#1c1c1c", series, "font-size=\"12.5\"");
      x += 36 + 7.0 * static_cast<double>(series.size());
    }
    line({x, 78}, {x + 24, 78}, "#3c3c3c", 2);
    text(x + 30, 82, "start", "#1c1c1c", "limit, at its best", "font-size=\"12.5\"");
    x += 160;
    line({x, 78}, {x + 24, 78}, "#a9a9a9", 1.2, " stroke-dasharray=\"5 4\"");
    text(x + 30, 82, "start", "#1c1c1c", "at its lowest in the run", "font-size=\"12.5\"");
  }

  const RooflineChart& chart_;
  std::vector<const RooflinePoint*> points_;
  LogAxis x_{};
  LogAxis y_{};
  std::vector<SvgPlace> places_;  // of the points
  std::vector<std::string> series_;
  std::vector<Box> taken_;  // by markers and labels
};

}  // namespace

std::string roofline_svg(const RooflineChart& chart) { return Drawing(chart).svg(); }

}  // namespace dsv4
