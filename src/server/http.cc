#include "server/http.h"

#include "base/error.h"
#include "server/http_connection.h"
#include "server/http_loop.h"

#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <future>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include <fmt/core.h>

namespace dsv4 {
namespace {

// Connections over the limit that are being told so; more than these are closed without a word.
constexpr size_t kMaxRefusals = 64;

}  // namespace

// The members without a comment belong to the I/O thread once it runs.
class HttpServer::Impl {
 public:
  Impl(HttpOptions options, HttpHandler handler);
  ~Impl() { drain(std::chrono::milliseconds(0)); }

  bool drain(std::chrono::milliseconds time);
  void add(std::unique_ptr<Transport> transport, std::string remote);

  const std::shared_ptr<IoLoop> loop_ = std::make_shared<IoLoop>();
  const std::shared_ptr<HttpShared> shared_;  // any thread
  SocketOptions sockets_;
  int port_ = 0;                       // constant
  std::atomic<bool> stopped_ = false;  // any thread

 private:
  std::vector<std::shared_ptr<Connection>> all() const;
  void tick();
  void begin_drain();
  void stop_if_empty();

  std::unordered_map<Connection*, std::shared_ptr<Connection>> connections_;
  std::promise<void> ended_;
  std::thread thread_;
};

HttpServer::Impl::Impl(HttpOptions options, HttpHandler handler)
    : shared_(std::make_shared<HttpShared>(std::move(options), std::move(handler))) {
  const HttpOptions& set = shared_->options;
  if (set.tls_certificate.empty() != set.tls_key.empty()) {
    throw Error(ErrorCode::kInvalidInput, "TLS", "needs both a certificate and a key, or neither");
  }
  if (!set.tls_certificate.empty()) {
    sockets_.tls = std::make_shared<TlsContext>(set.tls_certificate, set.tls_key);
  }
  sockets_.send_buffer_bytes = set.send_buffer_bytes;
  shared_->post = [loop = loop_](std::function<void()> fn) { loop->post(std::move(fn)); };
  shared_->closed = [this](Connection& connection) {
    connections_.erase(&connection);
    stop_if_empty();
  };
  port_ = loop_->listen(
      set.host, set.port, sockets_,
      [this](std::unique_ptr<Transport> transport, std::string remote) {
        add(std::move(transport), std::move(remote));
      },
      [this] { ++shared_->tally.accept_errors; });
  loop_->every(set.tick, [this] { tick(); });
  thread_ = std::thread([this] {
    loop_->run();
    ended_.set_value();
  });
}

void HttpServer::Impl::add(std::unique_ptr<Transport> transport, std::string remote) {
  if (shared_->draining.load()) return;
  const HttpOptions& options = shared_->options;
  const bool is_full = static_cast<int64_t>(connections_.size()) >= options.limits.max_connections;
  // A peer cannot be told without a handshake, which is what costs most.
  const bool is_told =
      connections_.size() < static_cast<size_t>(options.limits.max_connections) + kMaxRefusals &&
      sockets_.tls == nullptr;
  if (is_full && !is_told) {
    ++shared_->tally.connections_refused;
    return;
  }
  const auto connection =
      std::make_shared<Connection>(std::move(transport), shared_, std::move(remote));
  connections_.emplace(connection.get(), connection);
  if (is_full) {
    connection->refuse();
  } else {
    connection->start();
  }
}

// A copy: what is done to a connection may end it.
std::vector<std::shared_ptr<Connection>> HttpServer::Impl::all() const {
  std::vector<std::shared_ptr<Connection>> list;
  list.reserve(connections_.size());
  for (const auto& [key, connection] : connections_) list.push_back(connection);
  return list;
}

void HttpServer::Impl::tick() {
  const HttpClock::time_point now = shared_->now();
  for (const auto& connection : all()) connection->tick(now);
}

void HttpServer::Impl::begin_drain() {
  shared_->draining.store(true);
  loop_->stop_listening();
  for (const auto& connection : all()) connection->drain();
  stop_if_empty();
}

void HttpServer::Impl::stop_if_empty() {
  if (!shared_->draining.load() || !connections_.empty() || stopped_.exchange(true)) return;
  loop_->stop_timers();
  loop_->release();
}

bool HttpServer::Impl::drain(std::chrono::milliseconds time) {
  if (!thread_.joinable()) return true;
  const std::future<void> ended = ended_.get_future();
  loop_->post([this] { begin_drain(); });
  const bool in_time = ended.wait_for(time) == std::future_status::ready;
  if (!in_time) {
    loop_->post([this] {
      for (const auto& connection : all()) connection->cut_off(CutReason::kDrain);
    });
  }
  thread_.join();
  return in_time;
}

HttpServer::HttpServer(HttpOptions options, HttpHandler handler)
    : impl_(std::make_unique<Impl>(std::move(options), std::move(handler))) {}

HttpServer::~HttpServer() = default;

int HttpServer::port() const { return impl_->port_; }

std::string HttpServer::url() const {
  const HttpOptions& options = impl_->shared_->options;
  return fmt::format("{}://{}", options.tls_certificate.empty() ? "http" : "https",
                     host_and_port(options.host, impl_->port_));
}

bool HttpServer::drain(std::chrono::milliseconds time) { return impl_->drain(time); }

void HttpServer::run_every(std::chrono::milliseconds period, std::function<void()> fn) {
  post([impl = impl_.get(), period, fn = std::move(fn)]() mutable {
    if (!impl->shared_->draining.load()) impl->loop_->every(period, std::move(fn));
  });
}

void HttpServer::post(std::function<void()> fn) {
  if (!impl_->stopped_.load()) impl_->loop_->post(std::move(fn));
}

HttpCounters HttpServer::counters() const { return impl_->shared_->tally.snapshot(); }

int64_t raise_descriptor_limit(int64_t wanted) {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return 0;
  const auto target = std::min<rlim_t>(static_cast<rlim_t>(wanted), limit.rlim_max);
  if (limit.rlim_cur < target) {
    limit.rlim_cur = target;
    ::setrlimit(RLIMIT_NOFILE, &limit);  // if not, the old limit holds
    ::getrlimit(RLIMIT_NOFILE, &limit);
  }
  return static_cast<int64_t>(std::min<rlim_t>(limit.rlim_cur, INT64_MAX));
}

}  // namespace dsv4
