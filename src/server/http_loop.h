// The event loop of the I/O thread, listening sockets, and transports over sockets, plain or TLS.
#pragma once

#include "server/http_transport.h"

#include <chrono>
#include <functional>
#include <memory>
#include <string>

namespace dsv4 {

// Certificate and key of a server. Immutable.
class TlsContext {
 public:
  // PEM files. Throws Error with the file's name: kNotFound, kIo, or kInvalidInput when it is not
  // what it should be or the key does not belong to the certificate.
  TlsContext(const std::string& certificate_file, const std::string& key_file);
  ~TlsContext();

 private:
  friend class IoLoop;
  class Impl;
  std::unique_ptr<Impl> impl_;
};

struct SocketOptions {
  std::shared_ptr<TlsContext> tls;  // nullptr: plain
  int send_buffer_bytes = 0;        // 0: as the system does
};

// run() belongs to one thread, all other functions but post() to the same, or to others before it
// runs.
class IoLoop {
 public:
  IoLoop();
  ~IoLoop();
  IoLoop(const IoLoop&) = delete;
  IoLoop& operator=(const IoLoop&) = delete;

  // Serves until release() was called, no timer and no listener is left and nothing is outstanding.
  void run();
  void release();
  // From any thread. Functions run in the order of the calls.
  void post(std::function<void()> fn);

  // Calls `fn` again and again until stop_timers().
  void every(std::chrono::milliseconds period, std::function<void()> fn);
  void stop_timers();

  using Accepted = std::function<void(std::unique_ptr<Transport>, std::string remote)>;
  // Calls `accepted` for each connection until stop_listening(), `failed` when the system refuses
  // to give one (no descriptors). Returns the port. Throws Error(kIo, "host:port").
  int listen(const std::string& host, int port, const SocketOptions& options, Accepted accepted,
             std::function<void()> failed);
  void stop_listening();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace dsv4
