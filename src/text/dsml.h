// The tags of tool calls in completions, in the spellings that models produce, and their
// attributes.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace dsv4 {

enum class TagKind {
  kThinkBegin,      // <think>
  kThinkEnd,        // </think>
  kEos,             // the end-of-sentence token as text
  kBlockBegin,      // <｜DSML｜tool_calls>
  kBlockEnd,        // </｜DSML｜tool_calls>
  kInvokeBegin,     // <｜DSML｜invoke, up to the attributes
  kInvokeEnd,       // </｜DSML｜invoke>
  kParameterBegin,  // <｜DSML｜parameter, up to the attributes
  kParameterEnd,    // </｜DSML｜parameter>
};

// How the word DSML is spelled in a tag.
enum class Dialect {
  kCanonical,  // ｜DSML｜
  kNoBar,      // DSML｜
  kAscii,      // |DSML|
  kPlain,      // nothing
};

// Which spellings are read as tags: the odd ones only where a request declared tools.
enum class Spellings { kCanonical, kAll };

struct Tag {
  TagKind kind;
  Dialect dialect;
  std::string text;  // begins with '<', which is nowhere else in it
};

// The spelling of one tag.
std::string tag_text(TagKind kind, Dialect dialect);

// The tags that mean something at one place of a completion.
class TagSet {
 public:
  TagSet(std::initializer_list<TagKind> kinds, Spellings spellings);

  enum class Found { kNone, kPartial, kTag };
  struct Match {
    Found found;
    const Tag* tag;  // of kTag
  };
  // Whether `text` begins with one of the tags or may do so when it goes on.
  Match match(std::string_view text) const;

 private:
  std::vector<Tag> tags_;  // none is the beginning of another
};

// The attributes of an invoke or parameter tag.
struct TagAttributes {
  std::string name;
  std::optional<bool> is_string;  // nothing if missing or neither true nor false
};

// Whether a '>' at the end of `header`, the text behind the tag's word, ends the tag: it stands
// behind a quotation mark.
bool ends_header(std::string_view header);

// Reads ` name="..." string="..."` without the '>': in any order, with either quotation mark; if
// that fails, with quotation marks inside the name. Nothing if there is no usable name.
std::optional<TagAttributes> parse_attributes(std::string_view header);

}  // namespace dsv4
