// One reply in the making: its tokens, the text that they are certain to give, what ends it. The
// step thread feeds it logits; what comes of them goes to the request's stream.
#pragma once

#include "engine/event_stream.h"
#include "engine/request.h"
#include "text/text_stream.h"
#include "text/tokenizer.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

namespace dsv4 {

// What all replies share while a token is chosen.
struct SamplingScratch {
  Sampler sampler;
  std::vector<uint64_t> allowed;  // a bit for each token of the vocabulary
};

// Used by one thread at a time; the tokenizer must outlive it.
class Sequence {
 public:
  // `context` is the most tokens that prompt and reply may have; the prompt is shorter.
  Sequence(std::shared_ptr<const Request> request, std::shared_ptr<EventStream> stream,
           int64_t choice, const Tokenizer& tokenizer, int64_t context);

  const Request& request() const { return *request_; }
  const std::shared_ptr<EventStream>& stream() const { return stream_; }
  int64_t choice() const { return choice_; }

  // Prompt and reply; what is not in a state yet is to be computed. Until there is a reply, the
  // prompt of the request itself: many that wait cost no copies.
  const std::vector<int32_t>& tokens() const {
    return tokens_.empty() ? request_->prompt : tokens_;
  }
  int64_t n_tokens() const { return static_cast<int64_t>(tokens().size()); }

  // Goes on with the logits after the last token: adds the next token or, where reasoning is to be
  // closed, several. Returns false when the reply has ended.
  bool extend(std::span<const float> logits, SamplingScratch& scratch);

  // Ends the reply early.
  void end(EndReason reason, std::string error = {});
  bool ended() const { return ended_; }

 private:
  enum class Thinking { kNone, kOpen, kClosed };

  void begin_reply();
  std::span<const uint64_t> allowed_tokens(SamplingScratch& scratch);
  void forbid_stops(std::vector<uint64_t>& allowed) const;
  bool is_stop_id(int32_t id) const;
  void add(SampledToken token);
  void close_reasoning();

  std::shared_ptr<const Request> request_;
  std::shared_ptr<EventStream> stream_;
  int64_t choice_;
  int64_t max_tokens_;  // of prompt and reply
  SamplingParams sampling_;
  std::unique_ptr<TokenConstraint> constraint_;  // may be null
  std::vector<int32_t> tokens_;                  // empty before the reply
  TokenCounts counts_;
  TokenStream text_;
  StopStrings stops_;
  Thinking thinking_ = Thinking::kNone;
  int64_t n_thinking_ = 0;
  bool must_answer_ = false;  // the reasoning was closed for the model; a stop would be no answer
  bool ended_ = false;
};

}  // namespace dsv4
