#include "server/http_exchange.h"

#include <algorithm>
#include <utility>

namespace dsv4 {

// With the lock held.
void Exchange::schedule_pump() {
  if (pump_posted_ || over_) return;
  pump_posted_ = true;
  setup_.post(setup_.pump);
}

void Exchange::begin(int status, const HttpHeaders& headers, std::optional<uint64_t> length) {
  body_sent_ = !setup_.is_head && !status_has_no_body(status);
  const bool is_1_0 = setup_.minor_version == 0;
  chunked_ = !length && body_sent_ && !is_1_0;
  close_ = !setup_.keep_alive || setup_.draining() || (!length && is_1_0);
  ResponseFraming framing{.chunked = !length && !status_has_no_body(status) && !is_1_0,
                          .close = close_,
                          .keep_alive_1_0 = is_1_0};
  if (!status_has_no_body(status)) framing.content_length = length;
  HttpHeaders all = setup_.added_headers;
  all.insert(all.end(), headers.begin(), headers.end());
  result_.status = status;
  const std::string head = response_head(status, all, setup_.request_id, framing);
  unsent_bytes_ += head.size();
  outbox_ += head;
}

void Exchange::append_body(std::string_view bytes) {
  result_.body_bytes += static_cast<int64_t>(bytes.size());
  if (!body_sent_) return;
  const size_t before = outbox_.size();
  if (chunked_) {
    append_chunk(outbox_, bytes);
  } else {
    outbox_ += bytes;
  }
  unsent_bytes_ += outbox_.size() - before;
}

void Exchange::respond(int status, HttpHeaders headers, std::string_view body) {
  const std::lock_guard lock(mutex_);
  if (over_ || stage_ != Stage::kWaiting) return;
  begin(status, headers, body.size());
  append_body(body);
  stage_ = Stage::kEnded;
  schedule_pump();
}

void Exchange::start_stream(int status, HttpHeaders headers, StreamFiller filler) {
  const std::lock_guard lock(mutex_);
  if (over_ || stage_ != Stage::kWaiting) return;
  begin(status, headers, std::nullopt);
  filler_ = std::move(filler);
  stage_ = Stage::kStreaming;
  schedule_pump();
}

void Exchange::write(std::string_view bytes) {
  const std::lock_guard lock(mutex_);
  if (over_ || stage_ != Stage::kStreaming || bytes.empty() || overflowed_) return;
  // What waits already counts, so that one write of any size gets through.
  overflowed_ = unsent_bytes_ > setup_.queue_limit_bytes;
  if (!overflowed_) append_body(bytes);
  schedule_pump();
}

void Exchange::finish() {
  const std::lock_guard lock(mutex_);
  if (over_ || stage_ != Stage::kStreaming) return;
  if (chunked_) {
    outbox_ += kLastChunk;
    unsent_bytes_ += kLastChunk.size();
  }
  stage_ = Stage::kEnded;
  schedule_pump();
}

void Exchange::abandon() {
  const std::lock_guard lock(mutex_);
  if (over_ || stage_ == Stage::kEnded) return;
  unanswered_ = stage_ == Stage::kWaiting;
  broken_ = !unanswered_;
  schedule_pump();
}

void Exchange::on_done(std::function<void(const ResponseEnd&)> fn) {
  ResponseEnd result;
  {
    const std::lock_guard lock(mutex_);
    if (!over_) {
      on_done_.push_back(std::move(fn));
      return;
    }
    result = result_;
  }
  fn(result);
}

void Exchange::post(std::function<void()> fn) {
  const std::lock_guard lock(mutex_);
  if (!over_) setup_.post(std::move(fn));
}

bool Exchange::gone() const {
  const std::lock_guard lock(mutex_);
  return gone_;
}

Exchange::Output Exchange::take() {
  const std::lock_guard lock(mutex_);
  pump_posted_ = false;
  Output output{.bytes = std::exchange(outbox_, {}),
                .ended = stage_ == Stage::kEnded,
                .close = close_,
                .overflowed = overflowed_,
                .unanswered = unanswered_ && stage_ == Stage::kWaiting,
                .broken = broken_};
  unanswered_ = false;
  return output;
}

void Exchange::sent(size_t n_bytes) {
  const std::lock_guard lock(mutex_);
  unsent_bytes_ -= std::min(unsent_bytes_, n_bytes);  // it may have sent a 100 Continue before
}

bool Exchange::answered() const {
  const std::lock_guard lock(mutex_);
  return stage_ == Stage::kEnded;
}

const StreamFiller* Exchange::filler() const {
  const std::lock_guard lock(mutex_);
  return stage_ == Stage::kStreaming && !filler_.bytes.empty() ? &filler_ : nullptr;
}

std::string Exchange::filler_chunk() {
  const std::lock_guard lock(mutex_);
  if (stage_ != Stage::kStreaming || !body_sent_ || unsent_bytes_ > 0) return {};
  std::string chunk;
  if (chunked_) {
    append_chunk(chunk, filler_.bytes);
  } else {
    chunk = filler_.bytes;
  }
  unsent_bytes_ += chunk.size();
  return chunk;
}

void Exchange::complete() { end(false); }

void Exchange::disconnect() { end(true); }

void Exchange::end(bool client_gone) {
  std::vector<std::function<void(const ResponseEnd&)>> done;
  ResponseEnd result;
  {
    const std::lock_guard lock(mutex_);
    if (over_) return;
    over_ = true;
    // A response that was written to its end has nobody left who computes it.
    gone_ = client_gone && stage_ != Stage::kEnded;
    result_.client_gone = client_gone;
    result = result_;
    std::swap(done, on_done_);
    release(outbox_);
  }
  for (auto fn = done.rbegin(); fn != done.rend(); ++fn) (*fn)(result);
}

Responder::~Responder() { exchange_->abandon(); }

void Responder::respond(int status, HttpHeaders headers, std::string body) {
  exchange_->respond(status, std::move(headers), body);
}

void Responder::respond(HttpReply reply) {
  exchange_->respond(reply.status, std::move(reply.headers), reply.body);
}

void Responder::start_stream(int status, HttpHeaders headers, StreamFiller filler) {
  exchange_->start_stream(status, std::move(headers), std::move(filler));
}

void Responder::write(std::string_view bytes) { exchange_->write(bytes); }

void Responder::finish() { exchange_->finish(); }

void Responder::on_done(std::function<void(const ResponseEnd&)> fn) {
  exchange_->on_done(std::move(fn));
}

void Responder::post(std::function<void()> fn) { exchange_->post(std::move(fn)); }

bool Responder::gone() const { return exchange_->gone(); }

}  // namespace dsv4
