#include "plan/markup.h"

#include "base/svg.h"

#include <algorithm>

#include <fmt/format.h>

namespace dsv4 {

Markup plain(std::string_view text) { return {escape_markup(text)}; }

Markup element(std::string_view tag, std::string_view style, const Markup& content) {
  const std::string attribute =
      style.empty() ? "" : fmt::format(" class=\"{}\"", escape_markup(style));
  return {fmt::format("<{0}{1}>{2}</{0}>", tag, attribute, content.html)};
}

Markup source_link(const Source& source) {
  // Other addresses might run something.
  const bool is_web = source.url.starts_with("https://") || source.url.starts_with("http://");
  const std::string title = escape_markup(source.title.empty() ? source.url : source.title);
  const std::string date = source.date.empty() ? "" : " (" + escape_markup(source.date) + ")";
  if (!is_web) return {title + date};
  return {fmt::format("<a href=\"{}\" rel=\"noopener noreferrer\">{}</a>{}",
                      escape_markup(source.url), title, date)};
}

Markup to_markup(const HtmlTable& table) {
  const auto style = [&](size_t column) {
    return std::ranges::find(table.words, column) == table.words.end() ? "" : " class=\"words\"";
  };
  std::string out =
      fmt::format("<div class=\"wide\"><table aria-label=\"{}\">\n", escape_markup(table.caption));
  out += "<thead><tr>";
  for (size_t i = 0; i < table.head.size(); ++i) {
    out += fmt::format("<th scope=\"col\"{}>{}</th>", style(i), escape_markup(table.head[i]));
  }
  out += "</tr></thead>\n<tbody>\n";
  for (const HtmlTable::Row& row : table.rows) {
    out += "<tr>";
    for (size_t i = 0; i < row.size(); ++i) {
      out += i == 0 ? fmt::format("<th scope=\"row\">{}</th>", row[i].html)
                    : fmt::format("<td{}>{}</td>", style(i), row[i].html);
    }
    out += "</tr>\n";
  }
  return {out + "</tbody></table></div>\n"};
}

}  // namespace dsv4
