// One reply: prefill of a prompt, then tokens one at a time until a stop condition.
#pragma once

#include "engine/sampler.h"
#include "engine/session.h"
#include "text/text_stream.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace dsv4 {

struct GenerationOptions {
  SamplingParams sampling = {};
  int64_t max_tokens = 0;                      // of the reply; 0: as many as the context holds
  std::vector<int32_t> stop_ids = {};          // end the reply; not part of its text
  std::vector<std::string> stop_strings = {};  // end the reply before their first occurrence
};

enum class StopReason { kStopId, kStopString, kLength, kCancelled };

// "stop", "length" or "cancelled", as APIs call them.
const char* stop_reason_name(StopReason reason);

// Used by one thread at a time; session and tokenizer must outlive it.
class Generator {
 public:
  // A token and the text that became certain with it, which may be empty. The last piece of a reply
  // may carry only text that was held back.
  struct Piece {
    std::optional<SampledToken> token;
    std::string text;
  };

  Generator(Session& session, const Tokenizer& tokenizer, GenerationOptions options);

  // Prefills the prompt. Returns false when `progress` stopped it; the reply is then cancelled.
  // Throws Error(kOutOfRange) for a prompt that leaves no room for a token.
  bool start(std::span<const int32_t> prompt, const Session::Progress& progress = {});

  // The next piece, or nothing at the end of the reply.
  std::optional<Piece> next();

  // Ends the reply: the next call of next() returns nothing.
  void cancel() { stop_reason_ = StopReason::kCancelled; }

  // Tokens of the reply so far, the stopping one included.
  const std::vector<int32_t>& ids() const { return ids_; }
  // Set once the reply has ended.
  std::optional<StopReason> stop_reason() const { return stop_reason_; }

 private:
  bool is_stop_id(int32_t id) const;
  Piece flush();

  Session& session_;
  GenerationOptions options_;
  int64_t context_;
  TokenStream stream_;
  StopStrings stops_;
  TokenCounts counts_;
  std::vector<int32_t> sequence_;  // prompt and reply
  std::vector<int32_t> ids_;
  std::optional<StopReason> stop_reason_;
};

}  // namespace dsv4
