// A server for tests, in this process: what it answers is written by the test.
#pragma once

#include "base/check.h"

#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <functional>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace dsv4 {

// Answers the first request of each connection with the bytes that `answer` gives for its first
// line and body, then closes it. Connections are taken one after the other.
class AnsweringServer {
 public:
  using Answer = std::function<std::string(std::string_view line, std::string_view body)>;

  explicit AnsweringServer(Answer answer) : answer_(std::move(answer)) {
    listener_ = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK(::bind(listener_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
    CHECK(::listen(listener_, 128) == 0);
    socklen_t size = sizeof address;
    CHECK(::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size) == 0);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] { serve(); });
  }
  ~AnsweringServer() {
    ::shutdown(listener_, SHUT_RDWR);  // accept returns
    thread_.join();
    ::close(listener_);
  }
  AnsweringServer(const AnsweringServer&) = delete;
  AnsweringServer& operator=(const AnsweringServer&) = delete;

  std::string url() const { return "http://127.0.0.1:" + std::to_string(port_); }
  std::vector<std::string> bodies() const {
    const std::lock_guard lock(mutex_);
    return bodies_;
  }

 private:
  void serve() {
    for (;;) {
      const int fd = ::accept(listener_, nullptr, nullptr);
      if (fd < 0) return;
      handle(fd);
      ::close(fd);
    }
  }

  void handle(int fd) {
    std::string request;
    size_t head = 0, length = 0;
    while (head == 0 || request.size() < head + length) {
      char part[4096];
      const ssize_t n = ::recv(fd, part, sizeof part, 0);
      if (n <= 0) return;
      request.append(part, static_cast<size_t>(n));
      const size_t end = request.find("\r\n\r\n");
      if (end == request.npos) continue;
      head = end + 4;
      const size_t at = request.find("Content-Length: ");
      if (at < head) length = static_cast<size_t>(std::atoll(request.c_str() + at + 16));
    }
    const std::string body = request.substr(head);
    const std::string bytes = answer_(request.substr(0, request.find('\r')), body);
    {
      const std::lock_guard lock(mutex_);
      bodies_.push_back(body);
    }
    size_t sent = 0;
    while (sent < bytes.size()) {
      const ssize_t n = ::send(fd, bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
      if (n <= 0) return;
      sent += static_cast<size_t>(n);
    }
    ::shutdown(fd, SHUT_WR);
  }

  Answer answer_;
  int listener_ = -1;
  uint16_t port_ = 0;
  mutable std::mutex mutex_;
  std::vector<std::string> bodies_;
  std::thread thread_;
};

}  // namespace dsv4
