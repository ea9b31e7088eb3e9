// The answer to one request on its way between the threads that give it (through a Responder) and
// the connection that sends it (on the I/O thread).
#pragma once

#include "server/http_responder.h"

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

namespace dsv4 {

// All functions may be called from any thread; those for the connection are called on the I/O
// thread. The lock is never held while a callback runs.
class Exchange {
 public:
  // What the framing of the response follows from.
  struct Setup {
    std::string request_id;
    bool is_head = false;   // HEAD: no body is sent
    int minor_version = 1;  // of the request
    bool keep_alive = true;
    size_t queue_limit_bytes = 0;
    HttpHeaders added_headers = {};       // CORS
    std::function<bool()> draining = {};  // no more requests are wanted on this connection
    // Makes pump_ run on the I/O thread.
    std::function<void(std::function<void()>)> post = {};
    std::function<void()> pump = {};  // of the connection; does nothing once that is gone
  };

  explicit Exchange(Setup setup) : setup_(std::move(setup)) {}

  // For the Responder, which documents them.
  void respond(int status, HttpHeaders headers, std::string_view body);
  void start_stream(int status, HttpHeaders headers, StreamFiller filler);
  void write(std::string_view bytes);
  void finish();
  void abandon();  // the Responder is destroyed
  void on_done(std::function<void(const ResponseEnd&)> fn);
  void post(std::function<void()> fn);
  bool gone() const;

  // For the connection.
  const std::string& request_id() const { return setup_.request_id; }
  // What has been written since the last call.
  struct Output {
    std::string bytes;
    bool ended = false;       // nothing will follow
    bool close = false;       // the connection ends with this response
    bool overflowed = false;  // more is waiting than the limit allows
    bool unanswered = false;  // given up before a response was begun
    bool broken = false;      // given up in the middle of a stream
  };
  Output take();
  void sent(size_t n_bytes);  // `n_bytes` of the output have been taken by the system
  bool answered() const;      // the response has been written to its end
  // The filler of a stream that is running, or nullptr.
  const StreamFiller* filler() const;
  std::string filler_chunk();
  // The connection has sent everything, or has ended before. The callbacks run and are forgotten.
  void complete();
  void disconnect();

 private:
  enum class Stage { kWaiting, kStreaming, kEnded };

  void end(bool client_gone);
  void begin(int status, const HttpHeaders& headers, std::optional<uint64_t> length);
  void append_body(std::string_view bytes);
  void schedule_pump();

  const Setup setup_;
  mutable std::mutex mutex_;
  Stage stage_ = Stage::kWaiting;
  std::string outbox_;
  size_t unsent_bytes_ = 0;
  bool pump_posted_ = false;
  bool close_ = false;
  bool chunked_ = false;
  bool body_sent_ = true;  // false where the response must not have one
  bool overflowed_ = false;
  bool unanswered_ = false;
  bool broken_ = false;
  bool over_ = false;  // complete() or disconnect() was called
  bool gone_ = false;
  StreamFiller filler_;
  ResponseEnd result_;
  std::vector<std::function<void(const ResponseEnd&)>> on_done_;
};

}  // namespace dsv4
