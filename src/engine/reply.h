// A reply of the assistant: generated text taken apart into reasoning, content and tool calls.
#pragma once

#include "engine/generator.h"
#include "text/parse_lenient.h"

#include <cstdint>
#include <optional>
#include <vector>

namespace dsv4 {

// Used by one thread at a time; session and tokenizer must outlive it.
class ReplyStream {
 public:
  // Without `parsing` the text is content as it is.
  ReplyStream(Session& session, const Tokenizer& tokenizer, GenerationOptions generation,
              std::optional<LenientOptions> parsing);

  // As Generator::start.
  bool start(std::span<const int32_t> prompt, const Session::Progress& progress = {});

  // Events of the next token in `events` (often none). Returns false at the end of the reply; the
  // last events come with that.
  bool next(std::vector<ParseEvent>& events);

  void cancel() { generator_.cancel(); }

  // Complete once next() has returned false.
  const AssistantMessage& message() const { return parser_ ? parser_->message() : plain_; }
  const Generator& generator() const { return generator_; }
  const std::vector<SampledToken>& tokens() const { return tokens_; }

 private:
  void take_plain(std::string text, std::vector<ParseEvent>& events);

  Generator generator_;
  std::optional<LenientParser> parser_;
  AssistantMessage plain_;  // the reply where it is not parsed
  std::vector<SampledToken> tokens_;
};

}  // namespace dsv4
