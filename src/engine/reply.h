// One reply of the assistant as its reader sees it: the events of a stream taken apart into
// reasoning, content and tool calls.
#pragma once

#include "engine/event_stream.h"
#include "text/parse_lenient.h"

#include <cstdint>
#include <optional>
#include <vector>

namespace dsv4 {

// "stop", "length", "cancelled" or "error", as APIs call them.
const char* end_reason_name(EndReason reason);

// Used by one thread at a time.
class Reply {
 public:
  // Without `parsing` the text is content as it is.
  explicit Reply(std::optional<LenientOptions> parsing);

  // Takes the next event of this choice. What it says about the reply (often nothing) is added to
  // `events`.
  void take(StreamEvent event, std::vector<ParseEvent>& events);

  // Complete once ended() says so.
  const AssistantMessage& message() const { return parser_ ? parser_->message() : plain_; }
  const std::vector<SampledToken>& tokens() const { return tokens_; }
  std::vector<int32_t> ids() const;
  const PromptUsage& usage() const { return usage_; }

  bool ended() const { return reason_.has_value(); }
  EndReason reason() const { return *reason_; }
  // Of a reply that ended by itself or by its length.
  FinishReason finish_reason() const;
  const std::string& error() const { return error_; }

 private:
  void take_text(std::string text, std::vector<ParseEvent>& events);

  std::optional<LenientParser> parser_;
  AssistantMessage plain_;  // the reply where it is not parsed
  std::vector<SampledToken> tokens_;
  PromptUsage usage_;
  std::optional<EndReason> reason_;
  std::string error_;
};

}  // namespace dsv4
