// Plain completions: texts, or chunks of them.
#include "server/events.h"
#include "server/reply_writers.h"

namespace dsv4 {
namespace {

size_t n_characters(std::string_view text) {
  size_t n = 0;
  for (const char c : text) n += (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  return n;
}

class CompletionsWriter : public ReplyWriter {
 public:
  CompletionsWriter(const ApiRequest& request, ReplyContext context)
      : ReplyWriter(request, std::move(context), "cmpl-", "call_"), offsets_(choices_.size()) {
    for (size_t i = 0; i < choices_.size(); ++i) offsets_[i] = n_characters(echoed(i));
  }

 protected:
  void on_start(std::string& out) override {
    for (size_t i = 0; i < choices_.size(); ++i) {
      if (!echoed(i).empty()) send(i, echoed(i), Json(), out);
    }
  }

  void on_event(size_t choice, const ParseEvent& event, std::string& out) override {
    if (event.text.empty()) return;
    send(choice, event.text, Json(), out);
  }

  void on_end(size_t choice, std::string& out) override {
    send(choice, "", finish_name(choices_[choice]), out);
  }

  void on_finish(std::string& out) override {
    append_openai_end(out, head(), request_.include_usage ? &usage_ : nullptr);
  }

  void on_fail(const ApiError& error, std::string& out) override {
    append_openai_failure(out, error_json(ApiKind::kCompletions, error, id_));
  }

  Json body() override {
    Json::Array choices;
    for (size_t i = 0; i < choices_.size(); ++i) {
      choices.push_back(
          choice_json(i, std::string(echoed(i)) + choices_[i].content, finish_name(choices_[i])));
    }
    return head().set("choices", std::move(choices)).set("usage", openai_usage(usage_));
  }

 private:
  Json head() const {
    return Json()
        .set("id", id_)
        .set("object", "text_completion")
        .set("created", context_.created)
        .set("model", request_.model);
  }

  // The prompt in front of the choice's text.
  std::string_view echoed(size_t choice) const {
    const size_t prompt = choice / static_cast<size_t>(request_.n);
    if (!request_.echo || prompt >= context_.prompt_texts.size()) return "";
    return context_.prompt_texts[prompt];
  }

  static const char* finish_name(const Choice& choice) {
    return choice.end.value_or(ReplyEnd()).reason == FinishReason::kLength ? "length" : "stop";
  }

  Json choice_json(size_t i, std::string text, Json finish_reason) {
    return Json()
        .set("text", std::move(text))
        .set("index", i)
        .set("logprobs", logprobs(i))
        .set("finish_reason", std::move(finish_reason));
  }

  // The parallel lists of the old API, of the tokens since the last chunk.
  Json logprobs(size_t i) {
    if (!request_.logprobs) return Json();
    Json::Array tokens;
    Json::Array logprobs;
    Json::Array tops;
    Json::Array offsets;
    for (const LoggedToken& token : unsent_tokens(choices_[i])) {
      const std::string text = token_text(token.bytes);
      tokens.push_back(text);
      logprobs.push_back(logprob_json(token.logprob));
      Json top = Json::Object();
      for (const auto& [bytes, logprob] : token.top) {
        // Two halves of characters may print alike; the more probable one came first.
        std::string name = token_text(bytes);
        if (top.find(name) == nullptr) top.set(std::move(name), logprob_json(logprob));
      }
      tops.push_back(std::move(top));
      offsets.push_back(offsets_[i]);
      offsets_[i] += n_characters(text);
    }
    return Json()
        .set("tokens", std::move(tokens))
        .set("token_logprobs", std::move(logprobs))
        .set("top_logprobs", std::move(tops))
        .set("text_offset", std::move(offsets));
  }

  void send(size_t choice, std::string_view text, Json finish_reason, std::string& out) {
    if (!request_.stream) return;
    Json one = choice_json(choice, std::string(text), std::move(finish_reason));
    Json chunk = head().set("choices", Json().push_back(std::move(one)));
    if (request_.include_usage) chunk.set("usage", Json());
    append_event(out, chunk.print());
  }

  std::vector<size_t> offsets_;  // of each choice's next token, in characters
};

}  // namespace

std::unique_ptr<ReplyWriter> make_completions_writer(const ApiRequest& request,
                                                     ReplyContext context) {
  return std::make_unique<CompletionsWriter>(request, std::move(context));
}

}  // namespace dsv4
