#include "plan/plan_charts.h"

#include "base/svg.h"
#include "plan/plan_table.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include <fmt/format.h>

namespace dsv4 {
namespace {

constexpr double kWidth = 480;
constexpr double kLetter = 8.2;  // width of a letter of a label, with some to spare

// What there is room for, with all bytes of its last character.
std::string shortened(const std::string& text, size_t most) {
  if (text.size() <= most) return text;
  size_t n = most - 1;
  while (n > 0 && (static_cast<unsigned char>(text[n]) & 0xc0) == 0x80) --n;
  return text.substr(0, n) + "…";
}

void label(Svg& svg, double x, double y, const char* anchor, const char* style,
           const std::string& words) {
  svg.add("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\" class=\"{}\">{}</text>\n", x, y,
          anchor, style, escape_markup(words));
}

void grid_line(Svg& svg, SvgPlace a, SvgPlace b, const char* style) {
  svg.add("<line x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\" class=\"{}\"/>\n", a.x,
          a.y, b.x, b.y, style);
}

// 1, 2 or 5 of a decade, so that about `count` of them reach `most`.
double round_step(double most, double count) {
  const double rough = most / count;
  const double decade = std::pow(10, std::floor(std::log10(rough)));
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (factor * decade >= rough) return factor * decade;
  }
  return 10 * decade;
}

class MemoryBars {
 public:
  MemoryBars(const std::vector<Plan>& plans, const std::string& title)
      : plans_(plans),
        height_(kTop + kBar * static_cast<double>(plans.size()) + 40),
        svg_(Svg::part_of_page(kWidth, height_, title, description())) {
    for (const Plan& plan : plans) {
      most_ = std::max({most_, plan.memory.total(), plan.available_bytes});
    }
  }

  std::string draw() {
    draw_grid();
    for (size_t i = 0; i < plans_.size(); ++i) draw_bar(i);
    draw_limit();
    for (size_t i = 0; i < plans_.size(); ++i) name_bar(i);
    return svg_.finish();
  }

 private:
  static constexpr double kTop = 28;
  static constexpr double kBar = 27;
  static constexpr double kLeft = 86;
  static constexpr double kRight = kWidth - 50;

  std::string description() const {
    std::string text;
    for (const Plan& plan : plans_) {
      text += fmt::format("{}: {} GB. ", plan.format, gb_text(plan.memory.total()));
    }
    if (!plans_.empty()) {
      text += fmt::format("Usable: {} GB.", gb_text(plans_.front().available_bytes));
    }
    return text;
  }

  double x_at(double bytes) const { return kLeft + (kRight - kLeft) * bytes / most_; }

  void draw_grid() {
    const double bottom = height_ - 34;
    const double step = round_step(most_, 5);
    for (int i = 0; i * step <= most_ * 1.0001; ++i) {
      const double x = x_at(i * step);
      grid_line(svg_, {x, kTop}, {x, bottom}, "grid");
      label(svg_, x, bottom + 16, "middle", "tick", fmt::format("{:.4g}", i * step * 1e-9));
    }
    label(svg_, (kLeft + kRight) / 2, height_ - 3, "middle", "axis", "GB");
  }

  void draw_bar(size_t i) {
    const Plan& plan = plans_[i];
    const double y = kTop + kBar * static_cast<double>(i) + 4;
    double before = 0;
    for (const MemoryClass& kind : memory_classes()) {
      const double bytes = plan.memory.*kind.bytes;
      const double x = x_at(before);
      const double width = x_at(before + bytes) - x;
      before += bytes;
      if (width < 0.05) continue;
      svg_.add(
          "<rect x=\"{:.2f}\" y=\"{:.1f}\" width=\"{:.2f}\" height=\"{}\" class=\"m-{}\">"
          "<title>{}, {}: {} GB</title></rect>\n",
          x, y, width, kBar - 8, kind.style, escape_markup(plan.format), kind.title,
          gb_text(bytes));
    }
  }

  void name_bar(size_t i) {
    const Plan& plan = plans_[i];
    const double y = kTop + kBar * static_cast<double>(i) + 18;
    label(svg_, kLeft - 6, y, "end", "name", shortened(plan.format, 11));
    label(svg_, x_at(plan.memory.total()) + 5, y, "start", runs(plan) ? "value" : "value no",
          gb_text(plan.memory.total()));
  }

  void draw_limit() {
    if (plans_.empty()) return;
    const double x = x_at(plans_.front().available_bytes);
    grid_line(svg_, {x, kTop - 8}, {x, height_ - 34}, "limit");
    const bool right = x > kWidth / 2;
    label(svg_, x + (right ? 4 : -4), 14, right ? "end" : "start", "name",
          fmt::format("usable: {} GB", gb_text(plans_.front().available_bytes)));
  }

  const std::vector<Plan>& plans_;
  double height_;
  double most_ = 1;
  Svg svg_;
};

bool drawable(const CurvePoint& p) {
  return p.x > 0 && p.y.low > 0 && std::isfinite(p.y.low) && std::isfinite(p.y.high);
}

// A label that moves up or down until it covers no other.
struct PlacedLabel {
  double at = 0;     // of its line
  double place = 0;  // of the label
  std::string text;
  size_t style = 0;  // of a curve's
};

// From top to bottom, each below the one before it; what passes the bottom moves all up again.
void spread(std::vector<PlacedLabel>& labels, double top, double bottom) {
  constexpr double kLine = 15;
  std::ranges::stable_sort(labels, {}, &PlacedLabel::at);
  double least = top;
  for (PlacedLabel& l : labels) {
    l.place = std::max(l.at, least);
    least = l.place + kLine;
  }
  double most = bottom;
  for (auto l = labels.rbegin(); l != labels.rend(); ++l) {
    l->place = std::min(l->place, most);
    most = l->place - kLine;
  }
}

class LinePlot {
 public:
  explicit LinePlot(const LineChart& chart)
      : chart_(chart), svg_(Svg::part_of_page(kWidth, kHeight, chart.title, chart.description)) {
    size_t longest = 3;
    double low = std::numeric_limits<double>::infinity(), high = 0;
    const auto include = [&](double a, double b) {
      low = std::min(low, a);
      high = std::max(high, b);
    };
    for (const auto& [curve, style] : chart.lines) {
      longest = std::max(longest, std::min(curve->format.size(), kMostLetters));
      for (const CurvePoint& p : curve->points) {
        if (drawable(p)) include(p.y.low, p.y.high);
      }
    }
    is_empty_ = high == 0;
    for (const auto& [value, text] : chart.levels) {
      if (value > 0) include(value, value);
    }
    right_ = kWidth - 14 - kLetter * static_cast<double>(longest);
    if (!chart.x_ticks.empty()) {
      x_ = {chart.x_ticks.front().first, chart.x_ticks.back().first, kLeft, right_};
    }
    if (!is_empty_) y_ = make_log_axis(low / 1.05, high * 1.05, kBottom, kTop);
  }

  std::string draw() {
    draw_axes();
    if (is_empty_) {
      label(svg_, (kLeft + right_) / 2, (kTop + kBottom) / 2, "middle", "name", "no format runs");
      return svg_.finish();
    }
    for (const ChartLine& line : chart_.lines) draw_band(line);
    for (const ChartLine& line : chart_.lines) draw_curve(line);
    draw_levels();
    draw_labels();
    return svg_.finish();
  }

 private:
  static constexpr double kHeight = 320;
  static constexpr double kTop = 12;
  static constexpr double kBottom = kHeight - 42;
  static constexpr double kLeft = 46;
  static constexpr size_t kMostLetters = 14;

  // A single place has no length.
  double x_at(double x) const { return x_.high > x_.low ? x_.at(x) : (kLeft + right_) / 2; }

  void draw_axes() {
    double before = -100;
    for (const auto& [value, text] : chart_.x_ticks) {
      const double x = x_at(value);
      grid_line(svg_, {x, kTop}, {x, kBottom}, "grid");
      constexpr double kDigit = 6.6;
      if (x - before < kDigit * static_cast<double>(text.size()) + 4) continue;
      label(svg_, x, kBottom + 16, "middle", "tick", text);
      before = x;
    }
    label(svg_, (kLeft + right_) / 2, kHeight - 5, "middle", "axis", chart_.x_label);
    if (is_empty_) return;
    const double decades = std::log10(y_.high / y_.low);
    for (double decade = std::pow(10, std::floor(std::log10(y_.low))); decade <= y_.high * 1.001;
         decade *= 10) {
      for (const int step : {1, 2, 5}) {
        const double value = step * decade;
        if (value < y_.low * 0.999 || value > y_.high * 1.001) continue;
        const double y = y_.at(value);
        grid_line(svg_, {kLeft, y}, {right_, y}, step == 1 ? "grid strong" : "grid");
        if (step == 1 || decades < 3) {
          label(svg_, kLeft - 5, y + 4, "end", "tick", tick_text(value));
        }
      }
    }
  }

  static std::string tick_text(double value) {
    return value < 9999.5 ? fmt::format("{:.4g}", value)
           : value < 1e6  ? fmt::format("{:.4g}K", value * 1e-3)
                          : fmt::format("{:.4g}M", value * 1e-6);
  }

  void draw_band(const ChartLine& line) {
    std::string low, high;
    for (const CurvePoint& p : line.curve->points) {
      if (!drawable(p)) continue;
      high += fmt::format("{:.1f},{:.1f} ", x_at(p.x), y_.at(p.y.high));
      low.insert(0, fmt::format("{:.1f},{:.1f} ", x_at(p.x), y_.at(p.y.low)));
    }
    if (!high.empty())
      svg_.add("<polygon points=\"{}{}\" class=\"b{}\"/>\n", high, low, line.style);
  }

  // Named at the left, with their values.
  void draw_levels() {
    std::vector<PlacedLabel> labels;
    for (const auto& [value, text] : chart_.levels) {
      if (!(value > 0)) continue;
      const double y = y_.at(value);
      grid_line(svg_, {kLeft, y}, {right_, y}, "level");
      labels.push_back({y, y, fmt::format("{} {:.3g}", shortened(text, 28), value)});
    }
    spread(labels, kTop + 6, kBottom - 6);
    for (const PlacedLabel& l : labels) {
      label(svg_, kLeft + 5, l.place + 4, "start", "level-name", l.text);
    }
  }

  void draw_curve(const ChartLine& line) {
    const Curve& curve = *line.curve;
    std::string points;
    const CurvePoint* last = nullptr;
    for (const CurvePoint& p : curve.points) {
      if (!drawable(p)) continue;
      points += fmt::format("{:.1f},{:.1f} ", x_at(p.x), y_.at(p.y.expected));
      last = &p;
    }
    if (last == nullptr) return;
    svg_.add("<polyline points=\"{}\" class=\"s{}\"/>\n", points, line.style);
    for (const CurvePoint& p : curve.points) {
      if (!drawable(p)) continue;
      svg_.add(
          "<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"2.6\" class=\"d{}\"><title>{}, {:.6g}: "
          "{:.4g} ({:.4g} to {:.4g})</title></circle>\n",
          x_at(p.x), y_.at(p.y.expected), line.style, escape_markup(curve.format), p.x,
          p.y.expected, p.y.low, p.y.high);
    }
    const double y = y_.at(last->y.expected);
    // A curve that ends early is named where it ends.
    if (x_at(last->x) < right_ - 1) {
      label(svg_, x_at(last->x) + 6, y + 4, "start", "name", shortened(curve.format, kMostLetters));
      return;
    }
    labels_.push_back({y, y, shortened(curve.format, kMostLetters), line.style});
  }

  void draw_labels() {
    spread(labels_, kTop, kBottom);
    for (const PlacedLabel& l : labels_) {
      svg_.add("<line x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\" class=\"s{}\"/>\n",
               right_, l.at, right_ + 9, l.place, l.style);
      label(svg_, right_ + 12, l.place + 4, "start", "name", l.text);
    }
  }

  const LineChart& chart_;
  Svg svg_;
  bool is_empty_ = false;
  double right_ = 0;
  LogAxis x_{};
  LogAxis y_{};
  std::vector<PlacedLabel> labels_;
};

}  // namespace

const std::vector<MemoryClass>& memory_classes() {
  static const std::vector<MemoryClass> kClasses = {
      {"dense", "dense weights", &MemoryNeed::dense},
      {"experts", "experts", &MemoryNeed::experts},
      {"swa", "KV, sliding window", &MemoryNeed::kv_swa},
      {"csa", "KV, CSA", &MemoryNeed::kv_csa},
      {"hca", "KV, HCA", &MemoryNeed::kv_hca},
      {"tails", "tails", &MemoryNeed::tails},
      {"scratch", "scratch", &MemoryNeed::scratch},
      {"runtime", "runtime", &MemoryNeed::runtime}};
  return kClasses;
}

std::string memory_chart(const std::vector<Plan>& plans, const std::string& title) {
  return MemoryBars(plans, title).draw();
}

std::string line_chart(const LineChart& chart) { return LinePlot(chart).draw(); }

}  // namespace dsv4
