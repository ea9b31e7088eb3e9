#include "bench/latency_chart.h"

#include "base/svg.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace dsv4 {
namespace {

constexpr double kWidth = 1120;
constexpr double kHeight = 470;
constexpr double kTop = 104;
constexpr double kBottom = kHeight - 62;
constexpr double kLeast = 1e-6;  // seconds
constexpr std::array<const char*, 6> kColors = {"#1f6fb4", "#d9730d", "#2e8b57",
                                                "#b0338a", "#6b4fbb", "#8a6d1d"};
constexpr const char* kHalo = "paint-order=\"stroke\" stroke=\"#ffffff\" stroke-width=\"3\"";

std::string time_text(double seconds) {
  if (seconds < 0.9995e-3) return fmt::format("{:.3g} µs", seconds * 1e6);
  if (seconds < 0.9995) return fmt::format("{:.3g} ms", seconds * 1e3);
  return fmt::format("{:.3g} s", seconds);
}

// One of the two halves.
class Panel {
 public:
  Panel(Svg& svg, double left, double right, const std::string& title,
        const std::vector<LatencySeries>& series)
      : svg_(svg), left_(left), right_(right), series_(series) {
    double low = 1e9, high = kLeast;
    for (const LatencySeries& s : series) {
      if (s.seconds.size() == 0) continue;
      low = std::min<double>(low, s.seconds.sorted().front());
      high = std::max<double>(high, s.seconds.sorted().back());
    }
    low = std::clamp(low, kLeast, high);
    axis_ = make_log_axis(low / 1.1, high * 1.1, left, right);
    svg_.text((left + right) / 2, kHeight - 20, "middle", "#1c1c1c", title, "font-size=\"14\"");
  }

  void draw() {
    draw_grid();
    for (size_t i = 0; i < series_.size(); ++i) draw_curve(i);
    for (size_t i = 0; i < series_.size(); ++i) label_quantiles(i);
  }

 private:
  double y_at(double share) const { return kBottom - share * (kBottom - kTop); }
  double x_at(double seconds) const { return axis_.at(std::max(seconds, kLeast)); }

  void draw_grid() {
    const double first = std::pow(10, std::floor(std::log10(axis_.low)));
    const double decades = std::log10(axis_.high / axis_.low);
    for (double decade = first; decade <= axis_.high * 1.001; decade *= 10) {
      for (const int step : {1, 2, 5}) {
        const double value = step * decade;
        if (value < axis_.low * 0.999 || value > axis_.high * 1.001) continue;
        const double x = axis_.at(value);
        svg_.line({x, kTop}, {x, kBottom}, step == 1 ? "#d4d4d4" : "#efefef", 1);
        if (decades > 3 && step != 1) continue;
        svg_.text(x, kBottom + 18, "middle", "#444444", time_text(value), "font-size=\"12\"");
      }
    }
    for (const int percent : {0, 25, 50, 75, 95, 100}) {
      const double y = y_at(percent * 0.01);
      svg_.line({left_, y}, {right_, y}, percent == 50 ? "#d4d4d4" : "#efefef", 1);
      svg_.text(left_ - 8, y + (percent == 95 ? 7 : 4), "end", "#444444",
                fmt::format("{}%", percent), "font-size=\"12\"");
    }
    svg_.add(
        "<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" fill=\"none\" stroke=\"#8c8c8c\"/>\n",
        left_, kTop, right_ - left_, kBottom - kTop);
  }

  void draw_curve(size_t i) {
    const Distribution& sample = series_[i].seconds;
    if (sample.size() == 0) return;
    constexpr size_t kMostPoints = 400;
    const size_t n = std::min(sample.size(), kMostPoints);
    std::string points;
    for (size_t k = 0; k < n; ++k) {
      const double q = n > 1 ? static_cast<double>(k) / static_cast<double>(n - 1) : 0.5;
      points += fmt::format("{:.1f},{:.1f} ", x_at(sample.quantile(q)), y_at(q));
    }
    points.pop_back();
    svg_.add("<polyline points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"2\"/>\n", points,
             kColors[i % kColors.size()]);
  }

  // Where a rising curve leaves room: to the right below it, or to the left above.
  void label_quantiles(size_t i) {
    const Distribution& sample = series_[i].seconds;
    if (sample.size() == 0) return;
    const char* color = kColors[i % kColors.size()];
    for (const int percent : {50, 95, 99}) {
      const double value = sample.quantile(percent * 0.01);
      const double x = x_at(value);
      const double y = y_at(percent * 0.01);
      svg_.add("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"3.5\" fill=\"{}\"/>\n", x, y, color);
      constexpr double kRoom = 95;
      const bool above = percent == 99 || x + kRoom > right_;
      svg_.text(x + (above ? -8 : 9), y + (above ? -5 : 13), above ? "end" : "start", color,
                fmt::format("p{} {}", percent, time_text(value)), kHalo);
    }
  }

  Svg& svg_;
  double left_;
  double right_;
  const std::vector<LatencySeries>& series_;
  LogAxis axis_{};
};

}  // namespace

std::string latency_svg(const LatencyChart& chart) {
  Svg svg(kWidth, kHeight, 12);
  svg.text(64, 30, "start", "#1c1c1c", chart.title, "font-size=\"19\" font-weight=\"bold\"");
  svg.text(64, 51, "start", "#555555", chart.subtitle, "font-size=\"12.5\"");
  double x = 70;
  for (size_t i = 0; i < chart.first.size(); ++i) {
    const std::string& label = chart.first[i].label;
    svg.line({x, 78}, {x + 24, 78}, kColors[i % kColors.size()], 2.5);
    svg.text(x + 30, 82, "start", "#1c1c1c", label, "font-size=\"12.5\"");
    x += 60 + 7.0 * static_cast<double>(label.size());
  }
  Panel(svg, 64, 546, "time to first token", chart.first).draw();
  Panel(svg, 622, 1104, "time between tokens", chart.between).draw();
  return svg.finish();
}

}  // namespace dsv4
