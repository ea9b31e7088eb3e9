// A TCP connection to a program on another machine that is not trusted: nothing waits for it longer
// than stated. All functions throw Error(kIo) for what the system or the peer refuses, kNotFound
// for a host without an address; `where` is host and port.
#pragma once

#include <netdb.h>

#include <chrono>
#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace dsv4 {

struct PeerAddress {
  std::string host;  // a name or a numeric address, without brackets
  std::string port;  // a number

  std::string text() const;
  bool operator==(const PeerAddress&) const = default;
};

// What the system knows the address as: at least one. Throws Error(kNotFound).
using Addresses = std::unique_ptr<addrinfo, void (*)(addrinfo*)>;
Addresses resolve(const PeerAddress& address);

// HOST[:PORT] of a program to connect to; an IPv6 address with a port needs brackets. Throws
// Error(kInvalidInput), as the next does.
PeerAddress parse_peer(std::string_view text, std::string_view default_port);
// [ADDRESS:]PORT to listen at; without an address the loopback, and port 0 takes a free one.
PeerAddress parse_listening(std::string_view text);

struct PeerLimits {
  double idle_s = 5;    // without a byte, or until there is a connection
  double total_s = 60;  // of the whole connection
};

// An open socket, closed at the end.
class Socket {
 public:
  explicit Socket(int fd) : fd_(fd) {}
  ~Socket();
  Socket(Socket&& other) noexcept : fd_(other.fd_) { other.fd_ = -1; }
  Socket& operator=(Socket&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  int fd() const { return fd_; }

 private:
  int fd_;
};

// Used by one thread.
class Peer {
 public:
  static Peer connect(const PeerAddress& address, const PeerLimits& limits);
  // Takes a connected socket that does not block.
  Peer(Socket socket, std::string name, const PeerLimits& limits);

  void send(std::span<const std::byte> bytes);
  // Fills all of it.
  void receive(std::span<std::byte> bytes);

  const std::string& name() const { return name_; }

 private:
  using Clock = std::chrono::steady_clock;

  void wait(short events) const;

  Socket socket_;
  std::string name_;
  PeerLimits limits_;
  Clock::time_point end_;
};

// Listens from its construction on.
class PeerListener {
 public:
  explicit PeerListener(const PeerAddress& address);

  // With the port that was taken.
  const PeerAddress& address() const { return address_; }
  // No other machine can reach it.
  bool is_loopback() const { return is_loopback_; }
  // Waits for a peer, for ever.
  Peer accept(const PeerLimits& limits) const;

 private:
  PeerAddress address_;
  Socket socket_;
  bool is_loopback_ = false;
};

}  // namespace dsv4
