#include "server/http_loop.h"

#include "base/error.h"
#include "base/mapped_file.h"
#include "server/http_message.h"

#include <list>
#include <optional>
#include <utility>

#include <fmt/core.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/asio/steady_timer.hpp>

namespace dsv4 {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;
using Socket = tcp::socket;
using TlsStream = asio::ssl::stream<Socket>;

// Pause after the system had no descriptor for a new connection.
constexpr std::chrono::milliseconds kAcceptPause{100};
constexpr size_t kMaxTlsFile = size_t{4} << 20;

std::optional<size_t> moved(error_code error, size_t n) {
  return error ? std::nullopt : std::optional<size_t>(n);
}

// A peer whose machine is gone is noticed after about two minutes without data.
void watch_peer(int fd) {
  const auto set = [fd](int level, int name, int value) {
    ::setsockopt(fd, level, name, &value, sizeof value);  // advice
  };
  set(IPPROTO_TCP, TCP_NODELAY, 1);
  set(SOL_SOCKET, SO_KEEPALIVE, 1);
  set(IPPROTO_TCP, TCP_KEEPIDLE, 60);
  set(IPPROTO_TCP, TCP_KEEPINTVL, 15);
  set(IPPROTO_TCP, TCP_KEEPCNT, 4);
}

// A handler that holds the stream: that may be closed and let go while the handler is under way.
template <typename Stream>
auto holding(std::shared_ptr<Stream> stream, Transport::Done done) {
  return [stream = std::move(stream), done = std::move(done)](error_code error, size_t n) {
    done(moved(error, n));
  };
}

class PlainTransport final : public Transport {
 public:
  explicit PlainTransport(Socket socket) : socket_(std::make_shared<Socket>(std::move(socket))) {}

  void open(Done done) override {
    asio::post(socket_->get_executor(), [done = std::move(done)] { done(0); });
  }
  void read(std::span<char> into, Done done) override {
    socket_->async_read_some(asio::buffer(into.data(), into.size()),
                             holding(socket_, std::move(done)));
  }
  void write(std::string_view bytes, Done done) override {
    socket_->async_write_some(asio::buffer(bytes.data(), bytes.size()),
                              holding(socket_, std::move(done)));
  }
  void end_writing() override {
    error_code ignored;  // the peer may be gone
    socket_->shutdown(Socket::shutdown_send, ignored);
  }
  void close() override {
    error_code ignored;
    socket_->close(ignored);
  }

 private:
  std::shared_ptr<Socket> socket_;
};

class TlsTransport final : public Transport {
 public:
  TlsTransport(Socket socket, asio::ssl::context& context)
      : stream_(std::make_shared<TlsStream>(std::move(socket), context)) {}

  void open(Done done) override {
    stream_->async_handshake(
        asio::ssl::stream_base::server,
        [stream = stream_, done = std::move(done)](error_code error) { done(moved(error, 0)); });
  }
  void read(std::span<char> into, Done done) override {
    stream_->async_read_some(asio::buffer(into.data(), into.size()),
                             holding(stream_, std::move(done)));
  }
  void write(std::string_view bytes, Done done) override {
    stream_->async_write_some(asio::buffer(bytes.data(), bytes.size()),
                              holding(stream_, std::move(done)));
  }
  // Says goodbye in TLS, then in TCP once the peer has answered.
  void end_writing() override {
    stream_->async_shutdown([stream = stream_](error_code) {
      error_code ignored;
      stream->next_layer().shutdown(Socket::shutdown_send, ignored);
    });
  }
  void close() override {
    error_code ignored;
    stream_->next_layer().close(ignored);
  }

 private:
  std::shared_ptr<TlsStream> stream_;
};

// What to do about it, as far as one can tell.
const char* listen_advice(error_code error) {
  if (error == asio::error::address_in_use) {
    return "; another program listens there: stop it or choose another --port";
  }
  if (error == asio::error::access_denied) {
    return "; ports below 1024 need rights: choose another --port";
  }
  if (error == boost::system::errc::address_not_available) {
    return "; this machine has no such address: choose another --host";
  }
  return "";
}

// Its errors say what the system thinks of the file; those of OpenSSL do not.
void check_readable(const std::string& file) { read_file(file, kMaxTlsFile); }

}  // namespace

class TlsContext::Impl {
 public:
  asio::ssl::context context{asio::ssl::context::tls_server};
};

TlsContext::TlsContext(const std::string& certificate_file, const std::string& key_file)
    : impl_(std::make_unique<Impl>()) {
  check_readable(certificate_file);
  check_readable(key_file);
  asio::ssl::context& context = impl_->context;
  context.set_options(asio::ssl::context::default_workarounds | asio::ssl::context::no_tlsv1 |
                      asio::ssl::context::no_tlsv1_1 | SSL_OP_NO_RENEGOTIATION);
  error_code error;
  context.use_certificate_chain_file(certificate_file, error);
  if (error) {
    throw Error(
        ErrorCode::kInvalidInput, certificate_file,
        fmt::format("is not a certificate (or chain of them) in PEM form: {}", error.message()));
  }
  context.use_private_key_file(key_file, asio::ssl::context::pem, error);
  if (error) {
    throw Error(ErrorCode::kInvalidInput, key_file,
                fmt::format("is not the private key, in PEM form and without a password, of the "
                            "certificate in {}: {}",
                            certificate_file, error.message()));
  }
}

TlsContext::~TlsContext() = default;

class IoLoop::Impl {
 public:
  struct Timer {
    asio::steady_timer timer;
    std::chrono::milliseconds period;
    std::function<void()> fn;
  };
  struct Listener {
    Listener(asio::io_context& io) : acceptor(io), pause(io) {}
    tcp::acceptor acceptor;
    asio::steady_timer pause;
    SocketOptions options;
    Accepted accepted;
    std::function<void()> failed;
  };

  void wait(Timer& timer);
  void accept(const std::shared_ptr<Listener>& listener);
  static std::unique_ptr<Transport> transport(Socket socket, const SocketOptions& options);

  asio::io_context io{1};
  std::optional<asio::executor_work_guard<asio::io_context::executor_type>> guard{
      io.get_executor()};
  std::list<Timer> timers;
  bool timers_stopped = false;
  std::list<std::shared_ptr<Listener>> listeners;
};

void IoLoop::Impl::wait(Timer& timer) {
  timer.timer.expires_after(timer.period);
  timer.timer.async_wait([this, &timer](error_code error) {
    if (error || timers_stopped) return;
    timer.fn();
    if (!timers_stopped) wait(timer);
  });
}

void IoLoop::Impl::accept(const std::shared_ptr<Listener>& listener) {
  listener->acceptor.async_accept([this, listener](error_code error, tcp::socket socket) {
    if (!listener->acceptor.is_open()) return;
    if (!error) {
      error_code unknown;
      const tcp::endpoint remote = socket.remote_endpoint(unknown);
      watch_peer(socket.native_handle());
      // A peer that has left already is found out by reading.
      listener->accepted(transport(std::move(socket), listener->options),
                         unknown ? std::string() : remote.address().to_string());
      return accept(listener);
    }
    listener->failed();
    listener->pause.expires_after(kAcceptPause);
    listener->pause.async_wait([this, listener](error_code stopped) {
      if (!stopped && listener->acceptor.is_open()) accept(listener);
    });
  });
}

std::unique_ptr<Transport> IoLoop::Impl::transport(Socket socket, const SocketOptions& options) {
  if (options.send_buffer_bytes > 0) {
    error_code ignored;
    socket.set_option(asio::socket_base::send_buffer_size(options.send_buffer_bytes), ignored);
  }
  if (options.tls == nullptr) return std::make_unique<PlainTransport>(std::move(socket));
  return std::make_unique<TlsTransport>(std::move(socket), options.tls->impl_->context);
}

IoLoop::IoLoop() : impl_(std::make_unique<Impl>()) {}
IoLoop::~IoLoop() = default;

void IoLoop::run() { impl_->io.run(); }

void IoLoop::release() { impl_->guard.reset(); }

void IoLoop::post(std::function<void()> fn) { asio::post(impl_->io, std::move(fn)); }

void IoLoop::every(std::chrono::milliseconds period, std::function<void()> fn) {
  impl_->timers.push_back({asio::steady_timer(impl_->io), period, std::move(fn)});
  impl_->wait(impl_->timers.back());
}

void IoLoop::stop_timers() {
  impl_->timers_stopped = true;
  for (Impl::Timer& timer : impl_->timers) timer.timer.cancel();
}

int IoLoop::listen(const std::string& host, int port, const SocketOptions& options,
                   Accepted accepted, std::function<void()> failed) {
  const std::string where = host_and_port(host, port);
  const auto check = [&](error_code error, const char* action, const char* advice) {
    if (!error) return;
    throw Error(ErrorCode::kIo, where,
                fmt::format("cannot {}: {}{}", action, error.message(), advice));
  };
  error_code error;
  tcp::resolver resolver(impl_->io);
  const auto found = resolver.resolve(
      host, std::to_string(port), tcp::resolver::passive | tcp::resolver::numeric_service, error);
  check(error, "find the address of this host", "; give an address with --host");
  const tcp::endpoint endpoint = *found.begin();

  auto listener = std::make_shared<Impl::Listener>(impl_->io);
  listener->options = options;
  listener->accepted = std::move(accepted);
  listener->failed = std::move(failed);
  tcp::acceptor& acceptor = listener->acceptor;
  acceptor.open(endpoint.protocol(), error);
  check(error, "open a socket", "");
  acceptor.set_option(tcp::acceptor::reuse_address(true), error);
  acceptor.bind(endpoint, error);
  check(error, "listen", listen_advice(error));
  acceptor.listen(tcp::acceptor::max_listen_connections, error);
  check(error, "listen", listen_advice(error));
  impl_->listeners.push_back(listener);
  impl_->accept(listener);
  return acceptor.local_endpoint().port();
}

void IoLoop::stop_listening() {
  for (const auto& listener : impl_->listeners) {
    error_code ignored;
    listener->acceptor.close(ignored);
    listener->pause.cancel();
  }
  impl_->listeners.clear();
}

}  // namespace dsv4
