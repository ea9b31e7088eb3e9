#include "bench/http_client.h"

#include "base/check.h"
#include "base/error.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>
#include <cstring>

#include <fmt/core.h>

namespace dsv4 {

struct HttpClient::Exchange {
  uint64_t id = 0;
  int fd = -1;
  bool connected = false;
  std::string request;
  size_t n_written = 0;
  HttpResponse response;
  Clock::time_point last_byte;
  OnBody on_body;
  OnEnd on_end;

  ~Exchange() {
    if (fd >= 0) ::close(fd);
  }
};

HttpClient::HttpClient(HttpAddress address, double idle_s)
    : address_(std::move(address)),
      found_(resolve(address_)),
      idle_(idle_s),
      buffer_(size_t{64} << 10, '\0') {
  epoll_fd_ = ::epoll_create1(EPOLL_CLOEXEC);
  if (epoll_fd_ < 0) throw Error(ErrorCode::kIo, "epoll", std::strerror(errno));
}

HttpClient::~HttpClient() { ::close(epoll_fd_); }

std::string HttpClient::request_bytes(const HttpCall& call) const {
  std::string bytes = fmt::format("{} {}{} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n",
                                  call.method, address_.prefix, call.path, address_.text());
  for (const auto& [name, value] : call.headers) bytes += name + ": " + value + "\r\n";
  if (!call.body.empty() || call.method != "GET") {
    bytes += fmt::format("Content-Length: {}\r\n", call.body.size());
  }
  return bytes + "\r\n" + call.body;
}

void HttpClient::start(const HttpCall& call, OnBody on_body, OnEnd on_end) {
  auto exchange = std::make_unique<Exchange>();
  exchange->id = next_id_++;
  exchange->request = request_bytes(call);
  exchange->last_byte = Clock::now();
  exchange->on_body = std::move(on_body);
  exchange->on_end = std::move(on_end);
  Exchange& started = *exchange;
  exchanges_.emplace(started.id, std::move(exchange));
  open(started);
}

void HttpClient::open(Exchange& exchange) {
  exchange.fd = ::socket(found_->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (exchange.fd < 0) {
    unopened_.emplace_back(exchange.id, std::strerror(errno));
    return;
  }
  const int on = 1;
  ::setsockopt(exchange.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  if (::connect(exchange.fd, found_->ai_addr, found_->ai_addrlen) != 0 && errno != EINPROGRESS) {
    unopened_.emplace_back(exchange.id, std::strerror(errno));
    return;
  }
  watch(exchange, /*writing=*/true, EPOLL_CTL_ADD);
}

void HttpClient::watch(const Exchange& exchange, bool writing, int operation) const {
  epoll_event event{};
  event.events = EPOLLIN | (writing ? EPOLLOUT : 0u);
  event.data.u64 = exchange.id;
  CHECK(::epoll_ctl(epoll_fd_, operation, exchange.fd, &event) == 0, errno);
}

void HttpClient::run_once(Clock::time_point until) {
  const auto unopened = std::move(unopened_);
  unopened_.clear();
  for (const auto& [id, message] : unopened) finish(id, HttpEnd::Kind::kConnect, message);
  if (!unopened.empty()) return;
  const std::chrono::duration<double, std::milli> wait = until - Clock::now();
  // Rounded up, so that nobody asks again and again within a millisecond; at most so long that
  // idle exchanges and Ctrl-C are noticed.
  const int wait_ms = static_cast<int>(std::clamp(std::ceil(wait.count()), 0.0, 100.0));
  std::array<epoll_event, 256> events{};
  const int n = ::epoll_wait(epoll_fd_, events.data(), static_cast<int>(events.size()), wait_ms);
  for (int i = 0; i < n; ++i) {
    const auto found = exchanges_.find(events[static_cast<size_t>(i)].data.u64);
    if (found != exchanges_.end()) {
      progress(*found->second, events[static_cast<size_t>(i)].events);
    }
  }
  end_idle();
}

void HttpClient::progress(Exchange& exchange, uint32_t events) {
  if (!exchange.connected) {
    int error = 0;
    socklen_t size = sizeof error;
    ::getsockopt(exchange.fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error != 0) return finish(exchange.id, HttpEnd::Kind::kConnect, std::strerror(error));
    exchange.connected = true;
  }
  const uint64_t id = exchange.id;
  if (events & EPOLLOUT) write(exchange);
  // An answer may come before all of the request is written, and then the connection ends.
  if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) && exchanges_.contains(id)) read(exchange);
}

void HttpClient::write(Exchange& exchange) {
  while (exchange.n_written < exchange.request.size()) {
    const ssize_t n = ::send(exchange.fd, exchange.request.data() + exchange.n_written,
                             exchange.request.size() - exchange.n_written, MSG_NOSIGNAL);
    if (n < 0) {
      if (errno == EAGAIN || errno == EINTR) return;
      break;  // what the peer said before it left is read
    }
    exchange.n_written += static_cast<size_t>(n);
    exchange.last_byte = Clock::now();
  }
  watch(exchange, /*writing=*/false, EPOLL_CTL_MOD);
}

void HttpClient::read(Exchange& exchange) {
  std::string body;
  bool closed = false;
  std::string problem;
  HttpEnd::Kind kind = HttpEnd::Kind::kClosed;
  const ssize_t n = ::recv(exchange.fd, buffer_.data(), buffer_.size(), 0);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (n < 0) problem = std::strerror(errno);
  closed = n <= 0;
  exchange.last_byte = Clock::now();
  try {
    if (n > 0) exchange.response.take({buffer_.data(), static_cast<size_t>(n)}, body);
  } catch (const Error& error) {
    problem = error.what();
    kind = HttpEnd::Kind::kMalformed;
    closed = true;
  }
  if (!body.empty()) exchange.on_body(exchange.response, body);
  if (exchange.response.complete()) return finish(exchange.id, HttpEnd::Kind::kComplete, "");
  if (!closed) return;
  try {
    if (problem.empty()) exchange.response.close();
    if (problem.empty()) kind = HttpEnd::Kind::kComplete;
  } catch (const Error& error) {
    problem = error.what();
  }
  finish(exchange.id, kind, problem);
}

void HttpClient::finish(uint64_t id, HttpEnd::Kind kind, const std::string& message) {
  const auto node = exchanges_.extract(id);
  if (node.empty()) return;
  const Exchange& exchange = *node.mapped();
  exchange.on_end({kind, exchange.response.status(), message});
}

void HttpClient::end_idle() {
  const Clock::time_point now = Clock::now();
  std::vector<uint64_t> idle;
  for (const auto& [id, exchange] : exchanges_) {
    if (now - exchange->last_byte > idle_) idle.push_back(id);
  }
  for (const uint64_t id : idle) {
    const bool connected = exchanges_.contains(id) && exchanges_.at(id)->connected;
    finish(id, connected ? HttpEnd::Kind::kTimeout : HttpEnd::Kind::kConnect,
           fmt::format("no byte for {:g} s", idle_.count()));
  }
}

void HttpClient::cancel_all() {
  std::vector<uint64_t> all;
  for (const auto& [id, exchange] : exchanges_) all.push_back(id);
  for (const uint64_t id : all) finish(id, HttpEnd::Kind::kCancelled, "cancelled");
}

HttpEnd http_fetch(const HttpAddress& address, const HttpCall& call, double idle_s,
                   std::string& body) {
  HttpClient client(address, idle_s);
  HttpEnd result;
  client.start(
      call, [&](const HttpResponse&, std::string_view bytes) { body += bytes; },
      [&](const HttpEnd& end) { result = end; });
  while (client.n_open() > 0) client.run_once(HttpClient::Clock::now() + std::chrono::seconds(1));
  return result;
}

}  // namespace dsv4
