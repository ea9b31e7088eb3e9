// HTTP/1.1 server: one I/O thread for all connections, limits on everything a peer can do, TLS,
// draining. No knowledge of any API.
#pragma once

#include "server/http_message.h"
#include "server/http_options.h"
#include "server/http_responder.h"

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

namespace dsv4 {

// Called on the I/O thread with each complete request, so it must be quick: long work belongs to
// another thread. An exception of it is answered with 500.
using HttpHandler = std::function<void(HttpRequest, std::shared_ptr<Responder>)>;

// Listens from the constructor on. Functions may be called from any thread but drain() and the
// destructor, which wait for the I/O thread and so must not run on it.
class HttpServer {
 public:
  // Throws Error: kIo when it cannot listen, kNotFound, kIo or kInvalidInput for the files of TLS.
  HttpServer(HttpOptions options, HttpHandler handler);
  ~HttpServer();  // drain(0)
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  // Where it listens: the port chosen for port 0; "http://127.0.0.1:8000".
  int port() const;
  std::string url() const;

  // Once: stops listening, closes idle connections, lets running requests end, cuts off what is
  // left when the time is over, and stops the thread. Returns true if nothing had to be cut off.
  bool drain(std::chrono::milliseconds time);

  // Runs `fn` on the I/O thread every `period` until the server stops.
  void run_every(std::chrono::milliseconds period, std::function<void()> fn);
  // Runs `fn` on the I/O thread, or not at all if the server has stopped.
  void post(std::function<void()> fn);

  HttpCounters counters() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

// Lets this process open at least `wanted` files and sockets, if its hard limit allows. Returns the
// limit that holds.
int64_t raise_descriptor_limit(int64_t wanted);

}  // namespace dsv4
