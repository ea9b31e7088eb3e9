#include "bench/peer.h"

#include "base/error.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstring>
#include <utility>

#include <fmt/core.h>

namespace dsv4 {
namespace {

using Clock = std::chrono::steady_clock;

[[noreturn]] void refuse_address(std::string_view text, const char* form) {
  throw Error(ErrorCode::kInvalidInput, std::string(text), fmt::format("expected {}", form));
}

// HOST:PORT, [HOST]:PORT or one of both; the port is empty where there is no colon before it.
PeerAddress split(std::string_view text, const char* form) {
  const bool has_spaces = std::ranges::any_of(
      text, [](char c) { return static_cast<unsigned char>(c) <= ' ' || c == '\x7f'; });
  if (text.empty() || has_spaces) refuse_address(text, form);
  if (text.starts_with('[')) {
    const size_t end = text.find(']');
    if (end == text.npos) refuse_address(text, form);
    const std::string_view rest = text.substr(end + 1);
    if (!rest.empty() && (rest.front() != ':' || rest.size() == 1)) refuse_address(text, form);
    return {std::string(text.substr(1, end - 1)),
            std::string(rest.substr(std::min<size_t>(1, rest.size())))};
  }
  const size_t colon = text.find(':');
  if (colon == text.npos || text.find(':', colon + 1) != text.npos) return {std::string(text), ""};
  if (colon + 1 == text.size()) refuse_address(text, form);
  return {std::string(text.substr(0, colon)), std::string(text.substr(colon + 1))};
}

void check_port(const PeerAddress& address, int least, std::string_view text, const char* form) {
  constexpr int kMost = 65535;
  const char* const end = address.port.data() + address.port.size();
  int port = -1;
  const auto [stop, error] = std::from_chars(address.port.data(), end, port);
  const bool is_port = error == std::errc() && stop == end && port >= least && port <= kMost;
  if (!is_port || address.host.empty()) refuse_address(text, form);
}

Socket open_socket(const addrinfo& address) {
  return Socket(::socket(address.ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
}

// Whether something of `events` happened before `until`; what went wrong is an event too.
bool happens(int fd, short events, Clock::time_point until) {
  for (;;) {
    const std::chrono::duration<double, std::milli> left = until - Clock::now();
    pollfd entry{.fd = fd, .events = events, .revents = 0};
    const int n = ::poll(&entry, 1, static_cast<int>(std::max(0.0, std::ceil(left.count()))));
    if (n >= 0) return n > 0;
    if (errno != EINTR) return true;  // the call that follows tells what it is
  }
}

Clock::time_point after(double seconds) {
  return Clock::now() +
         std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
}

// errno of the attempt.
int try_connect(const Socket& socket, const addrinfo& address, double wait_s) {
  if (socket.fd() < 0) return errno;
  if (::connect(socket.fd(), address.ai_addr, address.ai_addrlen) == 0) return 0;
  if (errno != EINPROGRESS && errno != EINTR) return errno;
  if (!happens(socket.fd(), POLLOUT, after(wait_s))) return ETIMEDOUT;
  int error = 0;
  socklen_t size = sizeof error;
  return ::getsockopt(socket.fd(), SOL_SOCKET, SO_ERROR, &error, &size) == 0 ? error : errno;
}

PeerAddress numeric(const sockaddr_storage& address, socklen_t size) {
  char host[NI_MAXHOST] = "unknown";
  char port[NI_MAXSERV] = "0";
  ::getnameinfo(reinterpret_cast<const sockaddr*>(&address), size, host, sizeof host, port,
                sizeof port, NI_NUMERICHOST | NI_NUMERICSERV);
  return {host, port};
}

bool is_loopback(const sockaddr_storage& address) {
  if (address.ss_family == AF_INET) {
    const auto& v4 = reinterpret_cast<const sockaddr_in&>(address);
    return ntohl(v4.sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
  }
  const auto& v6 = reinterpret_cast<const sockaddr_in6&>(address);
  return address.ss_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&v6.sin6_addr);
}

}  // namespace

std::string PeerAddress::text() const {
  return host.find(':') == host.npos ? host + ":" + port : "[" + host + "]:" + port;
}

Addresses resolve(const PeerAddress& address) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV;
  addrinfo* found = nullptr;
  const int error = ::getaddrinfo(address.host.c_str(), address.port.c_str(), &hints, &found);
  if (error != 0) throw Error(ErrorCode::kNotFound, address.text(), ::gai_strerror(error));
  return {found, &::freeaddrinfo};
}

PeerAddress parse_peer(std::string_view text, std::string_view default_port) {
  constexpr const char* kForm = "HOST or HOST:PORT";
  PeerAddress address = split(text, kForm);
  if (address.port.empty()) address.port = default_port;
  check_port(address, 1, text, kForm);
  return address;
}

PeerAddress parse_listening(std::string_view text) {
  constexpr const char* kForm = "PORT or ADDRESS:PORT";
  PeerAddress address = split(text, kForm);
  if (address.port.empty()) address = {"127.0.0.1", address.host};
  check_port(address, 0, text, kForm);
  return address;
}

Socket::~Socket() {
  if (fd_ >= 0) ::close(fd_);
}

Peer Peer::connect(const PeerAddress& address, const PeerLimits& limits) {
  const Addresses found = resolve(address);
  int error = 0;
  for (const addrinfo* each = found.get(); each != nullptr; each = each->ai_next) {
    Socket socket = open_socket(*each);
    error = try_connect(socket, *each, limits.idle_s);
    if (error == 0) return {std::move(socket), address.text(), limits};
  }
  throw Error(ErrorCode::kIo, address.text(),
              fmt::format("cannot connect: {}", std::strerror(error)));
}

Peer::Peer(Socket socket, std::string name, const PeerLimits& limits)
    : socket_(std::move(socket)),
      name_(std::move(name)),
      limits_(limits),
      end_(after(limits.total_s)) {
  const int on = 1;  // small messages do not wait for more
  ::setsockopt(socket_.fd(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

// Before every call, so that a peer that is always ready cannot go on for ever either.
void Peer::wait(short events) const {
  const Clock::time_point until = std::min(after(limits_.idle_s), end_);
  if (Clock::now() < end_ && happens(socket_.fd(), events, until)) return;
  throw Error(ErrorCode::kIo, name_,
              until == end_ ? fmt::format("not done after {:g} s", limits_.total_s)
                            : fmt::format("no answer for {:g} s", limits_.idle_s));
}

void Peer::send(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    wait(POLLOUT);
    const ssize_t n = ::send(socket_.fd(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n >= 0) {
      bytes = bytes.subspan(static_cast<size_t>(n));
    } else if (errno != EAGAIN && errno != EINTR) {
      throw Error(ErrorCode::kIo, name_, fmt::format("cannot send: {}", std::strerror(errno)));
    }
  }
}

void Peer::receive(std::span<std::byte> bytes) {
  while (!bytes.empty()) {
    wait(POLLIN);
    const ssize_t n = ::recv(socket_.fd(), bytes.data(), bytes.size(), 0);
    if (n > 0) {
      bytes = bytes.subspan(static_cast<size_t>(n));
    } else if (n == 0) {
      throw Error(ErrorCode::kIo, name_, "has closed the connection");
    } else if (errno != EAGAIN && errno != EINTR) {
      throw Error(ErrorCode::kIo, name_, fmt::format("cannot receive: {}", std::strerror(errno)));
    }
  }
}

PeerListener::PeerListener(const PeerAddress& address) : address_(address), socket_(-1) {
  const Addresses found = resolve(address);
  Socket socket = open_socket(*found);
  const int on = 1;
  sockaddr_storage bound{};
  socklen_t size = sizeof bound;
  const bool listens = socket.fd() >= 0 &&
                       ::setsockopt(socket.fd(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 &&
                       ::bind(socket.fd(), found->ai_addr, found->ai_addrlen) == 0 &&
                       ::listen(socket.fd(), 1) == 0 &&
                       ::getsockname(socket.fd(), reinterpret_cast<sockaddr*>(&bound), &size) == 0;
  if (!listens) {
    throw Error(ErrorCode::kIo, address.text(),
                fmt::format("cannot listen: {}", std::strerror(errno)));
  }
  is_loopback_ = dsv4::is_loopback(bound);
  address_.port = numeric(bound, size).port;
  socket_ = std::move(socket);
}

Peer PeerListener::accept(const PeerLimits& limits) const {
  for (;;) {
    sockaddr_storage from{};
    socklen_t size = sizeof from;
    Socket socket(::accept4(socket_.fd(), reinterpret_cast<sockaddr*>(&from), &size,
                            SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (socket.fd() >= 0) return {std::move(socket), numeric(from, size).text(), limits};
    if (errno == EAGAIN) {
      pollfd entry{.fd = socket_.fd(), .events = POLLIN, .revents = 0};
      ::poll(&entry, 1, /*timeout=*/-1);
    } else if (errno != EINTR && errno != ECONNABORTED) {
      throw Error(ErrorCode::kIo, address_.text(),
                  fmt::format("cannot accept: {}", std::strerror(errno)));
    }
  }
}

}  // namespace dsv4
