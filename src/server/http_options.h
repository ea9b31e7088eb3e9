// Settings of the HTTP server with their defaults, and what it counts.
#pragma once

#include "server/http_message.h"

#include <array>
#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace dsv4 {

// Bounds on what peers may use. A connection that passes one is answered where that makes sense and
// closed.
struct HttpLimits {
  int64_t max_connections = 2048;                  // more are answered with 503
  size_t header_bytes = size_t{32} << 10;          // request line and headers: 431
  size_t max_headers = 100;                        // 431
  size_t body_bytes = size_t{32} << 20;            // of one request: 413
  size_t total_body_bytes = size_t{256} << 20;     // of all requests being received: 503
  size_t pipelined_bytes = size_t{64} << 10;       // sent ahead while a response is outstanding
  size_t queued_bytes = size_t{1} << 20;           // of a stream, that its reader has not taken
  std::chrono::milliseconds header_time{10'000};   // from the first byte, or the connection: 408
  std::chrono::milliseconds body_grace{10'000};    // 408 when a body takes longer than this ...
  size_t body_bytes_per_s = size_t{16} << 10;      // ... and what came took at this rate
  std::chrono::milliseconds idle_time{75'000};     // between requests
  std::chrono::milliseconds stalled_time{30'000};  // a reader that takes nothing
  std::chrono::milliseconds linger_time{3'000};    // for the peer to read the last response
};

struct HttpOptions {
  std::string host = "127.0.0.1";  // address or name to listen at
  int port = 8000;                 // 0: one that is free
  std::string tls_certificate;     // PEM files; both or none
  std::string tls_key;
  // Origins of pages that may read answers ("https://example.org", or "*" for all). Requests from
  // pages of other origins than the server's own are refused.
  std::vector<std::string> cors_origins;
  // Names (without port) by which requests may call the server, besides addresses and localhost;
  // "*" for all. Empty: all, unless the server listens at a loopback address, where any other name
  // is that of a page which tries to reach the machine of its reader.
  std::vector<std::string> allowed_hosts;
  HttpLimits limits;
  int send_buffer_bytes = 0;            // of the socket; 0: as the system does
  std::chrono::milliseconds tick{250};  // how often limits of time are looked at
  // The body (and status, headers) of an answer that the handler does not give. Called on the I/O
  // thread, once for each such answer. Without it the body is {"error":{code,message}}.
  std::function<HttpReply(const HttpProblem&)> shape_problem;
};

// Why the server ended a connection that its peer would have kept.
enum class CutReason {
  kHandshake,   // TLS failed or took too long
  kHeaderTime,  // headers did not arrive in time
  kBodyTime,    // a body came slower than the minimum rate
  kIdle,        // no request for idle_time
  kSlowReader,  // nothing taken for stalled_time
  kQueueFull,   // more than queued_bytes of a stream not taken
  kPipelined,   // too much sent ahead
  kProblem,     // answered with an error that ends the connection (400, 413, 431, ...)
  kAbandoned,   // the stream was given up half-way by the handler
  kDrain,       // the server stops
};
inline constexpr size_t kCutReasons = 10;

// "handshake", "header_time", ...: as in metrics.
const char* cut_reason_name(CutReason reason);

// A snapshot of the counters; gauges are marked.
struct HttpCounters {
  int64_t connections_open = 0;   // gauge: objects that exist
  int64_t responses_running = 0;  // gauge: requests given to the handler, not yet answered in full
  int64_t body_bytes_held = 0;    // gauge: bodies being received
  int64_t connections_total = 0;
  int64_t connections_refused = 0;  // over max_connections
  int64_t accept_errors = 0;
  int64_t requests_total = 0;    // given to the handler
  int64_t problems_total = 0;    // answered without it
  int64_t disconnects = 0;       // peers that left while their response was outstanding
  int64_t aborted_requests = 0;  // peers that left before their request was complete
  int64_t bytes_in = 0;
  int64_t bytes_out = 0;
  std::array<int64_t, kCutReasons> cut_off = {};  // by CutReason

  int64_t cut(CutReason reason) const { return cut_off[static_cast<size_t>(reason)]; }
};

}  // namespace dsv4
