#include "server/http_socket_testing.h"

#include "base/check.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <filesystem>

#include <arpa/inet.h>
#include <fmt/core.h>
#include <netinet/in.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <sys/time.h>
#include <unistd.h>

namespace dsv4 {
namespace {

int connect_to(int port, int family, int receive_buffer_bytes = 0) {
  sockaddr_storage address{};
  socklen_t length = 0;
  if (family == AF_INET6) {
    auto& v6 = reinterpret_cast<sockaddr_in6&>(address);
    v6.sin6_family = AF_INET6;
    v6.sin6_addr = in6addr_loopback;
    v6.sin6_port = htons(static_cast<uint16_t>(port));
    length = sizeof v6;
  } else {
    auto& v4 = reinterpret_cast<sockaddr_in&>(address);
    v4.sin_family = AF_INET;
    v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    v4.sin_port = htons(static_cast<uint16_t>(port));
    length = sizeof v4;
  }
  const int fd = ::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  CHECK(fd >= 0, errno);
  if (receive_buffer_bytes > 0) {
    ::setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_buffer_bytes, sizeof receive_buffer_bytes);
  }
  if (::connect(fd, reinterpret_cast<sockaddr*>(&address), length) != 0) {
    ::close(fd);
    return -1;
  }
  const timeval timeout{300, 0};
  ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
  ::setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout);
  return fd;
}

}  // namespace

TestClient::TestClient(int port, int family, int receive_buffer_bytes)
    : fd_(connect_to(port, family, receive_buffer_bytes)) {
  CHECK(fd_ >= 0, errno);
}

void TestClient::send(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n <= 0) return;
    bytes.remove_prefix(static_cast<size_t>(n));
  }
}

std::string TestClient::read_until(std::string_view end) {
  std::string all;
  char c = 0;
  while (!std::string_view(all).ends_with(end)) {
    const ssize_t n = ::recv(fd_, &c, 1, 0);
    if (n <= 0) {
      ADD_FAILURE() << "the connection ended after: " << all;
      return all;
    }
    all += c;
  }
  return all;
}

std::string TestClient::read_all() {
  std::string all;
  char buffer[65536];
  ssize_t n = 0;
  while ((n = ::recv(fd_, buffer, sizeof buffer, 0)) > 0)
    all.append(buffer, static_cast<size_t>(n));
  EXPECT_TRUE(n == 0 || errno == ECONNRESET) << errno;
  return all;
}

void TestClient::read_some(size_t n) {
  std::string buffer(n, '\0');
  static_cast<void>(!::recv(fd_, buffer.data(), n, 0));
}

void TestClient::close(bool reset) {
  if (fd_ < 0) return;
  if (reset) {
    const linger at_once{1, 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  }
  ::close(fd_);
  fd_ = -1;
}

bool can_connect(int port) {
  const int fd = connect_to(port, AF_INET);
  if (fd >= 0) ::close(fd);
  return fd >= 0;
}

std::string unchunked(std::string_view response) {
  std::string body;
  size_t at = response.find("\r\n\r\n") + 4;
  while (at < response.size()) {
    const size_t length = std::stoul(std::string(response.substr(at)), nullptr, 16);
    at = response.find("\r\n", at) + 2;
    if (length == 0) return at + 2 == response.size() ? body : "more after the end";
    body += response.substr(at, length);
    at += length + 2;
  }
  return "no end";
}

uint64_t open_descriptors() {
  uint64_t n = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    n += entry.path().empty() ? 0 : 1;
  }
  return n - 1;  // that of the folder itself
}

DescriptorLimit::DescriptorLimit(uint64_t n) {
  ::getrlimit(RLIMIT_NOFILE, &old_);
  const rlimit limit{n, old_.rlim_max};
  CHECK(::setrlimit(RLIMIT_NOFILE, &limit) == 0, errno);
}

TestCertificate::TestCertificate() {
  static std::atomic<int> n = 0;
  const std::string base = std::filesystem::temp_directory_path() /
                           fmt::format("dsv4-certificate-{}-{}", ::getpid(), n++);
  certificate_ = base + ".pem";
  key_ = base + ".key";
  EVP_PKEY* key = EVP_EC_gen("P-256");
  X509* x509 = X509_new();
  ASN1_INTEGER_set(X509_get_serialNumber(x509), 1);
  X509_gmtime_adj(X509_getm_notBefore(x509), -60);
  X509_gmtime_adj(X509_getm_notAfter(x509), 3600);
  X509_set_pubkey(x509, key);
  X509_NAME* name = X509_get_subject_name(x509);
  X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
                             reinterpret_cast<const unsigned char*>("localhost"), -1, -1, 0);
  X509_set_issuer_name(x509, name);
  X509_sign(x509, key, EVP_sha256());
  std::FILE* file = std::fopen(certificate_.c_str(), "w");
  PEM_write_X509(file, x509);
  std::fclose(file);
  file = std::fopen(key_.c_str(), "w");
  PEM_write_PrivateKey(file, key, nullptr, nullptr, 0, nullptr, nullptr);
  std::fclose(file);
  X509_free(x509);
  EVP_PKEY_free(key);
}

TestCertificate::~TestCertificate() {
  std::filesystem::remove(certificate_);
  std::filesystem::remove(key_);
}

class TestTlsClient::Impl {
 public:
  SSL_CTX* context = nullptr;
  SSL* ssl = nullptr;
  int fd = -1;
};

TestTlsClient::TestTlsClient(int port, const std::string& trusted_certificate)
    : impl_(std::make_unique<Impl>()) {
  impl_->context = SSL_CTX_new(TLS_client_method());
  CHECK(SSL_CTX_load_verify_locations(impl_->context, trusted_certificate.c_str(), nullptr) == 1);
  SSL_CTX_set_verify(impl_->context, SSL_VERIFY_PEER, nullptr);
  impl_->ssl = SSL_new(impl_->context);
  SSL_set1_host(impl_->ssl, "localhost");
  impl_->fd = connect_to(port, AF_INET);
  SSL_set_fd(impl_->ssl, impl_->fd);
  EXPECT_EQ(SSL_connect(impl_->ssl), 1) << ERR_error_string(ERR_peek_last_error(), nullptr);
}

TestTlsClient::~TestTlsClient() {
  close();
  SSL_free(impl_->ssl);
  SSL_CTX_free(impl_->context);
}

void TestTlsClient::send(std::string_view bytes) {
  EXPECT_EQ(SSL_write(impl_->ssl, bytes.data(), static_cast<int>(bytes.size())),
            static_cast<int>(bytes.size()));
}

std::string TestTlsClient::read_until(std::string_view end) {
  std::string all;
  char buffer[16384];
  while (!std::string_view(all).ends_with(end)) {
    const int n = SSL_read(impl_->ssl, buffer, sizeof buffer);
    if (n <= 0) {
      ADD_FAILURE() << "the connection ended after " << all.size() << " bytes";
      return all;
    }
    all.append(buffer, static_cast<size_t>(n));
  }
  return all;
}

bool TestTlsClient::read_goodbye() {
  char c = 0;
  const int n = SSL_read(impl_->ssl, &c, 1);
  return SSL_get_error(impl_->ssl, n) == SSL_ERROR_ZERO_RETURN;
}

void TestTlsClient::close() {
  if (impl_->fd < 0) return;
  SSL_shutdown(impl_->ssl);
  ::close(impl_->fd);
  impl_->fd = -1;
}

}  // namespace dsv4
