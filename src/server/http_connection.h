// One connection: reads requests, hands them to the handler one after the other, sends responses,
// and enforces the limits. A state machine over a Transport, a clock and posted functions, without
// sockets or threads of its own.
#pragma once

#include "server/http_access.h"
#include "server/http_exchange.h"
#include "server/http_message.h"
#include "server/http_options.h"
#include "server/http_parser.h"
#include "server/http_transport.h"

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace dsv4 {

class Connection;

using HttpClock = std::chrono::steady_clock;

// The counters as they are updated: on the I/O thread, read by all.
struct HttpTally {
  std::atomic<int64_t> connections_open, responses_running, body_bytes_held, connections_total,
      connections_refused, accept_errors, requests_total, problems_total, disconnects,
      aborted_requests, bytes_in, bytes_out;
  std::array<std::atomic<int64_t>, kCutReasons> cut_off;

  HttpCounters snapshot() const;
};

// What the connections of a server share. Outlives them.
struct HttpShared {
  HttpShared(HttpOptions http_options,
             std::function<void(HttpRequest, std::shared_ptr<Responder>)> http_handler);

  // What problem.shape gives, or the default body, as a reply.
  HttpReply shape(const HttpProblem& problem) const;
  std::string next_id();

  const HttpOptions options;
  const AccessRules access;
  const std::function<void(HttpRequest, std::shared_ptr<Responder>)> handler;
  HttpTally tally;
  std::atomic<bool> draining = false;
  // Set before the first connection: runs a function on the I/O thread, never at once.
  std::function<void(std::function<void()>)> post;
  std::function<HttpClock::time_point()> now = HttpClock::now;
  std::function<void(Connection&)> closed;  // the connection will do nothing more

 private:
  uint64_t id_seed_;
  uint64_t n_ids_ = 0;
};

// Lives as long as something is outstanding at its transport or somebody holds it. Used on the I/O
// thread alone.
class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(std::unique_ptr<Transport> transport, std::shared_ptr<HttpShared> shared,
             std::string remote);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  void start();
  // Instead of start(): answers 503 before a request has come.
  void refuse();
  // Enforces the limits of time; sends fillers.
  void tick(HttpClock::time_point now);
  // Closes the connection now if no request is running or being received, else after it.
  void drain();
  void cut_off(CutReason reason);

 private:
  enum class Phase {
    kOpening,     // TLS handshake
    kIdle,        // nothing of a request has come
    kHeader,      // a request's headers are coming
    kBody,        // its body is coming
    kResponding,  // the handler has it; exchange_ is set
    kReplying,    // an answer of the server itself is being sent
    kLingering,   // all is sent: the peer may read it, then the connection ends
    kClosed,
  };

  void enter(Phase phase);
  void start_read();
  void on_read(std::optional<size_t> n);
  void on_end();
  void advance();
  bool on_header();
  bool check_body_total();
  void on_request();
  void hand_over(HttpRequest request);
  void release_body();

  void reply(HttpReply reply, bool close);
  void fail(HttpProblem problem, CutReason reason = CutReason::kProblem);
  void pump();
  void send(std::string_view bytes);
  void start_write();
  void on_write(std::optional<size_t> n);
  void on_sent_all();
  void next_request();
  void tick_responding(HttpClock::time_point now);
  void linger();
  void close();

  const std::unique_ptr<Transport> transport_;
  const std::shared_ptr<HttpShared> shared_;
  const std::string remote_;

  Phase phase_ = Phase::kOpening;
  HttpClock::time_point phase_start_;
  bool is_first_ = true;  // no request has come on this connection

  std::vector<char> read_buffer_;
  bool reading_ = false;
  bool discarding_ = false;  // what comes is not looked at any more
  size_t discarded_bytes_ = 0;
  bool peer_ended_ = false;
  std::string input_;
  std::unique_ptr<RequestParser> parser_;
  size_t held_body_bytes_ = 0;  // of this connection in the tally

  std::shared_ptr<Exchange> exchange_;
  std::string queued_;   // to be sent after sending_
  std::string sending_;  // handed to the transport from sent_ on
  size_t sent_ = 0;
  bool writing_ = false;
  bool response_ended_ = false;  // all of it is in queued_ and sending_
  bool close_after_ = false;
  HttpClock::time_point last_progress_;  // of writing
};

}  // namespace dsv4
