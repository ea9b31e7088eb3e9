#include "server/prompt.h"

#include "text/chat_request.h"
#include "text/special_tokens.h"

#include <algorithm>
#include <iterator>
#include <utility>

namespace dsv4 {
namespace {

Json::Array declared_tools(const ApiRequest& request) {
  Json::Array tools;
  for (const ToolSpec& tool : request.tools) {
    Json function = Json().set("name", tool.name);
    if (!tool.description.empty()) function.set("description", tool.description);
    function.set("parameters", tool.parameters);
    tools.push_back(Json().set("type", "function").set("function", std::move(function)));
  }
  return tools;
}

// One form for all APIs, so that the same wish is the same prompt.
Json format_json(const ResponseFormat& format) {
  if (format.kind == ResponseFormat::Kind::kJsonObject) return Json().set("type", "json_object");
  Json schema = Json().set("name", format.name);
  if (!format.description.empty()) schema.set("description", format.description);
  schema.set("schema", format.schema);
  return Json().set("type", "json_schema").set("json_schema", std::move(schema));
}

bool is_system(const Json& message) {
  const Json* role = message.find("role");
  return role != nullptr && *role == Json("system");
}

// Text between replays, gathered until it has to be tokens.
class TokenList {
 public:
  explicit TokenList(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {}

  void add(const std::vector<TextSpan>& spans) {
    spans_.insert(spans_.end(), spans.begin(), spans.end());
  }
  void add(const std::vector<int32_t>& ids) {
    flush();
    ids_.insert(ids_.end(), ids.begin(), ids.end());
  }
  std::vector<int32_t> take() {
    flush();
    return std::move(ids_);
  }

 private:
  void flush() {
    if (spans_.empty()) return;
    const std::vector<int32_t> ids = tokenizer_.encode(spans_);
    ids_.insert(ids_.end(), ids.begin(), ids.end());
    spans_.clear();
  }

  const Tokenizer& tokenizer_;
  std::vector<TextSpan> spans_;
  std::vector<int32_t> ids_;
};

// The tokens to put in place of a piece; nullptr if its text has to be encoded.
const std::vector<int32_t>* tokens_for(const PromptPiece& piece, const Json& message,
                                       const Replay& replay) {
  if (!piece.stands_alone) return nullptr;
  if (piece.kind == PromptPiece::Kind::kReply) return &replay.reply_ids;
  if (replay.reasoning_ids.empty()) return nullptr;
  // Most clients do not send reasoning back; the format wants it where it is kept at all.
  const Json* sent = message.find("reasoning_content");
  const bool is_same = sent == nullptr || *sent == Json("") || *sent == Json(replay.reasoning);
  return is_same ? &replay.reasoning_ids : nullptr;
}

}  // namespace

ChatOptions chat_options_of(const ApiRequest& request, ChatVariant variant) {
  ChatOptions options;
  options.variant = variant;
  if (request.effort == Effort::kNone) return options;
  options.thinking_mode = ThinkingMode::kThinking;
  const bool is_preview = variant == ChatVariant::kPreview;
  switch (request.effort) {
    case Effort::kMax:
      options.reasoning_effort = "max";
      break;
    case Effort::kHigh:
      options.reasoning_effort = "high";
      break;
    default:  // the first release knows high and max only
      options.reasoning_effort = is_preview ? "high" : "low";
  }
  return options;
}

Json::Array encoder_messages(const ApiRequest& request) {
  Json::Array messages = request.messages;
  if (request.has_tools()) attach_tools(declared_tools(request), messages);
  if (request.response_format.kind == ResponseFormat::Kind::kText) return messages;
  if (messages.empty() || !is_system(messages.front())) {
    messages.insert(messages.begin(), Json().set("role", "system").set("content", ""));
  }
  messages.front().set("response_format", format_json(request.response_format));
  return messages;
}

PromptBuilder::PromptBuilder(const Tokenizer& tokenizer, ChatVariant variant, ReplayStore* replays)
    : tokenizer_(tokenizer),
      variant_(variant),
      replays_(replays),
      user_(tokenizer.id_of(kUser)),
      assistant_(tokenizer.id_of(kAssistant)),
      think_begin_(tokenizer.id_of(kThinkBegin)),
      think_end_(tokenizer.id_of(kThinkEnd)),
      eos_(tokenizer.eos_id()) {}

std::vector<int64_t> PromptBuilder::boundaries_of(std::span<const int32_t> ids) const {
  std::vector<int64_t> boundaries;
  for (size_t i = 0; i < ids.size(); ++i) {
    const bool is_user = ids[i] == user_;
    if (!is_user && ids[i] != assistant_) continue;
    const int64_t position = static_cast<int64_t>(i) + (is_user ? 0 : 1);
    const int64_t before = boundaries.empty() ? 0 : boundaries.back();
    if (position > before && position < std::ssize(ids)) boundaries.push_back(position);
  }
  return boundaries;
}

Prompt PromptBuilder::chat(const ApiRequest& request, uint64_t salt) const {
  const Json::Array messages = encoder_messages(request);
  const ChatOptions options = chat_options_of(request, variant_);
  const std::vector<PromptPiece> pieces = encode_chat_pieces(messages, options);

  Prompt prompt;
  // By message of the encoder, which may have one more in front.
  std::vector<std::optional<Replay>> replays(messages.size());
  if (replays_ != nullptr) {
    const size_t n_before = messages.size() - request.messages.size();
    ReplayStore::Conversation conversation = replays_->conversation(salt);
    for (size_t i = 0; i < request.messages.size(); ++i) {
      const Json& message = request.messages[i];
      const bool is_reply = message.at("role", "messages") == Json("assistant");
      // The last one may still be open.
      if (is_reply && i + 1 < request.messages.size()) {
        replays[i + n_before] = find(conversation.keys_of(message));
      }
      conversation.add(message);
    }
    if (!request.is_prefill()) prompt.conversation = conversation;
  }

  TokenList tokens(tokenizer_);
  for (const PromptPiece& piece : pieces) {
    const bool is_reply = piece.kind != PromptPiece::Kind::kOther;
    const Replay* replay = is_reply && replays[piece.message] ? &*replays[piece.message] : nullptr;
    const std::vector<int32_t>* known =
        replay != nullptr ? tokens_for(piece, messages[piece.message], *replay) : nullptr;
    if (known == nullptr) {
      tokens.add(piece.spans);
      continue;
    }
    tokens.add(*known);
    if (piece.kind == PromptPiece::Kind::kReply) ++prompt.n_replayed;
  }
  prompt.ids = tokens.take();
  prompt.boundaries = boundaries_of(prompt.ids);
  // The reasoning of a turn that the reply goes on with is closed.
  if (!request.is_prefill()) prompt.mode = options.thinking_mode;
  prompt.parsing = {prompt.mode, DeclaredTools(declared_tools(request))};
  return prompt;
}

Prompt PromptBuilder::raw(const RawPrompt& prompt) const {
  const auto* ids = std::get_if<std::vector<int32_t>>(&prompt);
  if (ids != nullptr) return {*ids};
  return {tokenizer_.encode(std::get<std::string>(prompt), ParseSpecial::kYes)};
}

// A file of replies may say what it likes; tokens that there are not would make the prompt invalid.
std::optional<Replay> PromptBuilder::find(const std::vector<ReplayKey>& keys) const {
  std::optional<Replay> replay = replays_->find(keys);
  if (!replay) return replay;
  const auto exist = [&](const std::vector<int32_t>& ids) {
    return std::ranges::all_of(ids,
                               [&](int32_t id) { return id >= 0 && id < tokenizer_.vocab_size(); });
  };
  if (!exist(replay->reasoning_ids) || !exist(replay->reply_ids)) return std::nullopt;
  return replay;
}

std::optional<Replay> PromptBuilder::replay_of(std::span<const int32_t> ids,
                                               ThinkingMode mode) const {
  Replay replay;
  if (mode == ThinkingMode::kThinking) {
    const auto end = std::ranges::find(ids, think_end_);
    if (end == ids.end()) return std::nullopt;
    replay.reasoning_ids.assign(ids.begin(), std::next(end));
    std::span<const int32_t> inner = ids.first(static_cast<size_t>(end - ids.begin()));
    if (!inner.empty() && inner.front() == think_begin_) inner = inner.subspan(1);
    replay.reasoning = tokenizer_.decode(inner, SkipSpecial::kNo);
    // The end of the reasoning, but spelled with ordinary tokens.
    if (replay.reasoning.find(kThinkEnd) != std::string::npos) return std::nullopt;
    ids = ids.subspan(replay.reasoning_ids.size());
  } else if (!ids.empty() && ids.front() == think_begin_) {
    return std::nullopt;  // it reasoned where the prompt did not ask for it
  }
  replay.reply_ids.assign(ids.begin(), ids.end());
  if (replay.reply_ids.empty() || replay.reply_ids.back() != eos_) {
    if (!eos_) return std::nullopt;
    replay.reply_ids.push_back(*eos_);
  }
  return replay;
}

void PromptBuilder::remember(const Prompt& prompt, const Json& message,
                             std::span<const int32_t> ids, const ReplyEnd& end) const {
  if (replays_ == nullptr || !prompt.conversation || end.stop_string) return;
  std::optional<Replay> replay = replay_of(ids, prompt.mode);
  if (!replay) return;
  replays_->remember(prompt.conversation->keys_of(message), std::move(*replay));
}

}  // namespace dsv4
