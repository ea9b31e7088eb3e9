// From a request to the tokens that the engine computes: the chat format, with the exact tokens of
// replies that are known (replay_store.h), and the places where a later prompt is likely to differ.
#pragma once

#include "server/api_request.h"
#include "server/replay_store.h"
#include "server/reply_shape.h"
#include "text/chat_encode.h"
#include "text/parse_lenient.h"
#include "text/tokenizer.h"

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace dsv4 {

struct Prompt {
  std::vector<int32_t> ids;
  // As Request::boundaries: before each user turn, and behind the token that gives the turn to the
  // assistant (what follows it says whether it reasons, which changes from turn to turn).
  std::vector<int64_t> boundaries = {};
  // How the reply is read; nothing for a raw prompt, whose reply is plain text.
  std::optional<LenientOptions> parsing = {};
  // Whether the reply begins within reasoning.
  ThinkingMode mode = ThinkingMode::kChat;
  int64_t n_replayed = 0;  // messages whose tokens were known
  // Where the reply will stand, for remember(); nothing for a raw prompt, and where the reply goes
  // on with the client's own text.
  std::optional<ReplayStore::Conversation> conversation = {};
};

// How the format renders a request: thinking or not, with which effort text.
ChatOptions chat_options_of(const ApiRequest& request, ChatVariant variant);

// The messages with the tools and the response format where the encoder wants them.
Json::Array encoder_messages(const ApiRequest& request);

// Has no state of its own: all methods may be called from several threads.
class PromptBuilder {
 public:
  // Both must outlive this; without `replays` every message is encoded from its text.
  PromptBuilder(const Tokenizer& tokenizer, ChatVariant variant, ReplayStore* replays);

  // Throws Error with the path of a message that the format cannot render.
  Prompt chat(const ApiRequest& request, uint64_t salt) const;
  Prompt raw(const RawPrompt& prompt) const;

  // Remembers the tokens of a complete reply to `prompt`: `message` as the client has it
  // (ReplyWriter::message), `ids` as sampled, with the end-of-sentence token if it came. Does
  // nothing where the tokens are not the message: a stop string cut the text off, the reasoning did
  // not end, or the reply went on with the client's own text.
  void remember(const Prompt& prompt, const Json& message, std::span<const int32_t> ids,
                const ReplyEnd& end) const;

 private:
  std::optional<Replay> find(const std::vector<ReplayKey>& keys) const;
  std::optional<Replay> replay_of(std::span<const int32_t> ids, ThinkingMode mode) const;
  std::vector<int64_t> boundaries_of(std::span<const int32_t> ids) const;

  const Tokenizer& tokenizer_;
  ChatVariant variant_;
  ReplayStore* replays_;
  std::optional<int32_t> user_;
  std::optional<int32_t> assistant_;
  std::optional<int32_t> think_begin_;
  std::optional<int32_t> think_end_;
  std::optional<int32_t> eos_;
};

}  // namespace dsv4
