#include "server/reply_shape.h"
#include "server/events.h"

#include "base/check.h"
#include "base/rng.h"
#include "server/reply_writers.h"
#include "text/special_tokens.h"

#include <algorithm>
#include <utility>

namespace dsv4 {
namespace {

// What the writers need of a request; a long conversation is not kept for the time of its reply.
ApiRequest without_prompt(const ApiRequest& request) {
  ApiRequest kept;
  kept.api = request.api;
  kept.model = request.model;
  kept.tools = request.tools;
  kept.n = request.n;
  kept.logprobs = request.logprobs;
  kept.echo = request.echo;
  kept.show_reasoning = request.show_reasoning;
  kept.stream = request.stream;
  kept.include_usage = request.include_usage;
  kept.echoed = request.echoed;
  return kept;
}

}  // namespace

std::string IdMaker::next(std::string_view prefix) {
  constexpr std::string_view kLetters =
      "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
  constexpr int kLettersPerDraw = 10;  // of 64 bits
  constexpr uint64_t kIdStream = 17;
  std::string id(prefix);
  uint64_t bits = 0;
  for (int i = 0; i < 24; ++i) {
    static_assert(kLettersPerDraw * 6 <= 64);
    if (i % kLettersPerDraw == 0) bits = random_bits(seed_, kIdStream, ++n_made_);
    id += kLetters[bits % kLetters.size()];
    bits /= kLetters.size();
  }
  return id;
}

const char* finish_name(FinishReason reason) {
  switch (reason) {
    case FinishReason::kStop:
      return "stop";
    case FinishReason::kLength:
      return "length";
    case FinishReason::kToolCalls:
      break;
  }
  return "tool_calls";
}

ReplyWriter::ReplyWriter(const ApiRequest& request, ReplyContext context, const char* id_prefix,
                         const char* call_prefix)
    : request_(without_prompt(request)),
      context_(std::move(context)),
      id_(context_.ids.next(id_prefix)),
      call_prefix_(call_prefix),
      choices_(static_cast<size_t>(request.n) * std::max<size_t>(request.prompts.size(), 1)),
      think_begin_(context_.tokenizer->id_of(kThinkBegin)),
      think_end_(context_.tokenizer->id_of(kThinkEnd)),
      eos_(context_.tokenizer->eos_id()) {
  for (Choice& choice : choices_) choice.is_reasoning = context_.mode == ThinkingMode::kThinking;
}

void ReplyWriter::start(int64_t n_prompt, int64_t n_cached, std::string& out) {
  usage_.n_prompt = n_prompt;
  usage_.n_cached = n_cached;
  on_start(out);
}

void ReplyWriter::log_token(Choice& choice, const SampledToken& token) {
  if (request_.logprobs && token.id != eos_) {
    const Tokenizer& tokenizer = *context_.tokenizer;
    LoggedToken logged{
        std::string(tokenizer.token_bytes(token.id)), token.logprob, {}, choice.is_reasoning};
    for (const TokenLogprob& other : token.top) {
      if (std::ssize(logged.top) == *request_.logprobs) break;
      logged.top.emplace_back(tokenizer.token_bytes(other.id), other.logprob);
    }
    choice.tokens.push_back(std::move(logged));
  }
  ++usage_.n_completion;
  if (choice.n_tokens++ == 0 && token.id == think_begin_) choice.is_reasoning = true;
  if (choice.is_reasoning) ++usage_.n_reasoning;
  if (token.id == think_end_) choice.is_reasoning = false;
}

void ReplyWriter::take(Choice& choice, const ParseEvent& event) {
  switch (event.kind) {
    case ParseEvent::Kind::kReasoning:
      choice.reasoning += event.text;
      break;
    case ParseEvent::Kind::kContent:
    case ParseEvent::Kind::kRawText:
      choice.content += event.text;
      break;
    case ParseEvent::Kind::kToolCallBegin:
      choice.calls.push_back({context_.ids.next(call_prefix_), event.text, ""});
      break;
    case ParseEvent::Kind::kArguments:
      choice.calls.back().arguments += event.text;
      break;
    case ParseEvent::Kind::kToolCallEnd:
    case ParseEvent::Kind::kToolCallAborted:
      break;
  }
}

void ReplyWriter::add(size_t choice, std::span<const ParseEvent> events, const SampledToken* token,
                      std::string& out) {
  CHECK(choice < choices_.size(), choice);
  Choice& state = choices_[choice];
  if (token != nullptr) log_token(state, *token);
  for (const ParseEvent& event : events) {
    take(state, event);
    on_event(choice, event, out);
    if (event.kind == ParseEvent::Kind::kToolCallAborted) state.calls.pop_back();
  }
}

void ReplyWriter::end(size_t choice, const ReplyEnd& end, std::string& out) {
  CHECK(choice < choices_.size(), choice);
  choices_[choice].end = end;
  on_end(choice, out);
}

void ReplyWriter::finish(std::string& out) {
  if (request_.stream) {
    on_finish(out);
  } else {
    out += body().print();
  }
}

void ReplyWriter::fail(const ApiError& error, std::string& out) { on_fail(error, out); }

Json ReplyWriter::message(size_t choice) const {
  const Choice& state = choices_.at(choice);
  Json message;
  message.set("role", "assistant").set("content", state.content);
  message.set("reasoning_content", request_.show_reasoning ? state.reasoning : "");
  Json::Array calls;
  for (const Call& call : state.calls) {
    Json function = Json().set("name", call.name).set("arguments", call.arguments);
    calls.push_back(
        Json().set("id", call.id).set("type", "function").set("function", std::move(function)));
  }
  if (!calls.empty()) message.set("tool_calls", std::move(calls));
  return message;
}

std::span<const LoggedToken> ReplyWriter::unsent_tokens(Choice& choice) const {
  const size_t begin = std::exchange(choice.n_tokens_sent, choice.tokens.size());
  return std::span(choice.tokens).subspan(begin);
}

std::unique_ptr<ReplyWriter> make_reply_writer(const ApiRequest& request, ReplyContext context) {
  switch (request.api) {
    case ApiKind::kChat:
      return make_chat_writer(request, std::move(context));
    case ApiKind::kCompletions:
      return make_completions_writer(request, std::move(context));
    case ApiKind::kResponses:
      return make_responses_writer(request, std::move(context));
    case ApiKind::kMessages:
      return make_messages_writer(request, std::move(context));
  }
  CHECK(false);
}

}  // namespace dsv4
