// What clients do to a server: leave, stall, send halves of requests, come by the thousand. Nothing
// may be left of it.
#include "test_server.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <fmt/core.h>

#include <algorithm>
#include <fstream>
#include <random>
#include <thread>

namespace dsv4 {
namespace {

std::string chat_body(const std::string& text, int64_t max_tokens, bool stream) {
  return Json()
      .set("model", "mini")
      .set("messages", Json::Array{Json().set("role", "user").set("content", text)})
      .set("max_tokens", max_tokens)
      .set("temperature", 1.5)
      .set("logit_bias", Json().set("1", -100))  // it does not end by itself
      .set("stream", stream)
      .print();
}

std::string http_request(const std::string& body) {
  return fmt::format(
      "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
      "Content-Length: {}\r\n\r\n{}",
      body.size(), body);
}

int64_t n_entries(const char* folder) {
  DIR* dir = ::opendir(folder);
  int64_t n = 0;
  while (::readdir(dir) != nullptr) ++n;
  ::closedir(dir);
  return n;
}
int64_t n_descriptors() { return n_entries("/proc/self/fd"); }
int64_t n_threads() { return n_entries("/proc/self/task"); }

int64_t resident_bytes() {
  std::ifstream file("/proc/self/statm");
  int64_t size = 0;
  int64_t resident = 0;
  file >> size >> resident;
  return resident * ::sysconf(_SC_PAGESIZE);
}

// A client that sends what it likes.
class RawClient {
 public:
  explicit RawClient(int port) : fd_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    connected_ = ::connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
  }
  ~RawClient() {
    if (fd_ >= 0) ::close(fd_);
  }
  RawClient(RawClient&& other) noexcept
      : fd_(std::exchange(other.fd_, -1)), connected_(other.connected_) {}
  RawClient& operator=(RawClient&& other) noexcept {
    std::swap(fd_, other.fd_);
    std::swap(connected_, other.connected_);
    return *this;
  }

  bool connected() const { return connected_; }
  void send(std::string_view bytes) const {
    (void)::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
  }
  // What comes, at most `n` bytes; waits for the first.
  std::string receive(size_t n) const {
    std::string bytes(n, '\0');
    const ssize_t got = ::recv(fd_, bytes.data(), n, 0);
    bytes.resize(got > 0 ? static_cast<size_t>(got) : 0);
    return bytes;
  }
  // Closes with a reset instead of an end.
  void reset() {
    const linger now{.l_onoff = 1, .l_linger = 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    ::close(std::exchange(fd_, -1));
  }

 private:
  int fd_;
  bool connected_ = false;
};

template <typename Condition>
bool becomes_true(const Condition& condition) {
  for (int i = 0; i < 2000; ++i) {
    if (condition()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return false;
}

bool is_idle(const TestServer& server) {
  const EngineStats stats = server.engine().stats();
  const HttpCounters http = server.counters();
  return stats.n_running == 0 && stats.n_waiting == 0 && http.connections_open == 0 &&
         http.responses_running == 0 && http.body_bytes_held == 0;
}

TEST(ServeStress, a_client_that_leaves_stops_its_computation) {
  TestServer server;
  RawClient client(server.port());
  client.send(http_request(chat_body("Tell me a story", 4000, true)));
  ASSERT_NE(client.receive(100), "");
  ASSERT_TRUE(becomes_true([&] { return server.engine().stats().n_running == 1; }));
  client.reset();
  ASSERT_TRUE(becomes_true([&] { return server.engine().stats().n_cancelled == 1; }));
  const int64_t n_steps = server.engine().stats().n_steps;
  ASSERT_TRUE(becomes_true([&] { return is_idle(server); }));
  EXPECT_LE(server.engine().stats().n_steps, n_steps + 1);
}

TEST(ServeStress, nothing_is_left_of_clients_that_come_and_go) {
  HttpLimits limits;
  limits.header_time = std::chrono::milliseconds(300);
  limits.body_grace = std::chrono::milliseconds(300);
  limits.stalled_time = std::chrono::milliseconds(500);
  limits.queued_bytes = 16 << 10;
  TestServer server({.max_running = 32, .limits = limits});
  ask(server.address(), "/v1/chat/completions", Json::parse(chat_body("Hello", 4, false), ""));
  ASSERT_TRUE(becomes_true([&] { return is_idle(server); }));
  const int64_t n_fds = n_descriptors();
  const int64_t n_tasks = n_threads();
  std::mt19937 random(test_all() ? 1 : 2);
  std::vector<RawClient> open;
  const int n_clients = test_all() ? 10'000 : 400;
  for (int i = 0; i < n_clients; ++i) {
    RawClient client(server.port());
    if (!client.connected()) continue;
    const std::string request =
        http_request(chat_body("Tell me a story " + std::to_string(i % 50), 400, i % 3 != 0));
    switch (random() % 6) {
      case 0:  // nothing, or a reset at once
        if (random() % 2 == 0) client.reset();
        break;
      case 1:  // half a request, then gone
        client.send(std::string_view(request).substr(0, random() % request.size()));
        client.reset();
        break;
      case 2:  // half a request, and then nothing
        client.send(std::string_view(request).substr(0, random() % request.size()));
        open.push_back(std::move(client));
        break;
      case 3:  // gone after some of the reply
        client.send(request);
        client.receive(1 + random() % 2000);
        client.reset();
        break;
      case 4:  // never reads
        client.send(request);
        open.push_back(std::move(client));
        break;
      default:  // noise
        client.send(std::string(random() % 200, static_cast<char>(random() % 256)) + "\r\n\r\n");
        open.push_back(std::move(client));
    }
    if (open.size() > 60) open.erase(open.begin(), open.begin() + 30);
  }
  open.clear();
  ASSERT_TRUE(becomes_true([&] { return is_idle(server); }));
  EXPECT_LE(n_descriptors(), n_fds);
  EXPECT_EQ(n_threads(), n_tasks);
  const Answer after =
      ask(server.address(), "/v1/chat/completions", Json::parse(chat_body("Hello", 4, false), ""));
  EXPECT_EQ(after.status, 200) << after.body;
}

TEST(ServeStress, many_streams_at_once) {
  const size_t n_streams = test_all() ? 1000 : 200;
  raise_descriptor_limit(static_cast<int64_t>(4 * n_streams));
  TestServer server({.max_running = 128, .state_bytes = int64_t{128} << 20});
  ask(server.address(), "/v1/chat/completions", Json::parse(chat_body("Hello", 4, false), ""));
  const int64_t before = resident_bytes() - server.engine().stats().state_bytes;
  std::vector<Question> questions;
  for (size_t i = 0; i < n_streams; ++i) {
    questions.push_back(
        {.body = chat_body("Tell me a story about " + std::to_string(i), 60, true)});
  }
  const std::vector<Answer> answers = ask(server.address(), questions);
  for (const Answer& answer : answers) {
    ASSERT_EQ(answer.status, 200) << answer.body;
    ASSERT_NE(answer.body.find("data: [DONE]"), std::string::npos) << answer.body;
  }
  const int64_t after = resident_bytes() - server.engine().stats().state_bytes;
  // With the clients' own buffers, which are in this process too.
  EXPECT_LT(after - before, int64_t{64} << 20) << "outside of the model and its caches";
}

}  // namespace
}  // namespace dsv4
