// The parser of completions for serving: takes text as it is generated and gives reasoning, content
// and tool calls as soon as they are certain, repairs what models get wrong, and never executes
// half a call. docs/text.md has its states as a table.
#pragma once

#include "text/chat_types.h"
#include "text/declared_tools.h"
#include "text/dsml.h"
#include "text/text_stream.h"

#include <cstddef>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace dsv4 {

// A piece of the result. The texts of one kind, joined, are the same however the completion was cut
// into pieces.
struct ParseEvent {
  enum class Kind {
    kReasoning,        // text of the reasoning
    kContent,          // text of the answer
    kRawText,          // text of the answer that looks like a tool call but cannot be read as one
    kToolCallBegin,    // text: the name of the function
    kArguments,        // text: next part of the JSON of the arguments
    kToolCallEnd,      // the arguments are complete
    kToolCallAborted,  // the call is not complete and must not be executed; its raw text follows
  };
  Kind kind;
  std::string text;
  size_t call = 0;  // index of the tool call, for the four kinds of calls
  bool operator==(const ParseEvent&) const = default;
};

// Why generation ended. The caller gives kStop or kLength; the parser makes it kToolCalls.
enum class FinishReason { kStop, kLength, kToolCalls };

struct LenientOptions {
  ThinkingMode mode = ThinkingMode::kChat;
  DeclaredTools tools;
};

// One completion. The end-of-sentence token may be part of the text; what follows it is ignored.
// Never throws for any text. Time is linear in the text, however it is cut.
class LenientParser {
 public:
  explicit LenientParser(LenientOptions options);

  // The next piece of the text, cut anywhere.
  std::vector<ParseEvent> feed(std::string_view text);
  // No text follows.
  std::vector<ParseEvent> finish(FinishReason reason);

  // Everything so far; complete after finish(). Raw text is part of the content.
  const AssistantMessage& message() const { return message_; }
  FinishReason finish_reason() const { return finish_reason_; }

 private:
  enum class State {
    kStart,            // nothing read yet
    kReasoning,        // before </think>
    kContent,          // answer
    kBlock,            // in a block of calls, between them
    kInvokeHeader,     // attributes of an invoke tag
    kInvokeBody,       // in a call, between parameters
    kParameterHeader,  // attributes of a parameter tag
    kParameterValue,   // text of a parameter
    kRaw,              // behind a call that could not be read: everything is text
    kEnd,              // behind the end of the sentence
  };
  enum class Ending { kOpen, kFinal };
  enum class ValueForm { kString, kJson };

  // Each step consumes some input or changes the state; false: it needs more input.
  bool step();
  bool step_start();
  bool step_reasoning();
  bool step_content();
  bool step_block();
  bool step_invoke_body();
  bool step_header();
  bool step_value();
  bool step_raw();

  bool content_tag(const Tag& tag);
  bool bare_invoke(const Tag& tag);
  void emit_no_tag();
  void leave_block();
  void drop_tag(const Tag& tag);
  void drop_cut_off_tag();
  void take_spaces_before_block();

  bool is_in_call() const;
  void end_header();
  void begin_call(const std::string& name);
  void end_call();
  void break_call();

  bool is_streamed() const { return form_ == ValueForm::kString && !is_held_; }
  void begin_parameter(const TagAttributes& attributes);
  void parameter_text(std::string_view text);
  void end_parameter();
  void emit_key();
  void emit_value();
  bool is_object_of_parameters() const;

  std::string_view rest() const { return std::string_view(input_).substr(position_); }
  std::string_view take(size_t n);
  std::string_view take_spaces();
  std::string_view take_text();
  TagSet::Match match(const TagSet& tags) const;

  std::string* target_of(ParseEvent::Kind kind);
  void emit(ParseEvent::Kind kind, std::string_view text);
  void emit_content(std::string_view text);
  void flush_spaces();

  LenientOptions options_;
  TagSet start_tags_;
  TagSet reasoning_tags_;
  TagSet content_tags_;
  TagSet block_tags_;
  TagSet invoke_tags_;
  TagSet raw_tags_;

  State state_ = State::kStart;
  Ending ending_ = Ending::kOpen;
  Utf8Stream utf8_;
  std::string input_;
  size_t position_ = 0;  // what is before it in input_ is done
  std::vector<ParseEvent> events_;
  AssistantMessage message_;
  FinishReason finish_reason_ = FinishReason::kStop;

  std::string spaces_;          // white space at the end of the content, not given out yet
  bool follows_calls_ = false;  // nothing but spaces_ came after a block of calls
  bool has_raw_text_ = false;

  // The block and the call that are being read.
  bool is_block_open_ = false;        // content between the calls of a block
  bool needs_declared_tool_ = false;  // the calls have no block around them
  bool block_has_calls_ = false;
  std::string raw_;            // text since the block began or the last call ended
  bool is_call_open_ = false;  // its beginning was given out
  std::string header_;
  std::set<std::string, std::less<>> keys_;

  std::string key_;
  std::string value_;  // as far as it is not given out
  ValueForm form_ = ValueForm::kString;
  bool is_held_ = false;   // it may be the whole of the arguments: decided at the next tag
  std::string value_end_;  // the tag that ends the value
};

// The message of a whole completion: feed and finish.
AssistantMessage parse_lenient(std::string_view text, LenientOptions options,
                               FinishReason reason = FinishReason::kStop);

}  // namespace dsv4
