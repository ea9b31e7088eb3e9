// For tests: clients over blocking sockets, plain and TLS, and what the process has open.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include <sys/resource.h>
#include <sys/socket.h>

namespace dsv4 {

// Reads give up after five minutes. Used by one thread.
class TestClient {
 public:
  // With a size, little is taken before it is read.
  explicit TestClient(int port, int family = AF_INET, int receive_buffer_bytes = 0);
  ~TestClient() { close(false); }
  TestClient(const TestClient&) = delete;
  TestClient& operator=(const TestClient&) = delete;

  int fd() const { return fd_; }
  // A server that has closed the connection is no error.
  void send(std::string_view bytes);
  // What comes up to and with `end`.
  std::string read_until(std::string_view end);
  std::string read_all();
  void read_some(size_t n);
  // With a reset the system tells the server at once, and drops what was not sent.
  void close(bool reset);

 private:
  int fd_ = -1;
};

bool can_connect(int port);

// The body of a response that came in chunks.
std::string unchunked(std::string_view response);

// Of this process.
uint64_t open_descriptors();

// The process can have this many descriptors open.
class DescriptorLimit {
 public:
  explicit DescriptorLimit(uint64_t n);
  ~DescriptorLimit() { ::setrlimit(RLIMIT_NOFILE, &old_); }

 private:
  rlimit old_{};
};

// A self-signed certificate for localhost and its key, in files.
class TestCertificate {
 public:
  TestCertificate();
  ~TestCertificate();
  const std::string& certificate() const { return certificate_; }
  const std::string& key() const { return key_; }

 private:
  std::string certificate_;
  std::string key_;
};

class TestTlsClient {
 public:
  TestTlsClient(int port, const std::string& trusted_certificate);
  ~TestTlsClient();
  void send(std::string_view bytes);
  std::string read_until(std::string_view end);
  // Whether the server ends the stream as TLS wants it.
  bool read_goodbye();
  void close();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace dsv4
