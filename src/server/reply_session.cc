#include "server/reply_session.h"

#include "server/events.h"
#include "server/openai_responses.h"

#include <algorithm>
#include <exception>
#include <utility>

#include <fmt/core.h>

namespace dsv4 {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

// What is told of an end that the client did not bring about, nothing for an ordinary one.
std::optional<ApiError> error_of(const Reply& reply) {
  switch (reply.reason()) {
    case EndReason::kStopId:
    case EndReason::kStopString:
    case EndReason::kLength:
      return std::nullopt;
    case EndReason::kCancelled:
      return ApiError{ApiError::Kind::kOverloaded, "the server is shutting down"};
    case EndReason::kDeadline:
      return ApiError{ApiError::Kind::kTimeout, "the request took longer than the server allows"};
    case EndReason::kError:
      break;
  }
  return ApiError{ApiError::Kind::kInternal, reply.error()};
}

}  // namespace

ReplySession::ReplySession(Service& service, Call call, ApiRequest request,
                           std::vector<Prompt> prompts)
    : service_(service),
      call_(std::move(call)),
      request_(std::move(request)),
      is_prefill_(request_.is_prefill()),
      prompts_(std::move(prompts)) {
  ReplyContext context{.tokenizer = &service.tokenizer_,
                       .ids = IdMaker(service.draw()),
                       .created = call_.record->unix_ms / 1000,
                       .mode = prompts_.front().mode};
  for (const Prompt& prompt : prompts_) {
    if (request_.echo) {
      context.prompt_texts.push_back(service.tokenizer_.decode(prompt.ids, SkipSpecial::kNo));
    }
    for (int64_t i = 0; i < request_.n; ++i) choices_.emplace_back(prompt.parsing);
  }
  writer_ = make_reply_writer(request_, std::move(context));
  if (service.trace_ != nullptr) {
    trace_.emplace(call_.http.id, call_.http.path, call_.arrived);
    trace_->encoded(request_, prompts_);
  }
  // Not needed for the time of the reply, which may be long.
  request_.messages = Json::Array();
  request_.prompts = std::vector<RawPrompt>();
  if (!request_.store) request_.new_messages = Json::Array();
}

void ReplySession::submit(std::vector<Request> requests) {
  if (trace_) trace_->submitted();  // from the next line on it belongs to the I/O thread
  arrange_end();
  for (Request& request : requests) {
    const auto notify = [weak = weak_from_this()] {
      const auto self = weak.lock();
      if (self) self->call_.responder->post([self] { self->drain(); });
    };
    try {
      Engine::Submission submission = service_.engine_.submit(std::move(request), notify);
      if (submission.refusal != Engine::Refusal::kNone) {
        const bool full = submission.refusal == Engine::Refusal::kQueueFull;
        fail({ApiError::Kind::kOverloaded,
              full ? "too many requests wait; try again later" : "the server is shutting down"},
             kRetryAfterS);
        return;
      }
      const std::lock_guard lock(mutex_);
      if (cancelled_) submission.stream->cancel();
      sources_.push_back({.stream = std::move(submission.stream)});
    } catch (const Error& error) {
      fail(api_error_of(error));
      return;
    }
  }
  submitted_ = true;
  call_.responder->post([self = shared_from_this()] { self->drain(); });
}

// The responder keeps the session until nothing more can be sent.
void ReplySession::arrange_end() {
  call_.responder->on_done([self = shared_from_this()](const ResponseEnd& end) {
    self->cancel();
    self->log(end);
  });
}

// The engine stops within one step.
void ReplySession::cancel() {
  const std::lock_guard lock(mutex_);
  cancelled_ = true;
  for (Source& source : sources_) source.stream->cancel();
}

// What goes wrong here ends this reply only.
void ReplySession::drain() {
  if (!submitted_ || over_) return;  // until submitted_, over_ is the worker's
  try {
    deliver();
  } catch (const std::exception& error) {
    service_.log_.error("reply failed", {{"id", call_.http.id}, {"reason", error.what()}});
    fail({ApiError::Kind::kInternal, "the server could not do its work"});
  }
}

void ReplySession::deliver() {
  bool all_started = true;
  for (Source& source : sources_) {
    if (source.open) source.open = source.stream->take(source.events);
    source.started = source.started || !source.events.empty();
    all_started = all_started && source.started;
  }
  if (!all_started) return;
  if (!begun_) begin();
  for (size_t i = 0; i < sources_.size() && !over_; ++i) {
    for (StreamEvent& event : sources_[i].events) {
      if (!over_) take(i, std::move(event));
    }
    sources_[i].events.clear();
  }
  if (over_) return;
  const bool all_ended = std::ranges::all_of(choices_, [](const Choice& c) { return c.ended; });
  if (all_ended) {
    finish();
  } else {
    send();
  }
}

// All prompts have been admitted: what they take from the cache is known.
void ReplySession::begin() {
  int64_t n_prompt = 0;
  int64_t n_cached = 0;
  for (size_t i = 0; i < sources_.size(); ++i) {
    n_prompt += std::ssize(prompts_[i].ids);
    const StreamEvent& first = sources_[i].events.front();
    if (first.kind != StreamEvent::Kind::kStarted) continue;  // it ended before it began
    n_cached += first.usage.n_cached;
    call_.record->cache_miss = first.usage.miss;
    service_.counts_.queue_s.observe(first.usage.queued_s);
  }
  call_.record->tokens_in = n_prompt;
  call_.record->tokens_cached = n_cached;
  begun_ = true;
  writer_->start(n_prompt, n_cached, out_);
}

void ReplySession::take(size_t prompt, StreamEvent event) {
  const auto index = prompt * static_cast<size_t>(request_.n) + static_cast<size_t>(event.choice);
  Choice& choice = choices_[index];
  if (trace_) trace_->take(prompt, event);
  if (event.token) measure_token();
  const std::optional<SampledToken> token = event.token;
  const bool is_end = event.kind == StreamEvent::Kind::kEnd;
  const std::string stop_string = event.stop_string;
  events_.clear();
  choice.reply.take(std::move(event), events_);
  if (is_end) {
    if (const auto error = error_of(choice.reply)) return fail(*error);
  }
  if (token || !events_.empty()) writer_->add(index, events_, token ? &*token : nullptr, out_);
  if (is_end) end_choice(choice, index, stop_string);
}

void ReplySession::end_choice(Choice& choice, size_t index, const std::string& stop_string) {
  choice.ended = true;
  ReplyEnd end{.reason = choice.reply.finish_reason()};
  if (!stop_string.empty()) end.stop_string = stop_string;
  writer_->end(index, end, out_);
  service_.counts_.count_end(finish_name(end.reason));
  if (request_.api == ApiKind::kCompletions) return;
  service_.remember(prompts_.front(), writer_->message(index), choice.reply.ids(), end);
}

void ReplySession::measure_token() {
  const auto now = Clock::now();
  if (last_token_) {
    if (choices_.size() == 1) {
      service_.counts_.inter_token_s.observe(
          std::chrono::duration<double>(now - *last_token_).count());
    }
  } else {
    call_.record->first_token_s = seconds_since(call_.arrived);
    service_.counts_.first_token_s.observe(call_.record->first_token_s);
  }
  last_token_ = now;
}

void ReplySession::fail(const ApiError& error, int retry_after_s) {
  over_ = true;
  cancel();
  if (!streaming_) return service_.refuse(call_, error, retry_after_s);
  writer_->fail(error, out_);
  call_.responder->write(std::exchange(out_, {}));
  call_.responder->finish();
}

void ReplySession::finish() {
  writer_->finish(out_);
  over_ = true;
  if (request_.store) keep_response(request_.stream ? writer_->body_text() : out_);
  if (request_.stream) {
    send();
    call_.responder->finish();
  } else {
    call_.responder->respond(200, {{"Content-Type", "application/json"}}, std::exchange(out_, {}));
  }
}

// What there is to send of a stream, with its head before the first of it.
void ReplySession::send() {
  if (!request_.stream || out_.empty()) return;
  if (!std::exchange(streaming_, true)) {
    StreamFiller filler;
    writer_->ping(filler.bytes);
    call_.responder->start_stream(200, event_stream_headers(), std::move(filler));
  }
  call_.responder->write(std::exchange(out_, {}));
}

void ReplySession::keep_response(std::string body) {
  service_.responses_.put(
      service_.tenant_of(call_), writer_->id(), request_.previous_response_id,
      messages_to_store(std::move(request_.new_messages), is_prefill_, writer_->message(0)),
      std::move(body));
}

void ReplySession::log(const ResponseEnd& end) {
  if (trace_) service_.trace_->write(trace_->finish(end.status, end.client_gone));
  const ReplyUsage& usage = writer_->usage();
  if (begun_) {
    call_.record->tokens_out = usage.n_completion;
    service_.counts_.prompt_tokens.observe(static_cast<double>(usage.n_prompt));
    service_.counts_.reply_tokens.observe(static_cast<double>(usage.n_completion));
  }
  service_.counts_.count_tokens(call_.record->key_name, usage.n_prompt, usage.n_cached,
                                usage.n_completion);
  if (call_.tenant) {
    call_.tenant->charge_tokens(usage.n_prompt - usage.n_cached + usage.n_completion);
  }
  service_.counts_.request_s.observe(seconds_since(call_.arrived));
}

}  // namespace dsv4
