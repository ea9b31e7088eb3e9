#include "base/svg.h"

#include <array>
#include <cmath>

namespace dsv4 {
std::string escape_markup(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? ' ' : c;
    }
  }
  return out;
}

double LogAxis::at(double value) const {
  return from + (to - from) * std::log(value / low) / std::log(high / low);
}

LogAxis make_log_axis(double low, double high, double from, double to) {
  const auto step = [](double value, bool up) {
    const double decade = std::pow(10, std::floor(std::log10(value)));
    constexpr std::array<double, 4> kSteps = {1, 2, 5, 10};
    double best = decade;
    for (const double s : kSteps) {
      if (up ? s * decade >= value * 0.999 : s * decade <= value * 1.001) best = s * decade;
      if (up && best >= value * 0.999) break;
    }
    return best;
  };
  return {step(low, false), step(high, true), from, to};
}

Svg::Svg(double width, double height, double font_size) {
  add("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0}\" height=\"{1}\" "
      "viewBox=\"0 0 {0} {1}\" font-family=\"Helvetica, Arial, sans-serif\" "
      "font-size=\"{2}\">\n<rect width=\"{0}\" height=\"{1}\" fill=\"#ffffff\"/>\n",
      width, height, font_size);
}

Svg Svg::part_of_page(double width, double height, const std::string& title,
                      const std::string& description) {
  Svg svg;
  svg.add("<svg viewBox=\"0 0 {} {}\" role=\"img\">\n<title>{}</title>\n<desc>{}</desc>\n", width,
          height, escape_markup(title), escape_markup(description));
  return svg;
}

void Svg::line(SvgPlace a, SvgPlace b, const char* color, double width, const char* more) {
  add("<line x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\" stroke=\"{}\" "
      "stroke-width=\"{}\"{}/>\n",
      a.x, a.y, b.x, b.y, color, width, more);
}

void Svg::text(double x, double y, const char* anchor, const char* color, const std::string& words,
               const std::string& more) {
  add("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\" fill=\"{}\" {}>{}</text>\n", x, y, anchor,
      color, more, escape_markup(words));
}

std::string Svg::finish() {
  add("</svg>\n");
  return std::move(out_);
}

}  // namespace dsv4
