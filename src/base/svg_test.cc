#include "base/svg.h"

#include <gtest/gtest.h>

namespace dsv4 {
namespace {

TEST(Svg, text_is_no_markup) {
  EXPECT_EQ(escape_markup("a<b>&\"'\n\x7f"
                          "ü"),
            "a&lt;b&gt;&amp;&quot;&#39;  ü");
}

TEST(Svg, a_part_of_a_page_says_what_it_shows) {
  Svg svg = Svg::part_of_page(10, 20, "a < b", "c & d");
  svg.text(1, 2, "end", "red", "<x>");
  EXPECT_EQ(svg.finish(),
            "<svg viewBox=\"0 0 10 20\" role=\"img\">\n<title>a &lt; b</title>\n"
            "<desc>c &amp; d</desc>\n"
            "<text x=\"1.0\" y=\"2.0\" text-anchor=\"end\" fill=\"red\" >&lt;x&gt;</text>\n"
            "</svg>\n");
}

TEST(LogAxis, begins_and_ends_at_steps_of_a_decade) {
  const LogAxis axis = make_log_axis(3, 400, 0, 100);
  EXPECT_DOUBLE_EQ(axis.low, 2);
  EXPECT_DOUBLE_EQ(axis.high, 500);
  EXPECT_DOUBLE_EQ(axis.at(2), 0);
  EXPECT_DOUBLE_EQ(axis.at(500), 100);
}

}  // namespace
}  // namespace dsv4
