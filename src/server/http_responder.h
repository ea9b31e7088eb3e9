// The answer to one request, given from any thread.
#pragma once

#include "server/http_message.h"

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace dsv4 {

class Exchange;

// What became of a response.
struct ResponseEnd {
  int status = 0;            // 0: none was begun
  int64_t body_bytes = 0;    // given by the handler
  bool client_gone = false;  // before all of it was taken by the system
};

// Sent on a stream while nothing else is, so that proxies and peers know that it lives.
struct StreamFiller {
  std::string bytes = {};  // a whole frame of the stream's format; empty: none
  std::chrono::milliseconds after{15'000};
};

// Either respond(), or start_stream(), any number of write() and finish(). All functions may be
// called from any thread and never wait; calls of one thread stay in order. What comes after the
// end of the response, or after the peer has gone, is dropped. A Responder that is destroyed before
// the end answers 500 or, in a stream, cuts the connection off.
class Responder {
 public:
  explicit Responder(std::shared_ptr<Exchange> exchange) : exchange_(std::move(exchange)) {}
  ~Responder();
  Responder(const Responder&) = delete;
  Responder& operator=(const Responder&) = delete;

  void respond(int status, HttpHeaders headers, std::string body);
  void respond(HttpReply reply);

  // The body is sent in chunks as it comes, with Connection: close to HTTP/1.0 peers. Between
  // writes the filler may be sent: a write must not end inside a frame.
  void start_stream(int status, HttpHeaders headers, StreamFiller filler = {});
  void write(std::string_view bytes);
  void finish();

  // Calls `fn` once when nothing more will be done for this response, for any reason: on the I/O
  // thread, or at once on this one if that is so already. It must not throw. Of several functions
  // the one that was added last is called first.
  void on_done(std::function<void(const ResponseEnd&)> fn);

  // Runs `fn` on the I/O thread; not at all if the connection has ended before.
  void post(std::function<void()> fn);

  // Whether the peer has left, or was cut off, before the response had ended.
  bool gone() const;

 private:
  std::shared_ptr<Exchange> exchange_;
};

}  // namespace dsv4
