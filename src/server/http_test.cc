// The server over real sockets: threads, TLS, descriptors, many connections at once.
#include "server/http.h"

#include "base/error.h"
#include "base/rng.h"
#include "server/events.h"
#include "server/http_metrics.h"
#include "server/http_socket_testing.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include <sys/socket.h>

namespace dsv4 {
namespace {

using namespace std::chrono_literals;

constexpr std::string_view kGet = "GET /echo HTTP/1.1\r\nHost: localhost\r\n\r\n";

// Answers: /echo at once; /later from a thread; /stream with an event every so often from a thread
// until 20 or, for /endless, until the client is gone; /keep never, but keeps the responder.
class HttpServerTest : public testing::Test {
 protected:
  HttpServer& serve(HttpOptions options = {}) {
    options.port = 0;
    options.tick = 5ms;
    server_ = std::make_unique<HttpServer>(
        std::move(options), [this](HttpRequest request, std::shared_ptr<Responder> responder) {
          handle(request, responder);
        });
    return *server_;
  }

  void handle(const HttpRequest& request, const std::shared_ptr<Responder>& responder) {
    if (request.path == "/echo") {
      return responder->respond(200, {}, request.method + " " + request.body);
    }
    if (request.path == "/big") return responder->respond(200, {}, std::string(8 << 20, 'x'));
    const std::lock_guard lock(mutex_);
    ++n_outstanding_;
    responder->on_done([this](const ResponseEnd&) { --n_outstanding_; });
    if (request.path == "/keep") {
      kept_.push_back(responder);
    } else {
      streams_.push_back({responder, request.path == "/endless", 0});
    }
  }

  // What a step thread does: one event for each stream.
  void step() {
    std::vector<Stream> streams;
    {
      const std::lock_guard lock(mutex_);
      streams.swap(streams_);
    }
    std::string event;
    for (Stream& stream : streams) {
      if (stream.responder->gone()) continue;
      if (stream.n == 0) stream.responder->start_stream(200, event_stream_headers());
      event.clear();
      append_event(event, std::to_string(stream.n) + std::string(stream.endless ? 5000 : 0, ' '));
      stream.responder->write(event);
      if (++stream.n == 20 && !stream.endless) {
        stream.responder->finish();
        continue;
      }
      const std::lock_guard lock(mutex_);
      streams_.push_back(stream);
    }
  }

  void run_steps() {
    stepper_ = std::jthread([this](const std::stop_token& stop) {
      while (!stop.stop_requested()) {
        step();
        std::this_thread::yield();
      }
    });
  }

  void TearDown() override {
    stepper_ = {};
    if (server_ != nullptr) {
      server_->drain(0ms);
      expect_nothing_left();
    }
    kept_.clear();
    streams_.clear();
    server_.reset();
  }

  void expect_nothing_left() {
    const HttpCounters counters = server_->counters();
    EXPECT_EQ(counters.connections_open, 0);
    EXPECT_EQ(counters.responses_running, 0);
    EXPECT_EQ(counters.body_bytes_held, 0);
    EXPECT_EQ(n_outstanding_, 0);
  }

  // The responder of the latest /keep.
  std::shared_ptr<Responder> kept() {
    const std::lock_guard lock(mutex_);
    return kept_.back();
  }

  // Waits for a state that must come, for at most five minutes.
  template <typename Condition>
  void wait_for(const Condition& condition) {
    const auto end = std::chrono::steady_clock::now() + 300s;
    while (!condition() && std::chrono::steady_clock::now() < end) std::this_thread::yield();
    EXPECT_TRUE(condition());
  }
  void wait_until_closed() {
    wait_for([&] { return server_->counters().connections_open == 0; });
  }

  struct Stream {
    std::shared_ptr<Responder> responder;
    bool endless = false;
    int n = 0;
  };
  std::mutex mutex_;
  std::vector<std::shared_ptr<Responder>> kept_;
  std::vector<Stream> streams_;
  std::atomic<int> n_outstanding_ = 0;
  std::unique_ptr<HttpServer> server_;
  std::jthread stepper_;
};

TEST_F(HttpServerTest, listens_where_it_says) {
  HttpServer& server = serve();
  EXPECT_GT(server.port(), 0);
  EXPECT_EQ(server.url(), "http://127.0.0.1:" + std::to_string(server.port()));
  TestClient client(server.port());
  client.send(kGet);
  EXPECT_TRUE(client.read_until("GET ").starts_with("HTTP/1.1 200 OK\r\n"));
  HttpOptions taken;
  taken.port = server.port();
  try {
    const HttpServer other(taken, [](HttpRequest, std::shared_ptr<Responder>) {});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.where(), "127.0.0.1:" + std::to_string(server.port()));
    EXPECT_NE(std::string(error.what()).find("--port"), std::string::npos);
  }
  taken.host = "192.0.2.1";  // for documentation, nobody's
  EXPECT_THROW(HttpServer(taken, [](HttpRequest, std::shared_ptr<Responder>) {}), Error);
}

TEST_F(HttpServerTest, speaks_ipv6) {
  HttpOptions options;
  options.host = "::1";
  try {
    serve(options);
  } catch (const Error& error) {
    GTEST_SKIP() << "no IPv6 here: " << error.what();
  }
  EXPECT_TRUE(server_->url().starts_with("http://[::1]:"));
  TestClient client(server_->port(), AF_INET6);
  client.send(kGet);
  client.read_until("GET ");
}

TEST_F(HttpServerTest, tells_the_handler_when_a_client_leaves) {
  HttpServer& server = serve();
  for (const bool reset : {false, true}) {
    TestClient client(server.port());
    client.send("GET /keep HTTP/1.1\r\nHost: localhost\r\n\r\n");
    wait_for([&] { return n_outstanding_ == 1; });
    client.close(reset);
    wait_for([&] { return n_outstanding_ == 0; });
    EXPECT_TRUE(kept()->gone());
  }
  EXPECT_EQ(server.counters().disconnects, 2);
}

TEST_F(HttpServerTest, cuts_off_slow_writers_and_readers) {
  HttpOptions options;
  // Long enough for what is to come in time.
  options.limits.header_time = 2s;
  options.limits.body_grace = 2s;
  options.limits.idle_time = 2s;
  options.limits.stalled_time = 2s;
  options.limits.linger_time = 2s;
  options.send_buffer_bytes = 4096;
  HttpServer& server = serve(options);
  TestClient header(server.port());
  TestClient body(server.port());
  TestClient idle(server.port());
  TestClient reader(server.port());
  header.send("GET / HT");
  body.send("POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhell");
  idle.send(kGet);
  reader.send("GET /big HTTP/1.1\r\nHost: localhost\r\n\r\n");
  EXPECT_TRUE(header.read_all().starts_with("HTTP/1.1 408 "));
  EXPECT_TRUE(body.read_all().starts_with("HTTP/1.1 408 "));
  EXPECT_TRUE(idle.read_all().starts_with("HTTP/1.1 200 "));
  wait_until_closed();
  const HttpCounters counters = server.counters();
  EXPECT_EQ(counters.cut(CutReason::kHeaderTime), 1);
  EXPECT_EQ(counters.cut(CutReason::kBodyTime), 1);
  EXPECT_EQ(counters.cut(CutReason::kIdle), 1);
  EXPECT_EQ(counters.cut(CutReason::kSlowReader), 1);
}

TEST_F(HttpServerTest, cuts_off_who_does_not_read_a_stream) {
  HttpOptions options;
  options.limits.queued_bytes = 10'000;
  options.send_buffer_bytes = 4096;
  HttpServer& server = serve(options);
  TestClient client(server.port(), AF_INET, 4096);
  client.send("GET /endless HTTP/1.1\r\nHost: localhost\r\n\r\n");
  run_steps();
  wait_for([&] { return server.counters().cut(CutReason::kQueueFull) == 1; });
  wait_for([&] { return n_outstanding_ == 0; });
}

TEST_F(HttpServerTest, sends_large_bodies_whole) {
  HttpServer& server = serve();
  TestClient client(server.port());
  client.send("GET /big HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
  const std::string all = client.read_all();
  EXPECT_EQ(all.size() - all.find("\r\n\r\n") - 4, size_t{8} << 20);
  const std::string body(4 << 20, 'y');
  TestClient sender(server.port());
  sender.send("POST /echo HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: " +
              std::to_string(body.size()) + "\r\n\r\n" + body);
  EXPECT_TRUE(sender.read_all().ends_with(" " + body));
}

TEST_F(HttpServerTest, tells_clients_over_the_limit_to_come_back) {
  HttpOptions options;
  options.limits.max_connections = 2;
  HttpServer& server = serve(options);
  auto first = std::make_unique<TestClient>(server.port());
  TestClient second(server.port());
  first->send(kGet);
  first->read_until("GET ");
  second.send(kGet);
  second.read_until("GET ");
  TestClient third(server.port());
  third.send(kGet);
  const std::string answer = third.read_all();
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 503 "));
  EXPECT_NE(answer.find("Retry-After: 1\r\n"), std::string::npos);
  EXPECT_EQ(server.counters().connections_refused, 1);
  first.reset();
  third.close(false);
  wait_for([&] { return server.counters().connections_open == 1; });
  TestClient fourth(server.port());
  fourth.send(kGet);
  EXPECT_TRUE(fourth.read_until("GET ").starts_with("HTTP/1.1 200 "));
}

TEST_F(HttpServerTest, refuses_without_losing_the_answer) {
  HttpOptions options;
  options.limits.body_bytes = 1000;
  HttpServer& server = serve(options);
  for (int i = 0; i < 20; ++i) {
    TestClient client(server.port());
    client.send("POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3000000\r\n\r\n" +
                std::string(3'000'000, 'x'));
    EXPECT_TRUE(client.read_all().starts_with("HTTP/1.1 413 "));
  }
}

TEST_F(HttpServerTest, serves_a_thousand_streams_at_once) {
  ASSERT_GE(raise_descriptor_limit(2200), 2200);
  HttpServer& server = serve();
  std::vector<std::unique_ptr<TestClient>> clients;
  for (int i = 0; i < 1000; ++i) {
    clients.push_back(std::make_unique<TestClient>(server.port()));
    clients.back()->send("GET /stream HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
  }
  wait_for([&] { return server.counters().responses_running == 1000; });
  run_steps();
  std::string expected;
  for (int i = 0; i < 20; ++i) append_event(expected, std::to_string(i));
  for (const auto& client : clients) {
    ASSERT_EQ(unchunked(client->read_all()), expected);
  }
  wait_for([&] { return n_outstanding_ == 0; });
  EXPECT_EQ(server.counters().problems_total, 0);
  EXPECT_EQ(server.counters().disconnects, 0);
}

// Connects, sends a part of something, reads a part of the answer, and leaves in some way.
void misbehave(int port, uint64_t seed, uint64_t i) {
  const auto draw = [&](uint64_t k, uint64_t n) { return random_bits(seed, i, k) % n; };
  const std::string kRequests[] = {
      std::string(kGet),
      "GET /endless HTTP/1.1\r\nHost: localhost\r\n\r\n",
      "GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n",
      "GET /keep HTTP/1.1\r\nHost: localhost\r\n\r\n",
      "GET /big HTTP/1.1\r\nHost: localhost\r\n\r\n",
      "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n" +
          std::string(100, 'x'),
      "POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0"
      "\r\n\r\n",
      "nonsense\r\n\r\n"};
  const std::string& request = kRequests[draw(0, std::size(kRequests))];
  TestClient client(port);
  const bool is_whole = draw(1, 2) == 0;
  client.send(is_whole ? request : request.substr(0, draw(2, request.size() + 1)));
  if (is_whole && draw(3, 2) == 0 && request.find("/keep") == std::string::npos) {
    client.read_some(1 + draw(4, 2000));
  }
  if (draw(5, 4) == 0) ::shutdown(client.fd(), SHUT_WR);
  client.close(draw(6, 2) == 0);
}

TEST_F(HttpServerTest, survives_a_storm_of_clients_that_leave) {
  HttpServer& server = serve();
  const uint64_t n_descriptors = open_descriptors();
  run_steps();
  std::vector<std::jthread> clients;
  std::atomic<uint64_t> next = 0;
  for (int thread = 0; thread < 4; ++thread) {
    clients.emplace_back([&] {
      while (next < 2000) misbehave(server.port(), 4, next++);
    });
  }
  clients.clear();
  wait_until_closed();
  wait_for([&] { return n_outstanding_ == 0; });
  EXPECT_EQ(open_descriptors(), n_descriptors);
  EXPECT_GE(server.counters().connections_total, 2000);
  EXPECT_EQ(server.counters().responses_running, 0);
  // It still works.
  TestClient client(server.port());
  client.send(kGet);
  client.read_until("GET ");
}

TEST_F(HttpServerTest, accepts_again_after_it_had_no_descriptors) {
  HttpServer& server = serve();
  TestClient kept(server.port());
  kept.send(kGet);
  kept.read_until("GET ");
  {
    const DescriptorLimit limit(open_descriptors() + 1);  // for a client, not for the server
    TestClient waiting(server.port());
    wait_for([&] { return server.counters().accept_errors > 0; });
    kept.send(kGet);
    kept.read_until("GET ");
  }
  TestClient client(server.port());
  client.send(kGet);
  client.read_until("GET ");
}

TEST_F(HttpServerTest, drains) {
  HttpServer& server = serve();
  TestClient idle(server.port());
  idle.send(kGet);
  idle.read_until("GET ");
  TestClient running(server.port());
  running.send("GET /keep HTTP/1.1\r\nHost: localhost\r\n\r\n");
  wait_for([&] { return n_outstanding_ == 1; });
  std::jthread drainer([&] { EXPECT_TRUE(server.drain(60s)); });
  EXPECT_EQ(idle.read_all(), "");
  wait_for([&] { return !can_connect(server.port()); });
  kept()->respond(200, {}, "done");
  EXPECT_TRUE(running.read_all().ends_with("\r\n\r\ndone"));
  running.close(false);
  drainer.join();
  server.post([] { FAIL(); });
}

TEST_F(HttpServerTest, cuts_off_what_does_not_end_in_time) {
  HttpServer& server = serve();
  TestClient client(server.port());
  client.send("GET /keep HTTP/1.1\r\nHost: localhost\r\n\r\n");
  wait_for([&] { return n_outstanding_ == 1; });
  EXPECT_FALSE(server.drain(10ms));
  EXPECT_EQ(client.read_all(), "");
  EXPECT_EQ(server.counters().cut(CutReason::kDrain), 1);
  kept()->respond(200, {}, "nobody listens");
}

TEST_F(HttpServerTest, shows_its_counters_as_metrics) {
  HttpServer& server = serve();
  TestClient client(server.port());
  client.send(kGet);
  client.read_until("GET ");
  client.send("nonsense\r\n\r\n");
  client.read_all();
  Metrics metrics;
  add_http_metrics(metrics, server);
  const std::string text = metrics.print();
  for (const char* line :
       {"\ndsv4_http_connections_total 1\n", "\ndsv4_http_requests_total 1\n",
        "\ndsv4_http_problems_total 1\n", "\ndsv4_http_cut_off_total{reason=\"problem\"} 1\n",
        "\ndsv4_http_cut_off_total{reason=\"drain\"} 0\n",
        "\ndsv4_http_received_bytes_total 51\n"}) {
    EXPECT_NE(text.find(line), std::string::npos) << line << text;
  }
}

TEST_F(HttpServerTest, runs_functions_on_its_thread) {
  HttpServer& server = serve();
  std::atomic<int> n = 0;
  server.run_every(1ms, [&] { ++n; });
  wait_for([&] { return n >= 3; });
  std::atomic<bool> posted = false;
  server.post([&] { posted = true; });
  wait_for([&] { return posted.load(); });
}

TEST_F(HttpServerTest, encrypts) {
  const TestCertificate files;
  HttpOptions options;
  options.tls_certificate = files.certificate();
  options.tls_key = files.key();
  HttpServer& server = serve(options);
  EXPECT_TRUE(server.url().starts_with("https://"));
  const std::string body(300'000, 'z');
  TestTlsClient client(server.port(), files.certificate());
  for (int i = 0; i < 3; ++i) {
    client.send("POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 300000\r\n\r\n" + body);
    EXPECT_NE(client.read_until(" " + body).find("HTTP/1.1 200 OK"), std::string::npos);
  }
  // A client that closes, one that speaks plain text, and one that leaves in the handshake.
  client.send("GET /keep HTTP/1.1\r\nHost: localhost\r\n\r\n");
  wait_for([&] { return n_outstanding_ == 1; });
  client.close();
  wait_for([&] { return n_outstanding_ == 0; });
  TestClient plain(server.port());
  plain.send(kGet);
  plain.read_all();
  TestClient(server.port()).send("\x16\x03\x01");
  wait_for([&] { return server.counters().cut(CutReason::kHandshake) == 2; });
  TestTlsClient last(server.port(), files.certificate());
  last.send("GET /echo HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
  EXPECT_TRUE(last.read_until("GET ").starts_with("HTTP/1.1 200 "));
  EXPECT_TRUE(last.read_goodbye());
}

TEST_F(HttpServerTest, names_the_file_that_is_not_right) {
  const TestCertificate files;
  const TestCertificate others;
  const auto where = [&](const std::string& certificate, const std::string& key) -> std::string {
    try {
      HttpOptions options;
      options.tls_certificate = certificate;
      options.tls_key = key;
      serve(options);
    } catch (const Error& error) {
      return error.where();
    }
    return "no error";
  };
  EXPECT_EQ(where("/nonexistent", files.key()), "/nonexistent");
  EXPECT_EQ(where(files.certificate(), "/nonexistent"), "/nonexistent");
  EXPECT_EQ(where(files.key(), files.key()), files.key());
  EXPECT_EQ(where(files.certificate(), files.certificate()), files.certificate());
  EXPECT_EQ(where(files.certificate(), others.key()), others.key());
  EXPECT_EQ(where(files.certificate(), ""), "TLS");
}

}  // namespace
}  // namespace dsv4
