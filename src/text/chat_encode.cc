#include "text/chat_encode.h"

#include "base/error.h"
#include "text/chat_messages.h"
#include "text/chat_texts.h"
#include "text/special_tokens.h"

#include <fmt/core.h>

#include <algorithm>

namespace dsv4 {

namespace {

// The text in front of the first message at this effort.
std::string_view effort_text(const ChatOptions& options) {
  const bool is_preview = options.variant == ChatVariant::kPreview;
  if (!options.reasoning_effort) return "";
  const std::string& effort = *options.reasoning_effort;
  if (effort == "max") return is_preview ? kEffortHigh : kEffortMax;
  if (effort == "high") return is_preview ? "" : kEffortHigh;
  if (!is_preview && (effort.empty() || effort == "low")) return "";
  throw Error(ErrorCode::kInvalidInput, "reasoning_effort",
              fmt::format("expected {}, found \"{}\"",
                          is_preview ? "none, \"high\" or \"max\"" : "\"low\", \"high\" or \"max\"",
                          effort));
}

// Renders prepared messages one after the other into spans.
class ChatRenderer {
 public:
  ChatRenderer(const std::vector<ChatMessage>& messages, const ChatOptions& options,
               bool drop_thinking)
      : messages_(messages),
        last_user_(last_user_index(messages)),
        is_thinking_(options.thinking_mode == ThinkingMode::kThinking),
        drop_thinking_(drop_thinking),
        effort_text_(effort_text(options)) {}

  // Text that the format adds.
  void markup(std::string_view text) { append(text, Trust::kTrusted); }

  void render(size_t i) {
    if (i == 0 && is_thinking_) markup(effort_text_);
    const ChatMessage& message = messages_[i];
    if (message.role == "system") {
      content(optional_text(message, "content"));
      declarations(message);
    } else if (message.role == "developer") {
      developer(message);
    } else if (message.role == "user") {
      user(message);
    } else if (message.role == "latest_reminder") {
      markup(kLatestReminder);
      // The reference formats a missing text as Python does.
      content(message.field("content") != nullptr ? optional_text(message, "content") : "None");
    } else if (message.role == "assistant") {
      assistant(i);
    } else {
      throw Error(ErrorCode::kInvalidInput, message.where,
                  fmt::format("unknown role \"{}\"; expected system, user, assistant, tool, "
                              "developer or latest_reminder",
                              message.role));
    }
    transition(i);
  }

  std::vector<PromptPiece> take() { return std::move(pieces_); }

 private:
  void append(std::string_view text, Trust trust) {
    if (text.empty()) return;
    if (pieces_.empty()) pieces_.emplace_back();
    std::vector<TextSpan>& spans = pieces_.back().spans;
    if (spans.empty() || spans.back().trust != trust) spans.push_back({"", trust});
    spans.back().text += text;
  }

  // What is appended from now on is a piece of its own.
  void begin_piece(PromptPiece::Kind kind, size_t message = 0) {
    pieces_.push_back({kind, message, {}, false});
  }

  // Text from the messages.
  void content(std::string_view text) { append(text, Trust::kUntrusted); }

  // A member that may be absent or null.
  static std::string_view optional_text(const ChatMessage& message, const char* key) {
    const Json* value = message.field(key);
    if (value == nullptr) return "";
    return value->as_string(fmt::format("{}.{}", message.where, key));
  }

  // Tool schemas and response format of a system or developer message.
  void declarations(const ChatMessage& message) {
    if (const Json* tools = message.field("tools"); is_truthy(tools)) {
      const std::string where = message.where + ".tools";
      const Json::Array& items = tools->as_array(where);
      markup("\n\n");
      markup(kToolsBefore);
      for (size_t i = 0; i < items.size(); ++i) {
        if (i > 0) markup("\n");
        content(items[i].at("function", fmt::format("{}[{}]", where, i)).print());
      }
      markup(kToolsAfter);
    }
    if (const Json* format = message.field("response_format"); is_truthy(format)) {
      markup("\n\n");
      markup(kResponseFormat);
      content(format->print());
    }
  }

  void developer(const ChatMessage& message) {
    const std::string_view text = optional_text(message, "content");
    if (text.empty()) {
      throw Error(ErrorCode::kInvalidInput, message.where + ".content",
                  "a developer message must have text");
    }
    markup(kUser);
    content(text);
    declarations(message);
  }

  void user(const ChatMessage& message) {
    markup(kUser);
    for (const ChatBlock& block : message.blocks) {
      if (&block != &message.blocks.front()) markup("\n\n");
      if (block.kind == ChatBlock::Kind::kText) {
        if (block.content != nullptr) content(block.content->as_string(block.where));
      } else {
        markup("<tool_result>");
        tool_result(block);
        markup("</tool_result>");
      }
    }
  }

  void tool_result(const ChatBlock& block) {
    if (block.content == nullptr) return;
    if (block.content->is_null()) {
      content("None");  // as the reference formats it
      return;
    }
    if (!block.content->is_array()) {
      content(block.content->as_string(block.where));
      return;
    }
    const Json::Array& parts = block.content->as_array(block.where);
    for (size_t i = 0; i < parts.size(); ++i) {
      const std::string where = fmt::format("{}[{}]", block.where, i);
      parts[i].as_object(where);
      const Json* type = parts[i].find("type");
      std::string_view type_name = "None";
      if (type != nullptr && type->is_string()) type_name = type->as_string(where);
      if (i > 0) markup("\n\n");
      if (type_name == "text") {
        const Json* text = parts[i].find("text");
        if (text != nullptr) content(text->as_string(where + ".text"));
      } else {
        content(fmt::format("[Unsupported {}]", type_name));
      }
    }
  }

  void assistant(size_t i) {
    const ChatMessage& message = messages_[i];
    const bool follows_task = i > 0 && messages_[i - 1].field("task") != nullptr;
    if (is_thinking_ && !follows_task && has_thinking(i, 1)) {
      begin_piece(PromptPiece::Kind::kReasoning, message.index);
      if (!message.reasoning_dropped) content(optional_text(message, "reasoning_content"));
      markup(kThinkEnd);
    }
    begin_piece(PromptPiece::Kind::kReply, message.index);
    content(optional_text(message, "content"));
    tool_calls(message);
    if (!is_truthy(message.field("wo_eos"))) markup(kEos);
    begin_piece(PromptPiece::Kind::kOther);
  }

  // Whether the reasoning of the turn is kept whose user message is `n_behind` before message i.
  bool has_thinking(size_t i, ptrdiff_t n_behind) const {
    return !drop_thinking_ || static_cast<ptrdiff_t>(i) >= last_user_ + n_behind;
  }

  void tool_calls(const ChatMessage& message) {
    const Json* calls = message.field("tool_calls");
    if (!is_truthy(calls)) return;
    const std::string where = message.where + ".tool_calls";
    const Json::Array& items = calls->as_array(where);
    markup("\n\n<｜DSML｜tool_calls>\n");
    for (size_t i = 0; i < items.size(); ++i) {
      const std::string place = fmt::format("{}[{}]", where, i);
      const Json& function = items[i].at("function", place);
      const std::string function_place = place + ".function";
      if (i > 0) markup("\n");
      markup("<｜DSML｜invoke name=\"");
      content(function.at("name", function_place).as_string(function_place + ".name"));
      markup("\">\n");
      arguments(function.at("arguments", function_place), function_place + ".arguments");
      markup("\n</｜DSML｜invoke>");
    }
    markup("\n</｜DSML｜tool_calls>");
  }

  // Arguments that are not a string of JSON become one parameter of the name "arguments".
  static Json parse_arguments(const Json& value, const std::string& where) {
    if (value.is_string()) {
      try {
        return Json::parse(value.as_string(where), where);
      } catch (const Error&) {
        // Falls through to the one parameter.
      }
    }
    return Json().set("arguments", value);
  }

  void arguments(const Json& value, const std::string& where) {
    const Json parsed = parse_arguments(value, where);
    const Json::Object& members = parsed.as_object(where);
    for (const Json::Member& member : members) {
      if (&member != &members.front()) markup("\n");
      markup("<｜DSML｜parameter name=\"");
      content(member.key);
      markup(member.value.is_string() ? "\" string=\"true\">" : "\" string=\"false\">");
      content(member.value.is_string() ? member.value.as_string(where) : member.value.print());
      markup("</｜DSML｜parameter>");
    }
  }

  // What stands between this message and the next one, or the model's turn.
  void transition(size_t i) {
    if (i + 1 < messages_.size()) {
      const std::string& next = messages_[i + 1].role;
      if (next != "assistant" && next != "latest_reminder") return;
    }
    const ChatMessage& message = messages_[i];
    if (const Json* task = message.field("task")) {
      const std::string where = message.where + ".task";
      start_task(task->as_string(where), where);
    } else if (message.role == "user" || message.role == "developer") {
      markup(kAssistant);
      markup(is_thinking_ && has_thinking(i, 0) ? kThinkBegin : kThinkEnd);
    }
  }

  void start_task(const std::string& task, const std::string& where) {
    constexpr std::string_view kTasks[] = {"action", "query", "authority",
                                           "domain", "title", "read_url"};
    if (std::find(std::begin(kTasks), std::end(kTasks), task) == std::end(kTasks)) {
      throw Error(ErrorCode::kInvalidInput, where,
                  fmt::format("unknown task \"{}\"; expected action, query, authority, domain, "
                              "title or read_url",
                              task));
    }
    if (task == "action") {
      markup(kAssistant);
      markup(is_thinking_ ? kThinkBegin : kThinkEnd);
    }
    markup(fmt::format("<｜{}｜>", task));
  }

  const std::vector<ChatMessage>& messages_;
  ptrdiff_t last_user_;
  bool is_thinking_;
  bool drop_thinking_;
  std::string_view effort_text_;
  std::vector<PromptPiece> pieces_;
};

// Whether the piece ends with an added token that the format wrote.
bool ends_with_token(const PromptPiece& piece) {
  if (piece.spans.empty() || piece.spans.back().trust != Trust::kTrusted) return false;
  const std::string& text = piece.spans.back().text;
  return text.ends_with("｜>") || text.ends_with(kThinkBegin) || text.ends_with(kThinkEnd);
}

}  // namespace

std::vector<PromptPiece> encode_chat_pieces(const Json::Array& messages,
                                            const ChatOptions& options) {
  std::vector<ChatMessage> context = merge_messages(options.context, "context");
  std::vector<ChatMessage> all = merge_messages(messages, "messages");
  sort_tool_results(context, all);
  all.insert(all.begin(), context.begin(), context.end());

  const bool has_tools = std::any_of(all.begin(), all.end(), [](const ChatMessage& message) {
    return message.role != "user" && is_truthy(message.field("tools"));
  });
  const bool drop_thinking = options.drop_thinking && !has_tools;
  if (drop_thinking && options.thinking_mode == ThinkingMode::kThinking) {
    all = drop_old_reasoning(std::move(all));
    context = drop_old_reasoning(std::move(context));
  }

  ChatRenderer renderer(all, options, drop_thinking);
  if (options.add_bos && options.context.empty()) renderer.markup(kBos);
  for (size_t i = context.size(); i < all.size(); ++i) renderer.render(i);
  std::vector<PromptPiece> pieces = renderer.take();
  std::erase_if(pieces, [](const PromptPiece& piece) { return piece.spans.empty(); });
  for (size_t i = 0; i < pieces.size(); ++i) {
    const bool begins_alone = i == 0 || ends_with_token(pieces[i - 1]);
    pieces[i].stands_alone = begins_alone && ends_with_token(pieces[i]);
  }
  return pieces;
}

std::vector<TextSpan> encode_chat(const Json::Array& messages, const ChatOptions& options) {
  std::vector<TextSpan> joined;
  for (PromptPiece& piece : encode_chat_pieces(messages, options)) {
    for (TextSpan& span : piece.spans) {
      if (!joined.empty() && joined.back().trust == span.trust) {
        joined.back().text += span.text;
      } else {
        joined.push_back(std::move(span));
      }
    }
  }
  return joined;
}

std::string join(const std::vector<TextSpan>& spans) {
  std::string text;
  for (const TextSpan& span : spans) text += span.text;
  return text;
}

}  // namespace dsv4
