#include "server/http_connection.h"

#include "base/rng.h"

#include <algorithm>
#include <exception>
#include <random>
#include <utility>

#include <fmt/core.h>

namespace dsv4 {
namespace {

// Of an idle connection, and while a body is coming.
constexpr size_t kSmallRead = size_t{2} << 10;
constexpr size_t kLargeRead = size_t{64} << 10;
// A buffer that grew larger is given back once it is empty.
constexpr size_t kKeptBuffer = size_t{16} << 10;
// Whoever sends that much after the last answer does not read it.
constexpr size_t kMaxDiscarded = size_t{64} << 20;

std::string plain_body(const HttpProblem& problem) {
  // Codes are ours; of the message, what could end the string is left out.
  std::string message = problem.message;
  for (char& c : message) {
    if (c == '"' || c == '\\') c = '\'';
    if (static_cast<unsigned char>(c) < 0x20 || static_cast<unsigned char>(c) >= 0x7f) c = '?';
  }
  return fmt::format("{{\"error\":{{\"code\":\"{}\",\"message\":\"{}\"}}}}\n", problem.code,
                     message);
}

void add(std::atomic<int64_t>& counter, int64_t n = 1) {
  counter.fetch_add(n, std::memory_order_relaxed);
}

}  // namespace

const char* cut_reason_name(CutReason reason) {
  constexpr const char* kNames[kCutReasons] = {"handshake",   "header_time", "body_time", "idle",
                                               "slow_reader", "queue_full",  "pipelined", "problem",
                                               "abandoned",   "drain"};
  return kNames[static_cast<size_t>(reason)];
}

HttpCounters HttpTally::snapshot() const {
  HttpCounters out{.connections_open = connections_open,
                   .responses_running = responses_running,
                   .body_bytes_held = body_bytes_held,
                   .connections_total = connections_total,
                   .connections_refused = connections_refused,
                   .accept_errors = accept_errors,
                   .requests_total = requests_total,
                   .problems_total = problems_total,
                   .disconnects = disconnects,
                   .aborted_requests = aborted_requests,
                   .bytes_in = bytes_in,
                   .bytes_out = bytes_out};
  for (size_t i = 0; i < kCutReasons; ++i) out.cut_off[i] = cut_off[i];
  return out;
}

HttpShared::HttpShared(HttpOptions http_options,
                       std::function<void(HttpRequest, std::shared_ptr<Responder>)> http_handler)
    : options(std::move(http_options)), access(options), handler(std::move(http_handler)) {
  std::random_device device;
  id_seed_ = (uint64_t{device()} << 32) | device();
}

std::string HttpShared::next_id() {
  return fmt::format("req_{:016x}", random_bits(id_seed_, 0, n_ids_++));
}

HttpReply HttpShared::shape(const HttpProblem& problem) const {
  HttpReply reply;
  if (options.shape_problem) {
    reply = options.shape_problem(problem);
  } else {
    reply = {problem.status, {{"Content-Type", "application/json"}}, plain_body(problem)};
  }
  if (problem.retry_after_s > 0 && find_header(reply.headers, "retry-after") == nullptr) {
    reply.headers.push_back({"Retry-After", fmt::format("{}", problem.retry_after_s)});
  }
  return reply;
}

Connection::Connection(std::unique_ptr<Transport> transport, std::shared_ptr<HttpShared> shared,
                       std::string remote)
    : transport_(std::move(transport)),
      shared_(std::move(shared)),
      remote_(std::move(remote)),
      phase_start_(shared_->now()),
      last_progress_(phase_start_) {
  add(shared_->tally.connections_open);
  add(shared_->tally.connections_total);
}

Connection::~Connection() { add(shared_->tally.connections_open, -1); }

void Connection::enter(Phase phase) {
  phase_ = phase;
  phase_start_ = shared_->now();
}

void Connection::start() {
  transport_->open([self = shared_from_this()](std::optional<size_t> opened) {
    if (self->phase_ == Phase::kClosed) return;
    if (!opened) {
      self->cut_off(CutReason::kHandshake);
      return;
    }
    self->enter(Phase::kIdle);
    self->start_read();
  });
}

void Connection::refuse() {
  add(shared_->tally.connections_refused);
  start_read();
  fail({.status = 503,
        .code = "too_many_connections",
        .message = fmt::format("{} connections are open, which is the limit",
                               shared_->options.limits.max_connections),
        .retry_after_s = 1});
}

// Reading.

void Connection::start_read() {
  if (reading_ || peer_ended_ || phase_ == Phase::kClosed) return;
  const bool many = phase_ == Phase::kBody || phase_ == Phase::kLingering;
  if (read_buffer_.size() != (many ? kLargeRead : kSmallRead)) {
    read_buffer_ = std::vector<char>(many ? kLargeRead : kSmallRead);
  }
  reading_ = true;
  transport_->read(read_buffer_, [self = shared_from_this()](std::optional<size_t> n) {
    self->reading_ = false;
    if (self->phase_ != Phase::kClosed) self->on_read(n);
  });
}

void Connection::on_read(std::optional<size_t> n) {
  if (!n) {
    on_end();
    return;
  }
  add(shared_->tally.bytes_in, static_cast<int64_t>(*n));
  if (discarding_) {
    discarded_bytes_ += *n;
    if (discarded_bytes_ > kMaxDiscarded) return close();
  } else {
    input_.append(read_buffer_.data(), *n);
    if (phase_ == Phase::kResponding || phase_ == Phase::kReplying) {
      if (input_.size() > shared_->options.limits.pipelined_bytes) {
        return cut_off(CutReason::kPipelined);
      }
    } else {
      advance();
    }
  }
  start_read();
}

void Connection::on_end() {
  peer_ended_ = true;
  switch (phase_) {
    case Phase::kHeader:
    case Phase::kBody:
      add(shared_->tally.aborted_requests);
      break;
    case Phase::kResponding:
    case Phase::kReplying:
      // A peer that sends no more may still read the end of an answer that is there already.
      if (exchange_ == nullptr || exchange_->answered()) {
        close_after_ = true;
        return;
      }
      add(shared_->tally.disconnects);
      break;
    default:
      break;
  }
  close();
}

// Makes what it can of the input, up to the end of one request.
void Connection::advance() {
  if (phase_ == Phase::kIdle) {
    // Some peers send an empty line after a body.
    input_.erase(0, std::min(input_.size(), input_.find_first_not_of("\r\n")));
    if (input_.empty()) return;
    const bool was_first = std::exchange(is_first_, false);
    const auto opened = phase_start_;
    enter(Phase::kHeader);
    if (was_first) phase_start_ = opened;  // the first request has its time from the connection on
    parser_ = std::make_unique<RequestParser>(shared_->options.limits);
  }
  while (phase_ == Phase::kHeader || phase_ == Phase::kBody) {
    switch (parser_->advance(input_)) {
      case RequestParser::Status::kNeedMore:
        check_body_total();
        return;
      case RequestParser::Status::kHeader:
        if (!on_header()) return;
        break;
      case RequestParser::Status::kComplete:
        if (check_body_total()) on_request();
        return;
      case RequestParser::Status::kProblem:
        return fail(parser_->problem());
    }
  }
}

bool Connection::on_header() {
  if (auto problem = shared_->access.check(parser_->request())) {
    fail(std::move(*problem));
    return false;
  }
  if (parser_->has_body()) {
    enter(Phase::kBody);
    if (parser_->expects_continue() && input_.empty()) send("HTTP/1.1 100 Continue\r\n\r\n");
  }
  return true;
}

// All bodies together must not fill the memory.
bool Connection::check_body_total() {
  const size_t bytes = parser_->body_bytes();
  add(shared_->tally.body_bytes_held, static_cast<int64_t>(bytes - held_body_bytes_));
  held_body_bytes_ = bytes;
  const auto limit = static_cast<int64_t>(shared_->options.limits.total_body_bytes);
  if (shared_->tally.body_bytes_held.load(std::memory_order_relaxed) <= limit) return true;
  fail({.status = 503,
        .code = "too_many_bodies",
        .message = "too much is being sent to this server at once",
        .retry_after_s = 1});
  return false;
}

void Connection::release_body() {
  add(shared_->tally.body_bytes_held, -static_cast<int64_t>(held_body_bytes_));
  held_body_bytes_ = 0;
}

void Connection::on_request() {
  HttpRequest request = std::move(parser_->request());
  parser_.reset();
  release_body();
  if (input_.empty()) release(input_);  // it may have grown with the body
  request.remote = remote_;
  request.id = shared_->next_id();
  if (auto preflight = shared_->access.preflight(request)) {
    enter(Phase::kReplying);
    return reply(std::move(*preflight), !request.keep_alive);
  }
  hand_over(std::move(request));
}

void Connection::hand_over(HttpRequest request) {
  enter(Phase::kResponding);
  last_progress_ = phase_start_;
  add(shared_->tally.requests_total);
  add(shared_->tally.responses_running);
  exchange_ = std::make_shared<Exchange>(
      Exchange::Setup{.request_id = request.id,
                      .is_head = request.method == "HEAD",
                      .minor_version = request.minor_version,
                      .keep_alive = request.keep_alive,
                      .queue_limit_bytes = shared_->options.limits.queued_bytes,
                      .added_headers = shared_->access.response_headers(request),
                      .draining = [shared = shared_] { return shared->draining.load(); },
                      .post = shared_->post,
                      .pump =
                          [weak = weak_from_this()] {
                            if (const auto self = weak.lock()) self->pump();
                          }});
  HttpProblem problem{.status = 500,
                      .code = "internal_error",
                      .id = request.id,
                      .method = request.method,
                      .path = request.path};
  const auto exchange = exchange_;
  try {
    shared_->handler(std::move(request), std::make_shared<Responder>(exchange));
  } catch (const std::exception& error) {
    problem.message = error.what();
    HttpReply answer = shared_->shape(problem);
    exchange->respond(answer.status, std::move(answer.headers), answer.body);
  }
}

// Answering.

// Sends a whole answer that is not the handler's.
void Connection::reply(HttpReply reply, bool close) {
  const bool has_body = !status_has_no_body(reply.status);
  close_after_ = close || shared_->draining.load();
  ResponseFraming framing{.close = close_after_};
  if (has_body) framing.content_length = reply.body.size();
  response_ended_ = true;
  queued_ += response_head(reply.status, reply.headers, "", framing);
  if (has_body) queued_ += reply.body;
  start_write();
}

void Connection::fail(HttpProblem problem, CutReason reason) {
  add(shared_->tally.problems_total);
  add(shared_->tally.cut_off[static_cast<size_t>(reason)]);
  problem.id = shared_->next_id();
  if (parser_ != nullptr) {
    problem.method = parser_->request().method;
    problem.path = parser_->request().path;
    parser_.reset();
  }
  release_body();
  HttpReply answer = shared_->shape(problem);
  answer.headers.push_back({"X-Request-Id", problem.id});
  if (problem.method == "HEAD") answer.body.clear();
  release(input_);
  discarding_ = true;
  enter(Phase::kReplying);
  last_progress_ = phase_start_;
  reply(std::move(answer), true);
}

// Takes what the handler has written.
void Connection::pump() {
  if (phase_ == Phase::kClosed || exchange_ == nullptr) return;
  const Exchange::Output output = exchange_->take();
  if (output.overflowed) return cut_off(CutReason::kQueueFull);
  if (output.broken) {
    std::exchange(exchange_, nullptr)->complete();
    return cut_off(CutReason::kAbandoned);
  }
  if (output.unanswered) {
    HttpReply answer = shared_->shape({.status = 500,
                                       .code = "internal_error",
                                       .message = "the request was given up",
                                       .id = exchange_->request_id()});
    exchange_->respond(answer.status, std::move(answer.headers), answer.body);
    return;  // and comes back
  }
  response_ended_ = output.ended;
  close_after_ = close_after_ || output.close;
  send(output.bytes);
  if (response_ended_ && !writing_) on_sent_all();
}

void Connection::send(std::string_view bytes) {
  queued_ += bytes;
  start_write();
}

void Connection::start_write() {
  if (writing_ || phase_ == Phase::kClosed) return;
  if (sent_ == sending_.size()) {
    if (queued_.empty()) return;
    sending_ = std::exchange(queued_, {});
    sent_ = 0;
    last_progress_ = shared_->now();
  }
  writing_ = true;
  transport_->write(std::string_view(sending_).substr(sent_),
                    [self = shared_from_this()](std::optional<size_t> n) {
                      self->writing_ = false;
                      if (self->phase_ != Phase::kClosed) self->on_write(n);
                    });
}

void Connection::on_write(std::optional<size_t> n) {
  if (!n) {
    if (phase_ == Phase::kResponding) add(shared_->tally.disconnects);
    return close();
  }
  add(shared_->tally.bytes_out, static_cast<int64_t>(*n));
  sent_ += *n;
  last_progress_ = shared_->now();
  if (exchange_ != nullptr) exchange_->sent(*n);
  if (sent_ == sending_.size()) {
    sending_.clear();
    sent_ = 0;
    if (sending_.capacity() > kKeptBuffer) release(sending_);
  }
  start_write();
  if (!writing_ && response_ended_) on_sent_all();
}

void Connection::on_sent_all() {
  if (phase_ == Phase::kResponding) {
    add(shared_->tally.responses_running, -1);
    std::exchange(exchange_, nullptr)->complete();
  } else if (phase_ != Phase::kReplying) {
    return;
  }
  response_ended_ = false;
  if (close_after_ || (shared_->draining.load() && input_.empty())) return linger();
  next_request();
}

void Connection::next_request() {
  enter(Phase::kIdle);
  advance();
  start_read();
}

// The peer may still be sending. If the connection were closed now, the system would tell it so at
// once, and it might never read the answer.
void Connection::linger() {
  enter(Phase::kLingering);
  if (peer_ended_) return close();
  discarding_ = true;
  release(input_);
  transport_->end_writing();
  start_read();
}

// Ending.

void Connection::drain() {
  if (phase_ == Phase::kIdle || phase_ == Phase::kOpening) return close();
}

void Connection::cut_off(CutReason reason) {
  if (phase_ == Phase::kClosed) return;
  add(shared_->tally.cut_off[static_cast<size_t>(reason)]);
  close();
}

void Connection::close() {
  if (phase_ == Phase::kClosed) return;
  const auto self = shared_from_this();
  const bool was_responding = phase_ == Phase::kResponding;
  enter(Phase::kClosed);
  release_body();
  transport_->close();
  shared_->closed(*this);
  if (!was_responding) return;
  add(shared_->tally.responses_running, -1);
  if (exchange_ != nullptr) std::exchange(exchange_, nullptr)->disconnect();
}

void Connection::tick(HttpClock::time_point now) {
  const HttpLimits& limits = shared_->options.limits;
  const auto passed = now - phase_start_;
  switch (phase_) {
    case Phase::kOpening:
      if (passed > limits.header_time) cut_off(CutReason::kHandshake);
      break;
    case Phase::kIdle:
      if (passed > (is_first_ ? limits.header_time : limits.idle_time)) cut_off(CutReason::kIdle);
      break;
    case Phase::kHeader:
      if (passed > limits.header_time) {
        fail({408, "request_timeout", "the headers took too long"}, CutReason::kHeaderTime);
      }
      break;
    case Phase::kBody: {
      const std::chrono::duration<double> owed(static_cast<double>(parser_->body_bytes()) /
                                               static_cast<double>(limits.body_bytes_per_s));
      if (passed > limits.body_grace + owed) {
        fail({408, "request_timeout", "the body came too slowly"}, CutReason::kBodyTime);
      }
      break;
    }
    case Phase::kResponding:
    case Phase::kReplying:
      tick_responding(now);
      break;
    case Phase::kLingering:
      if (passed > limits.linger_time) close();
      break;
    case Phase::kClosed:
      break;
  }
}

void Connection::tick_responding(HttpClock::time_point now) {
  if (writing_) {
    if (now - last_progress_ > shared_->options.limits.stalled_time) {
      cut_off(CutReason::kSlowReader);
    }
    return;
  }
  if (exchange_ == nullptr) return;
  const StreamFiller* filler = exchange_->filler();
  if (filler != nullptr && now - last_progress_ >= filler->after) send(exchange_->filler_chunk());
}

}  // namespace dsv4
