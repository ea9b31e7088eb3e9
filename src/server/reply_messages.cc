// Anthropic messages: a list of blocks, or the events that build it. A call that is aborted keeps
// its block open in a stream, so that no client takes half a call for a whole one.
#include "server/anthropic_messages.h"
#include "server/events.h"
#include "server/reply_writers.h"

#include "base/error.h"

namespace dsv4 {
namespace {

using Kind = ParseEvent::Kind;

class MessagesWriter : public ReplyWriter {
 public:
  MessagesWriter(const ApiRequest& request, ReplyContext context)
      : ReplyWriter(request, std::move(context), "msg_", "toolu_") {}

  void ping(std::string& out) const override {
    append_event(out, Json().set("type", "ping").print(), "ping");
  }

 protected:
  void on_start(std::string& out) override {
    Json message = head().set("content", Json::Array());
    message.set("stop_reason", Json()).set("stop_sequence", Json()).set("usage", usage_json());
    send("message_start", Json().set("message", std::move(message)), out);
  }

  void on_event(size_t choice, const ParseEvent& event, std::string& out) override {
    // There is one choice: the API has no n.
    const Choice& state = choices_[choice];
    switch (event.kind) {
      case Kind::kReasoning:
        open(Block::kThinking, out);
        text_ += event.text;
        if (request_.show_reasoning) delta("thinking_delta", "thinking", event.text, out);
        break;
      case Kind::kContent:
      case Kind::kRawText:
        open(Block::kText, out);
        text_ += event.text;
        delta("text_delta", "text", event.text, out);
        break;
      case Kind::kToolCallBegin:
        close(out);
        begin(Block::kTool, call_block(state.calls.back(), Json::Object()), out);
        break;
      case Kind::kArguments:
        delta("input_json_delta", "partial_json", event.text, out);
        break;
      case Kind::kToolCallEnd:
        blocks_.push_back(call_block(state.calls.back(), input_of(state.calls.back())));
        stop(out);
        break;
      case Kind::kToolCallAborted:
        block_ = Block::kNone;
        ++index_;
        break;
    }
  }

  void on_end(size_t, std::string& out) override { close(out); }

  void on_finish(std::string& out) override {
    Json delta = Json().set("stop_reason", stop_reason()).set("stop_sequence", stop_sequence());
    send("message_delta", Json().set("delta", std::move(delta)).set("usage", usage_json()), out);
    send("message_stop", Json(), out);
  }

  void on_fail(const ApiError& error, std::string& out) override {
    append_event(out, error_json(ApiKind::kMessages, error, id_).print(), "error");
  }

  Json body() override {
    return head()
        .set("content", blocks_)
        .set("stop_reason", stop_reason())
        .set("stop_sequence", stop_sequence())
        .set("usage", usage_json());
  }

 private:
  enum class Block { kNone, kThinking, kText, kTool };

  Json head() const {
    return Json()
        .set("id", id_)
        .set("type", "message")
        .set("role", "assistant")
        .set("model", request_.model);
  }

  // Here the tokens from the cache are not part of the input tokens.
  Json usage_json() const {
    return Json()
        .set("input_tokens", usage_.n_prompt - usage_.n_cached)
        .set("cache_creation_input_tokens", 0)
        .set("cache_read_input_tokens", usage_.n_cached)
        .set("output_tokens", usage_.n_completion);
  }

  ReplyEnd ending() const { return choices_.front().end.value_or(ReplyEnd()); }

  Json stop_sequence() const {
    const ReplyEnd end = ending();
    return end.stop_string ? Json(*end.stop_string) : Json();
  }

  const char* stop_reason() const {
    const ReplyEnd end = ending();
    if (end.reason == FinishReason::kToolCalls) return "tool_use";
    if (end.reason == FinishReason::kLength) return "max_tokens";
    return end.stop_string ? "stop_sequence" : "end_turn";
  }

  static Json call_block(const Call& call, Json input) {
    return Json()
        .set("type", "tool_use")
        .set("id", call.id)
        .set("name", call.name)
        .set("input", std::move(input));
  }

  // The parser makes the arguments of complete calls valid JSON.
  static Json input_of(const Call& call) {
    try {
      return Json::parse(call.arguments, "arguments", Json::NonFinite::kReject);
    } catch (const Error&) {
      return Json().set("arguments", call.arguments);  // nested too deep to be read again
    }
  }

  void open(Block block, std::string& out) {
    if (block_ == block) return;
    close(out);
    Json start = block == Block::kText
                     ? Json().set("type", "text").set("text", "")
                     : Json().set("type", "thinking").set("thinking", "").set("signature", "");
    begin(block, std::move(start), out);
  }

  void begin(Block block, Json start, std::string& out) {
    block_ = block;
    text_.clear();
    send("content_block_start", Json().set("index", index_).set("content_block", std::move(start)),
         out);
  }

  // Ends a block of text or thinking; a call ends by its own event.
  void close(std::string& out) {
    if (block_ == Block::kText) blocks_.push_back(Json().set("type", "text").set("text", text_));
    if (block_ == Block::kThinking) {
      const std::string signature = reasoning_signature(text_);
      delta("signature_delta", "signature", signature, out);
      blocks_.push_back(Json()
                            .set("type", "thinking")
                            .set("thinking", request_.show_reasoning ? text_ : "")
                            .set("signature", signature));
    }
    if (block_ != Block::kNone) stop(out);
  }

  void stop(std::string& out) {
    send("content_block_stop", Json().set("index", index_), out);
    block_ = Block::kNone;
    ++index_;
  }

  void delta(const char* type, const char* key, std::string_view text, std::string& out) {
    if (!request_.stream) return;
    Json inner = Json().set("type", type).set(key, text);
    send("content_block_delta", Json().set("index", index_).set("delta", std::move(inner)), out);
  }

  void send(const char* type, const Json& members, std::string& out) const {
    if (!request_.stream) return;
    Json event = Json().set("type", type);
    if (members.is_object()) {
      for (const Json::Member& member : members.as_object("")) event.set(member.key, member.value);
    }
    append_event(out, event.print(), type);
  }

  Json::Array blocks_;
  Block block_ = Block::kNone;
  size_t index_ = 0;  // of the open block, or the next
  std::string text_;  // of the open block
};

}  // namespace

std::unique_ptr<ReplyWriter> make_messages_writer(const ApiRequest& request, ReplyContext context) {
  return std::make_unique<MessagesWriter>(request, std::move(context));
}

}  // namespace dsv4
