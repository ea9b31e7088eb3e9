// Pieces of HTML that are known to be well-formed.
#pragma once

#include "plan/source.h"

#include <string>
#include <string_view>
#include <vector>

namespace dsv4 {

// Made of text that is escaped, or of other markup.
struct Markup {
  std::string html;
};

Markup plain(std::string_view text);
// <tag class="style">content</tag>; no class if it is empty.
Markup element(std::string_view tag, std::string_view style, const Markup& content);
// The title as a link, if the source has an address of the web, and the date.
Markup source_link(const Source& source);

struct HtmlTable {
  std::string caption;  // for those who do not see what stands around it
  using Row = std::vector<Markup>;
  std::vector<std::string> head;
  std::vector<Row> rows;      // the first cell is the head of the row
  std::vector<size_t> words;  // columns of text, set to the left
};
Markup to_markup(const HtmlTable& table);

}  // namespace dsv4
