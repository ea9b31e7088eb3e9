// Chat completions: one JSON object, or chunks that each carry a delta.
#include "server/events.h"
#include "server/reply_writers.h"
#include "text/unicode.h"

#include <algorithm>

namespace dsv4 {
namespace {

using Kind = ParseEvent::Kind;

constexpr std::string_view kDone = "data: [DONE]\n\n";

Json bare_token_json(std::string_view bytes, float logprob) {
  Json::Array numbers;
  for (const char c : bytes) numbers.push_back(static_cast<unsigned char>(c));
  return Json()
      .set("token", token_text(bytes))
      .set("logprob", logprob_json(logprob))
      .set("bytes", std::move(numbers));
}

class ChatWriter : public ReplyWriter {
 public:
  ChatWriter(const ApiRequest& request, ReplyContext context)
      : ReplyWriter(request, std::move(context), "chatcmpl-", "call_") {}

 protected:
  void on_start(std::string& out) override {
    for (size_t i = 0; i < choices_.size(); ++i) {
      send(i, Json().set("role", "assistant").set("content", ""), Json(), out);
    }
  }

  void on_event(size_t choice, const ParseEvent& event, std::string& out) override {
    if (!request_.stream) return;
    if (event.kind == Kind::kReasoning) {
      if (request_.show_reasoning) {
        send(choice, Json().set("reasoning_content", event.text), Json(), out);
      }
    } else if (event.kind == Kind::kContent || event.kind == Kind::kRawText) {
      send(choice, Json().set("content", event.text), Json(), out);
    } else if (event.kind == Kind::kToolCallBegin) {
      const Call& call = choices_[choice].calls.back();
      Json function = Json().set("name", call.name).set("arguments", "");
      send_call(choice, event,
                Json().set("id", call.id).set("type", "function").set("function", function), out);
    } else if (event.kind == Kind::kArguments) {
      Json function = Json().set("arguments", event.text);
      send_call(choice, event, Json().set("function", std::move(function)), out);
    }
  }

  void on_end(size_t choice, std::string& out) override {
    send(choice, Json(Json::Object()), finish_name(choices_[choice].end->reason), out);
  }

  void on_finish(std::string& out) override {
    append_openai_end(out, head("chat.completion.chunk"),
                      request_.include_usage ? &usage_ : nullptr);
  }

  void on_fail(const ApiError& error, std::string& out) override {
    append_openai_failure(out, error_json(ApiKind::kChat, error, id_));
  }

  Json body() override {
    Json::Array choices;
    for (size_t i = 0; i < choices_.size(); ++i) choices.push_back(choice_json(i));
    return head("chat.completion")
        .set("choices", std::move(choices))
        .set("usage", openai_usage(usage_));
  }

 private:
  Json head(const char* object) const {
    return Json()
        .set("id", id_)
        .set("object", object)
        .set("created", context_.created)
        .set("model", request_.model);
  }

  Json choice_json(size_t i) {
    Choice& choice = choices_[i];
    Json message = Json().set("role", "assistant");
    const bool is_call_only = choice.content.empty() && !choice.calls.empty();
    message.set("content", is_call_only ? Json() : Json(choice.content));
    message.set("refusal", Json());
    if (request_.show_reasoning && !choice.reasoning.empty()) {
      message.set("reasoning_content", choice.reasoning);
    }
    if (!choice.calls.empty()) message.set("tool_calls", this->message(i).at("tool_calls", ""));
    return Json()
        .set("index", i)
        .set("message", std::move(message))
        .set("logprobs", logprobs(choice))
        .set("finish_reason", finish_name(choice.end.value_or(ReplyEnd()).reason));
  }

  // Of the tokens that came since the last chunk.
  Json logprobs(Choice& choice) const {
    if (!request_.logprobs) return Json();
    Json::Array content;
    Json::Array reasoning;
    for (const LoggedToken& token : unsent_tokens(choice)) {
      (token.is_reasoning ? reasoning : content).push_back(token_json(token));
    }
    Json lists = Json().set("content", std::move(content)).set("refusal", Json());
    if (!reasoning.empty() && request_.show_reasoning) {
      lists.set("reasoning_content", std::move(reasoning));
    }
    return lists;
  }

  void send(size_t choice, Json delta, Json finish_reason, std::string& out) {
    if (!request_.stream) return;
    Json one = Json()
                   .set("index", choice)
                   .set("delta", std::move(delta))
                   .set("logprobs", logprobs(choices_[choice]))
                   .set("finish_reason", std::move(finish_reason));
    Json chunk = head("chat.completion.chunk").set("choices", Json().push_back(std::move(one)));
    if (request_.include_usage) chunk.set("usage", Json());
    append_event(out, chunk.print());
  }

  void send_call(size_t choice, const ParseEvent& event, const Json& call, std::string& out) {
    Json indexed = Json().set("index", event.call);
    for (const Json::Member& member : call.as_object("")) indexed.set(member.key, member.value);
    send(choice, Json().set("tool_calls", Json().push_back(std::move(indexed))), Json(), out);
  }
};

}  // namespace

std::unique_ptr<ReplyWriter> make_chat_writer(const ApiRequest& request, ReplyContext context) {
  return std::make_unique<ChatWriter>(request, std::move(context));
}

Json openai_usage(const ReplyUsage& usage) {
  return Json()
      .set("prompt_tokens", usage.n_prompt)
      .set("completion_tokens", usage.n_completion)
      .set("total_tokens", usage.n_prompt + usage.n_completion)
      .set("prompt_tokens_details", Json().set("cached_tokens", usage.n_cached))
      .set("completion_tokens_details", Json().set("reasoning_tokens", usage.n_reasoning))
      .set("prompt_cache_hit_tokens", usage.n_cached)
      .set("prompt_cache_miss_tokens", usage.n_prompt - usage.n_cached);
}

void append_openai_end(std::string& out, Json head, const ReplyUsage* usage) {
  if (usage != nullptr) {
    head.set("choices", Json::Array()).set("usage", openai_usage(*usage));
    append_event(out, head.print());
  }
  out += kDone;
}

void append_openai_failure(std::string& out, const Json& error) {
  append_event(out, error.print());
  out += kDone;
}

std::string token_text(std::string_view bytes) { return replace_ill_formed_utf8(bytes); }

Json logprob_json(float logprob) {
  constexpr double kLeast = -9999;  // as the original writes what is impossible
  return std::max(kLeast, double{logprob});
}

Json token_json(const LoggedToken& token) {
  Json::Array top;
  for (const auto& [bytes, logprob] : token.top) top.push_back(bare_token_json(bytes, logprob));
  return bare_token_json(token.bytes, token.logprob).set("top_logprobs", std::move(top));
}

}  // namespace dsv4
