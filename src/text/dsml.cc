#include "text/dsml.h"

#include "text/special_tokens.h"

#include <algorithm>

namespace dsv4 {

namespace {

constexpr Dialect kDialects[] = {Dialect::kCanonical, Dialect::kNoBar, Dialect::kAscii,
                                 Dialect::kPlain};
// V3.2 has the second name for the block; everything inside is alike.
constexpr std::string_view kBlockNames[] = {"tool_calls", "function_calls"};
constexpr std::string_view kSpaces = " \t\r\n";

std::string_view dsml_word(Dialect dialect) {
  switch (dialect) {
    case Dialect::kCanonical:
      return kDsml;
    case Dialect::kNoBar:
      return "DSML｜";
    case Dialect::kAscii:
      return "|DSML|";
    case Dialect::kPlain:
      return "";
  }
  return "";
}

// What stands behind the word DSML; for blocks the first of their names.
std::string_view tag_name(TagKind kind) {
  switch (kind) {
    case TagKind::kInvokeBegin:
    case TagKind::kInvokeEnd:
      return "invoke";
    case TagKind::kParameterBegin:
    case TagKind::kParameterEnd:
      return "parameter";
    default:
      return kBlockNames[0];
  }
}

bool is_end(TagKind kind) {
  return kind == TagKind::kBlockEnd || kind == TagKind::kInvokeEnd ||
         kind == TagKind::kParameterEnd;
}

std::string spell(TagKind kind, Dialect dialect, std::string_view name) {
  std::string text = is_end(kind) ? "</" : "<";
  text.append(dsml_word(dialect)).append(name);
  if (kind != TagKind::kInvokeBegin && kind != TagKind::kParameterBegin) text += '>';
  return text;
}

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  return out;
}

void set_is_string(TagAttributes& attributes, std::string_view value) {
  const std::string word = lower(value);
  if (word == "true") attributes.is_string = true;
  if (word == "false") attributes.is_string = false;
}

std::string_view trim(std::string_view text) {
  const size_t first = text.find_first_not_of(kSpaces);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kSpaces) + 1 - first);
}

// key="value" pairs whose values do not contain their own quotation mark.
std::optional<TagAttributes> parse_pairs(std::string_view text) {
  TagAttributes attributes;
  bool has_name = false;
  while (!text.empty()) {
    const size_t equals = text.find('=');
    if (equals == std::string_view::npos || equals + 1 >= text.size()) return std::nullopt;
    const std::string_view key = trim(text.substr(0, equals));
    const char quote = text[equals + 1];
    const size_t end = text.find(quote, equals + 2);
    if ((quote != '"' && quote != '\'') || end == std::string_view::npos) return std::nullopt;
    const std::string_view value = text.substr(equals + 2, end - equals - 2);
    if (key == "name" && !has_name) {
      attributes.name = value;
      has_name = true;
    } else if (key == "string") {
      set_is_string(attributes, value);
    } else {
      return std::nullopt;
    }
    text = trim(text.substr(end + 1));
  }
  if (!has_name) return std::nullopt;
  return attributes;
}

// name="NAME" or name="NAME" string="VALUE" with any quotation marks in NAME.
std::optional<TagAttributes> parse_quoted_name(std::string_view text) {
  constexpr std::string_view kName = "name=\"";
  constexpr std::string_view kString = "\" string=\"";
  if (text.size() <= kName.size() || !text.starts_with(kName) || !text.ends_with('"')) {
    return std::nullopt;
  }
  text = text.substr(kName.size(), text.size() - kName.size() - 1);
  TagAttributes attributes;
  const size_t end = text.find(kString);
  attributes.name = text.substr(0, end);
  if (end != std::string_view::npos) set_is_string(attributes, text.substr(end + kString.size()));
  return attributes;
}

}  // namespace

std::string tag_text(TagKind kind, Dialect dialect) { return spell(kind, dialect, tag_name(kind)); }

TagSet::TagSet(std::initializer_list<TagKind> kinds, Spellings spellings) {
  for (const TagKind kind : kinds) {
    if (kind == TagKind::kThinkBegin || kind == TagKind::kThinkEnd || kind == TagKind::kEos) {
      const std::string_view text = kind == TagKind::kEos        ? kEos
                                    : kind == TagKind::kThinkEnd ? kThinkEnd
                                                                 : kThinkBegin;
      tags_.push_back({kind, Dialect::kCanonical, std::string(text)});
      continue;
    }
    for (const Dialect dialect : kDialects) {
      if (dialect != Dialect::kCanonical && spellings == Spellings::kCanonical) continue;
      tags_.push_back({kind, dialect, tag_text(kind, dialect)});
      if (kind == TagKind::kBlockBegin || kind == TagKind::kBlockEnd) {
        tags_.push_back({kind, dialect, spell(kind, dialect, kBlockNames[1])});
      }
    }
  }
}

TagSet::Match TagSet::match(std::string_view text) const {
  Match match{Found::kNone, nullptr};
  for (const Tag& tag : tags_) {
    if (text.starts_with(tag.text)) return {Found::kTag, &tag};
    if (std::string_view(tag.text).starts_with(text)) match.found = Found::kPartial;
  }
  return match;
}

bool ends_header(std::string_view header) {
  if (!header.ends_with('>')) return false;
  header = header.substr(0, header.size() - 1);
  const size_t last = header.find_last_not_of(kSpaces);
  return last != std::string_view::npos && (header[last] == '"' || header[last] == '\'');
}

std::optional<TagAttributes> parse_attributes(std::string_view header) {
  if (header.empty() || kSpaces.find(header.front()) == std::string_view::npos) return std::nullopt;
  const std::string_view text = trim(header);
  std::optional<TagAttributes> attributes = parse_pairs(text);
  if (!attributes) attributes = parse_quoted_name(text);
  if (!attributes || attributes->name.find('\n') != std::string::npos) return std::nullopt;
  return attributes;
}

}  // namespace dsv4
