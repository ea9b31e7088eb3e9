// What clients do to a server: leave, stall, send halves of requests, come by the thousand. Nothing
// may be left of it.
#include "server/http_socket_testing.h"
#include "server/service_metrics.h"
#include "test_server.h"

#include <iterator>
#include <random>

namespace dsv4 {
namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kSanitized = true;  // keeps what is freed, and computes twenty times as long
#else
constexpr bool kSanitized = false;
#endif

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

std::string http_request(const std::string& body) { return post("/v1/chat/completions", body); }

int64_t n_threads() {
  const std::filesystem::directory_iterator tasks("/proc/self/task");
  return std::distance(begin(tasks), end(tasks));
}

bool is_idle(const TestServer& server) {
  const EngineStats stats = server.engine().stats();
  const HttpCounters http = server.counters();
  return stats.n_running == 0 && stats.n_waiting == 0 && http.connections_open == 0 &&
         http.responses_running == 0 && http.body_bytes_held == 0;
}

TEST(ServeStress, a_client_that_leaves_stops_its_computation) {
  TestServer server;
  TestClient client(server.port());
  client.send(http_request(chat_body("Tell me a story", 4000, true)));
  client.read_until("data: ");
  ASSERT_TRUE(becomes_true([&] { return server.engine().stats().n_running == 1; }));
  client.close(true);
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
  const uint64_t n_fds = open_descriptors();
  const int64_t n_tasks = n_threads();
  std::mt19937 random(test_all() ? 1 : 2);
  std::vector<std::unique_ptr<TestClient>> open;
  const int n_clients = test_all() ? 10'000 : 400;
  const int64_t max_tokens = kSanitized ? 24 : 400;
  for (int i = 0; i < n_clients; ++i) {
    auto client = std::make_unique<TestClient>(server.port());
    const std::string request = http_request(
        chat_body("Tell me a story " + std::to_string(i % 50), max_tokens, i % 3 != 0));
    switch (random() % 6) {
      case 0:  // nothing, or a reset at once
        if (random() % 2 == 0) client->close(true);
        break;
      case 1:  // half a request, then gone
        client->send(std::string_view(request).substr(0, random() % request.size()));
        client->close(true);
        break;
      case 2:  // half a request, and then nothing
        client->send(std::string_view(request).substr(0, random() % request.size()));
        open.push_back(std::move(client));
        break;
      case 3:  // gone after some of the reply
        client->send(request);
        client->read_some(1 + random() % 2000);
        client->close(true);
        break;
      case 4:  // never reads
        client->send(request);
        open.push_back(std::move(client));
        break;
      default:  // noise
        client->send(std::string(random() % 200, static_cast<char>(random() % 256)) + "\r\n\r\n");
        open.push_back(std::move(client));
    }
    if (open.size() > 60) open.erase(open.begin(), open.begin() + 30);
  }
  open.clear();
  ASSERT_TRUE(becomes_true([&] { return is_idle(server); }));
  EXPECT_LE(open_descriptors(), n_fds);
  EXPECT_EQ(n_threads(), n_tasks);
  const Answer after =
      ask(server.address(), "/v1/chat/completions", Json::parse(chat_body("Hello", 4, false), ""));
  EXPECT_EQ(after.status, 200) << after.body;
}

TEST(ServeStress, many_streams_at_once) {
  const size_t n_streams = test_all() ? 1000 : 200;
  raise_descriptor_limit(static_cast<int64_t>(4 * n_streams));
  TestServer server({.max_running = 128, .state_bytes = int64_t{128} << 20});
  std::vector<Question> questions;
  for (size_t i = 0; i < n_streams; ++i) {
    questions.push_back(
        {.body = chat_body("Tell me a story about " + std::to_string(i), 60, true)});
  }
  const auto outside = [&] { return resident_bytes() - server.engine().stats().state_bytes; };
  ask(server.address(), {questions[0]});  // the model comes into memory
  const int64_t idle = outside();
  int64_t before = 0;
  int64_t after = 0;
  // What the first rounds leave is there to be used again: of caches, threads, allocators. A
  // thousand streams leave 80, 28, 20, 3, 3, 3 MB.
  const int n_rounds = test_all() ? 5 : 2;
  for (int round = 0; round < n_rounds; ++round) {
    const std::vector<Answer> answers = ask(server.address(), questions);
    for (const Answer& answer : answers) {
      ASSERT_EQ(answer.status, 200) << answer.body;
      ASSERT_NE(answer.body.find("data: [DONE]"), std::string::npos) << answer.body;
    }
    ASSERT_TRUE(becomes_true([&] { return is_idle(server); }));
    before = std::exchange(after, outside());
    if (round == 0) {
      EXPECT_TRUE(kSanitized || after - idle < int64_t{64} << 20) << after - idle;
    }
  }
  EXPECT_TRUE(kSanitized || after - before < static_cast<int64_t>(n_streams) * 16'000)
      << after - before;
}

}  // namespace
}  // namespace dsv4
