#include "text/parse_completion.h"

#include "base/error.h"
#include "text/special_tokens.h"
#include "text/unicode.h"
#include "text/unicode_classes.h"

#include <fmt/core.h>

#include <initializer_list>
#include <set>
#include <string>

namespace dsv4 {

namespace {

constexpr std::string_view kCallsBegin =
    "\n\n<｜DSML｜tool_calls";  // the '>' is part of what follows
constexpr std::string_view kCallsEnd = "</｜DSML｜tool_calls>";
constexpr std::string_view kInvokeBegin = "<｜DSML｜invoke";
constexpr std::string_view kInvokeEnd = "</｜DSML｜invoke";
constexpr std::string_view kParameterBegin = "<｜DSML｜parameter";
constexpr std::string_view kParameterEnd =
    "/｜DSML｜parameter";  // the '<' is part of the value text

// Python's str.isspace for one character: White_Space and the four information separators.
bool is_python_space(char32_t c) {
  return (c >= 0x1C && c <= 0x1F) || char_class(c) == CharClass::kSpace;
}

// `$` of the reference's expressions matches at the end and before a last line feed.
std::string_view without_last_line_feed(std::string_view text) {
  if (text.ends_with('\n')) text.remove_suffix(1);
  return text;
}

bool take_prefix(std::string_view& text, std::string_view prefix) {
  if (!text.starts_with(prefix)) return false;
  text.remove_prefix(prefix.size());
  return true;
}

class CompletionParser {
 public:
  explicit CompletionParser(std::string_view text) : text_(text) {}

  AssistantMessage parse(ThinkingMode mode) {
    AssistantMessage message;
    if (mode == ThinkingMode::kThinking) {
      message.reasoning_content = read_until({kThinkEnd, kCallsBegin});
      if (stop_ != kThinkEnd) fail("the reasoning is not ended by </think>");
    }
    message.content = read_until({kEos, kCallsBegin});
    if (stop_ == kCallsBegin) {
      read_calls(message.tool_calls);
      if (!read_until({kEos}).empty()) fail("text follows the tool calls");
    } else if (stop_ != kEos) {
      fail("the end-of-sentence token is missing");
    }
    if (position_ != text_.size()) fail("text follows the end-of-sentence token");
    refuse_markup(message.content, "content");
    refuse_markup(message.reasoning_content, "reasoning");
    return message;
  }

 private:
  [[noreturn]] void fail(const std::string& message) const {
    throw Error(ErrorCode::kInvalidInput, fmt::format("completion, byte {}", position_), message);
  }

  // The text up to the earliest of the markers, which is consumed and becomes stop_; the rest of
  // the text and an empty stop_ if there is none.
  std::string_view read_until(std::initializer_list<std::string_view> markers) {
    std::string first_bytes;
    for (const std::string_view marker : markers) first_bytes += marker.front();
    const size_t begin = position_;
    for (size_t i = begin; i < text_.size(); ++i) {
      i = text_.find_first_of(first_bytes, i);
      if (i == std::string_view::npos) break;
      for (const std::string_view marker : markers) {
        if (!text_.substr(i).starts_with(marker)) continue;
        position_ = i + marker.size();
        stop_ = marker;
        return text_.substr(begin, i - begin);
      }
    }
    position_ = text_.size();
    stop_ = {};
    return text_.substr(begin);
  }

  // Like the reference, each loop ends when the text is used up: a call cut off at certain places
  // is accepted.
  void read_calls(std::vector<ToolCall>& calls) {
    while (position_ < text_.size()) {
      if (read_until({kInvokeBegin, kCallsEnd}) != ">\n") {
        fail("expected \">\" and a line feed between tool calls");
      }
      if (stop_ == kCallsEnd) return;
      if (stop_.empty()) fail("the tool calls are not ended");
      calls.push_back(read_call());
    }
  }

  ToolCall read_call() {
    ToolCall call;
    call.name = read_name(read_until({kParameterBegin, kInvokeEnd}));
    std::set<std::string, std::less<>> keys;
    call.arguments = "{";
    while (stop_ == kParameterBegin) {
      read_parameter(read_until({kParameterEnd}), keys, call.arguments);
      if (read_until({kParameterBegin, kInvokeEnd}) != ">\n") {
        fail("expected \">\" and a line feed after a parameter");
      }
    }
    call.arguments += '}';
    return call;
  }

  // White space, name="NAME">, line feed.
  std::string read_name(std::string_view header) {
    while (!header.empty()) {
      const CodePoint c = decode_utf8(header, 0);
      if (!is_python_space(c.value)) break;
      header.remove_prefix(c.length);
    }
    if (header.ends_with("\">\n\n")) header.remove_suffix(1);
    if (take_prefix(header, "name=\"") && header.ends_with("\">\n")) {
      return std::string(header.substr(0, header.size() - 3));
    }
    fail("expected name=\"...\" and a line feed in a tool call");
  }

  // One space, name="KEY" string="true|false">VALUE<.
  void read_parameter(std::string_view text, std::set<std::string, std::less<>>& keys,
                      std::string& arguments) {
    std::string_view rest = without_last_line_feed(text);
    if (!take_prefix(rest, " name=\"") || !rest.ends_with('<')) {
      fail("expected name=\"...\" string=\"...\" in a parameter");
    }
    rest.remove_suffix(1);
    // The shortest key: the first place where the attribute can follow.
    constexpr std::string_view kAttribute = "\" string=\"";
    for (size_t i = rest.find(kAttribute); i != std::string_view::npos;
         i = rest.find(kAttribute, i + 1)) {
      std::string_view value = rest.substr(i + kAttribute.size());
      const bool is_string = take_prefix(value, "true\">");
      if (!is_string && !take_prefix(value, "false\">")) continue;
      const auto [key, is_new] = keys.emplace(rest.substr(0, i));
      if (!is_new) fail(fmt::format("the parameter \"{}\" occurs twice", *key));
      if (keys.size() > 1) arguments += ", ";
      append_json_quoted(arguments, *key);
      arguments += ": ";
      if (is_string) {
        append_json_quoted(arguments, value);
      } else {
        arguments += value;
      }
      return;
    }
    fail("expected string=\"true\" or string=\"false\" in a parameter");
  }

  void refuse_markup(std::string_view text, std::string_view part) const {
    for (const std::string_view token : {kBos, kEos, kThinkBegin, kThinkEnd, kDsml}) {
      if (text.find(token) != std::string_view::npos) {
        throw Error(ErrorCode::kInvalidInput, "completion",
                    fmt::format("the {} contains {}", part, token));
      }
    }
  }

  std::string_view text_;
  size_t position_ = 0;
  std::string_view stop_;  // the marker that ended the last read
};

}  // namespace

AssistantMessage parse_completion(std::string_view text, ThinkingMode mode) {
  return CompletionParser(text).parse(mode);
}

}  // namespace dsv4
