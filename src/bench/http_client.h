// Many HTTP exchanges at once from one thread. Every exchange has a connection of its own, which is
// closed after it, so that one cannot disturb another.
#pragma once

#include "bench/http_response.h"

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace dsv4 {

struct HttpCall {
  std::string method = "POST";
  std::string path;  // after the address' prefix
  std::vector<std::pair<std::string, std::string>> headers = {};
  std::string body = {};
};

// How an exchange ended.
struct HttpEnd {
  enum class Kind {
    kComplete,   // a whole response, of any status
    kConnect,    // no connection
    kClosed,     // closed or reset within it
    kMalformed,  // not HTTP
    kTimeout,    // nothing came for too long
    kCancelled,  // by cancel_all()
  };
  Kind kind = Kind::kComplete;
  int status = 0;
  std::string message = {};
};

// Used by one thread.
class HttpClient {
 public:
  using Clock = std::chrono::steady_clock;
  // A part of the body has come; `response` has the status and headers.
  using OnBody = std::function<void(const HttpResponse& response, std::string_view bytes)>;
  using OnEnd = std::function<void(const HttpEnd& end)>;

  // `idle_s`: most seconds without a byte. Throws Error(kNotFound) for a host without an address.
  HttpClient(HttpAddress address, double idle_s);
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  // Begins an exchange. The functions are called by run_once(), on_end last and once; they may
  // begin others.
  void start(const HttpCall& call, OnBody on_body, OnEnd on_end);

  // Waits until something happens, at most until `until`, and does what there is to do.
  void run_once(Clock::time_point until);

  // Ends all exchanges as kCancelled.
  void cancel_all();

  size_t n_open() const { return exchanges_.size(); }

 private:
  struct Exchange;

  std::string request_bytes(const HttpCall& call) const;
  void open(Exchange& exchange);
  void progress(Exchange& exchange, uint32_t events);
  void write(Exchange& exchange);
  void read(Exchange& exchange);
  void finish(uint64_t id, HttpEnd::Kind kind, const std::string& message);
  void end_idle();
  void watch(const Exchange& exchange, bool writing, int operation) const;

  HttpAddress address_;
  Addresses found_;  // of it; the first one is used
  std::chrono::duration<double> idle_;
  int epoll_fd_ = -1;
  uint64_t next_id_ = 1;
  std::unordered_map<uint64_t, std::unique_ptr<Exchange>> exchanges_;
  std::vector<std::pair<uint64_t, std::string>> unopened_;  // failed before run_once could tell
  std::string buffer_;
};

// One exchange, from beginning to end; the body in `body`.
HttpEnd http_fetch(const HttpAddress& address, const HttpCall& call, double idle_s,
                   std::string& body);

}  // namespace dsv4
