#include "server/http_testing.h"

#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace dsv4 {
namespace {

using namespace std::chrono_literals;

constexpr std::string_view kGet = "GET /echo HTTP/1.1\r\nHost: localhost\r\n\r\n";

std::string post(std::string_view body) {
  return "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: " +
         std::to_string(body.size()) + "\r\n\r\n" + std::string(body);
}

int count(std::string_view text, std::string_view what) {
  int n = 0;
  for (size_t at = text.find(what); at != std::string_view::npos; at = text.find(what, at + 1)) ++n;
  return n;
}

// Answers /echo at once and keeps the responders of other paths.
class ConnectionTest : public testing::Test {
 protected:
  MemoryServer& server(const HttpOptions& options = {}) {
    server_ = std::make_unique<MemoryServer>(
        options, [this](HttpRequest request, std::shared_ptr<Responder> responder) {
          if (request.path == "/throw") throw std::runtime_error("out of order");
          if (request.path == "/echo") {
            responder->respond(200, {{"Path", request.path}}, request.method + " " + request.body);
            return;
          }
          responder->on_done([this](const ResponseEnd& end) {
            ends_.push_back(end);
            n_disconnects_ += end.client_gone ? 1 : 0;
          });
          if (request.path != "/drop") kept_.push_back(responder);
        });
    return *server_;
  }
  void TearDown() override {
    kept_.clear();
    if (server_ == nullptr) return;
    server_->run();
    for (const auto& peer : peers_) peer->ended = true;
    server_->run();
    server_->pass(1h);  // whatever is left is over its time
    EXPECT_EQ(server_->counters().connections_open, 0);
    EXPECT_EQ(server_->counters().responses_running, 0);
    EXPECT_EQ(server_->counters().body_bytes_held, 0);
  }
  std::shared_ptr<MemoryPeer> send(std::string_view bytes) {
    auto peer = server_->connect();
    peers_.push_back(peer);
    peer->to_server = bytes;
    server_->run();
    return peer;
  }

  std::vector<std::shared_ptr<Responder>> kept_;
  std::vector<ResponseEnd> ends_;
  int n_disconnects_ = 0;
  std::vector<std::shared_ptr<MemoryPeer>> peers_;
  std::unique_ptr<MemoryServer> server_;
};

TEST_F(ConnectionTest, answers_and_keeps_the_connection) {
  server();
  const auto peer = send(post("hello"));
  EXPECT_TRUE(peer->received.starts_with("HTTP/1.1 200 OK\r\n"));
  EXPECT_TRUE(peer->received.ends_with("\r\n\r\nPOST hello"));
  EXPECT_FALSE(peer->closed || peer->server_ended);
  peer->received.clear();
  peer->to_server = kGet;
  server_->run();
  EXPECT_TRUE(peer->received.ends_with("\r\n\r\nGET "));
  EXPECT_EQ(server_->counters().connections_total, 1);
  EXPECT_EQ(server_->counters().requests_total, 2);
}

TEST_F(ConnectionTest, answers_for_every_split_of_a_request) {
  server();
  const std::string request = post("hello");
  for (size_t size = 1; size <= request.size(); ++size) {
    const auto peer = server_->connect();
    peers_.push_back(peer);
    peer->read_size = size;
    peer->to_server = request + request;
    server_->run();
    EXPECT_EQ(count(peer->received, "POST hello"), 2) << size;
    peer->ended = true;
    server_->run();
    EXPECT_TRUE(peer->closed);
  }
}

TEST_F(ConnectionTest, answers_pipelined_requests_in_order_and_one_at_a_time) {
  server();
  std::string all;
  for (int i = 0; i < 20; ++i) all += post(std::to_string(i) + ";");
  const auto peer = send("GET /wait HTTP/1.1\r\nHost: a.localhost\r\n\r\n" + all);
  EXPECT_EQ(peer->received, "");
  ASSERT_EQ(kept_.size(), 1u);
  kept_[0]->respond(200, {}, "first;");
  server_->run();
  size_t at = peer->received.find("first;");
  for (int i = 0; i < 20; ++i) {
    const size_t next = peer->received.find("POST " + std::to_string(i) + ";");
    ASSERT_NE(next, std::string::npos);
    EXPECT_GT(next, at);
    at = next;
  }
}

TEST_F(ConnectionTest, cuts_off_who_sends_too_much_ahead) {
  HttpOptions options;
  options.limits.pipelined_bytes = 100;
  server(options);
  const auto peer = send("GET /wait HTTP/1.1\r\nHost: localhost\r\n\r\n");
  peer->to_server = std::string(101, 'x');
  server_->run();
  EXPECT_TRUE(peer->closed);
  EXPECT_EQ(n_disconnects_, 1);
  EXPECT_EQ(server_->counters().cut(CutReason::kPipelined), 1);
}

TEST_F(ConnectionTest, streams_in_chunks) {
  server();
  const auto peer = send("GET /s HTTP/1.1\r\nHost: localhost\r\n\r\n");
  kept_[0]->start_stream(200, {{"Content-Type", "text/plain"}});
  kept_[0]->write("hello ");
  server_->run();
  EXPECT_TRUE(peer->received.ends_with("\r\n\r\n6\r\nhello \r\n"));
  EXPECT_NE(peer->received.find("Transfer-Encoding: chunked\r\n"), std::string::npos);
  kept_[0]->write("");
  kept_[0]->write("world");
  kept_[0]->finish();
  kept_[0]->write("too late");
  server_->run();
  EXPECT_TRUE(peer->received.ends_with("5\r\nworld\r\n0\r\n\r\n"));
  ASSERT_EQ(ends_.size(), 1u);
  EXPECT_EQ(ends_[0].status, 200);
  EXPECT_EQ(ends_[0].body_bytes, 11);
  EXPECT_FALSE(ends_[0].client_gone);
  EXPECT_FALSE(peer->closed);
}

TEST_F(ConnectionTest, ends_streams_to_old_peers_by_closing) {
  server();
  const auto peer = send("GET /s HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
  kept_[0]->start_stream(200, {});
  kept_[0]->write("hello");
  kept_[0]->finish();
  server_->run();
  EXPECT_TRUE(peer->received.ends_with("Connection: close\r\n\r\nhello"));
  EXPECT_TRUE(peer->server_ended);
  // A whole response keeps the connection if the peer wants that.
  const auto other = send("GET /echo HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
  EXPECT_NE(other->received.find("Connection: keep-alive\r\n"), std::string::npos);
  EXPECT_FALSE(other->server_ended);
  EXPECT_TRUE(send("GET /echo HTTP/1.0\r\n\r\n")->server_ended);
}

TEST_F(ConnectionTest, sends_no_body_for_head) {
  server();
  const auto peer = send("HEAD /echo HTTP/1.1\r\nHost: localhost\r\n\r\n");
  EXPECT_NE(peer->received.find("Content-Length: 5\r\n"), std::string::npos);
  EXPECT_TRUE(peer->received.ends_with("\r\n\r\n"));
  const auto stream = send("HEAD /s HTTP/1.1\r\nHost: localhost\r\n\r\n");
  kept_[0]->start_stream(200, {});
  kept_[0]->write("hello");
  kept_[0]->finish();
  server_->run();
  EXPECT_TRUE(stream->received.ends_with("\r\n\r\n"));
  EXPECT_FALSE(stream->server_ended);
}

TEST_F(ConnectionTest, continues_or_refuses_before_the_body) {
  HttpOptions options;
  options.limits.body_bytes = 10;
  server(options);
  const std::string head =
      "POST /echo HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: ";
  const auto peer = send(head + "5\r\n\r\n");
  EXPECT_EQ(peer->received, "HTTP/1.1 100 Continue\r\n\r\n");
  peer->to_server = "hello";
  server_->run();
  EXPECT_TRUE(peer->received.ends_with("POST hello"));
  const auto large = send(head + "11\r\n\r\n");
  EXPECT_TRUE(large->received.starts_with("HTTP/1.1 413 "));
  EXPECT_NE(large->received.find("\"code\":\"body_too_large\""), std::string::npos);
  EXPECT_TRUE(large->server_ended);
  EXPECT_FALSE(large->closed);  // it may still be sending
  large->to_server = "0123456789a";
  server_->run();
  EXPECT_FALSE(large->closed);
  server_->pass(4s);
  EXPECT_TRUE(large->closed);
  // The whole body with the headers: nothing to continue.
  EXPECT_EQ(count(send(head + "5\r\n\r\nhello")->received, "100 Continue"), 0);
}

TEST_F(ConnectionTest, answers_malformed_requests_and_closes) {
  HttpOptions options;
  std::vector<HttpProblem> problems;
  options.shape_problem = [&](const HttpProblem& problem) {
    problems.push_back(problem);
    return HttpReply{problem.status, {}, "shaped"};
  };
  server(options);
  const auto peer = send("GET / HTTP/1.1\r\nHost localhost\r\n\r\n" + std::string(kGet));
  EXPECT_TRUE(peer->received.starts_with("HTTP/1.1 400 Bad Request\r\n"));
  EXPECT_TRUE(peer->received.ends_with("Connection: close\r\n\r\nshaped"));
  EXPECT_EQ(count(peer->received, "HTTP/1.1"), 1);
  ASSERT_EQ(problems.size(), 1u);
  EXPECT_EQ(problems[0].method, "GET");
  EXPECT_NE(peer->received.find("X-Request-Id: " + problems[0].id), std::string::npos);
  EXPECT_EQ(server_->counters().cut(CutReason::kProblem), 1);
}

TEST_F(ConnectionTest, notices_that_the_peer_has_left) {
  server();
  for (const bool broken : {false, true}) {
    for (const bool streaming : {false, true}) {
      kept_.clear();
      n_disconnects_ = 0;
      const auto peer = send("GET /wait HTTP/1.1\r\nHost: localhost\r\n\r\n");
      if (streaming) {
        kept_[0]->start_stream(200, {});
        kept_[0]->write("some");
        server_->run();
      }
      (broken ? peer->broken : peer->ended) = true;
      server_->run();
      EXPECT_EQ(n_disconnects_, 1);
      EXPECT_TRUE(kept_[0]->gone());
      EXPECT_TRUE(ends_.back().client_gone);
      EXPECT_TRUE(peer->closed);
      bool called = false;
      kept_[0]->on_done([&](const ResponseEnd& end) { called = end.client_gone; });
      EXPECT_TRUE(called);
      kept_[0]->respond(200, {}, "nobody reads this");
    }
  }
  EXPECT_EQ(server_->counters().disconnects, 4);
}

TEST_F(ConnectionTest, tells_all_who_want_to_know_of_the_end) {
  server();
  const auto peer = send("GET /wait HTTP/1.1\r\nHost: localhost\r\n\r\n");
  std::string order;
  kept_[0]->on_done([&](const ResponseEnd&) { order += 'a'; });
  kept_[0]->on_done([&](const ResponseEnd&) { order += 'b'; });
  kept_[0]->respond(200, {}, "done");
  server_->run();
  EXPECT_EQ(order, "ba");
  EXPECT_EQ(ends_.size(), 1u);
  kept_[0]->on_done([&](const ResponseEnd&) { order += 'c'; });
  EXPECT_EQ(order, "bac");
}

TEST_F(ConnectionTest, sends_the_rest_to_a_peer_that_only_stopped_sending) {
  server();
  const auto peer = server_->connect();
  peers_.push_back(peer);
  peer->willing = 10;
  peer->to_server = kGet;
  server_->run();
  peer->ended = true;
  server_->run();
  peer->willing = 100'000;
  server_->run();
  EXPECT_TRUE(peer->received.ends_with("GET "));
  EXPECT_TRUE(peer->closed);
}

TEST_F(ConnectionTest, leaves_nothing_of_requests_that_break_off_anywhere) {
  server();
  const std::string request =
      "POST /wait HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0"
      "\r\n\r\n";
  for (size_t length = 0; length <= request.size(); ++length) {
    const auto peer = server_->connect();
    peer->to_server = request.substr(0, length);
    peer->ended = true;
    server_->run();
    EXPECT_TRUE(peer->closed) << length;
    EXPECT_EQ(server_->counters().connections_open, 0) << length;
  }
  EXPECT_EQ(server_->counters().aborted_requests, static_cast<int64_t>(request.size()) - 1);
  EXPECT_EQ(n_disconnects_, 1);
}

TEST_F(ConnectionTest, limits_the_time_of_headers) {
  server();
  const auto silent = send("");
  const auto slow = send("GET / HT");
  server_->pass(9s);
  slow->to_server = "T";
  server_->run();
  EXPECT_FALSE(silent->closed || slow->server_ended);
  server_->pass(2s);
  EXPECT_TRUE(silent->closed);
  EXPECT_EQ(silent->received, "");
  EXPECT_TRUE(slow->received.starts_with("HTTP/1.1 408 "));
  EXPECT_TRUE(slow->server_ended);
  EXPECT_EQ(server_->counters().cut(CutReason::kHeaderTime), 1);
  EXPECT_EQ(server_->counters().cut(CutReason::kIdle), 1);
}

TEST_F(ConnectionTest, limits_the_time_of_bodies_by_their_rate) {
  HttpOptions options;
  options.limits.body_grace = 10s;
  options.limits.body_bytes_per_s = 1000;
  server(options);
  const std::string head =
      "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n";
  const auto stalled = send(head + "some");
  const auto steady = send(head);
  for (int i = 0; i < 100; ++i) {
    steady->to_server = std::string(1000, 'x');
    server_->run();
    server_->pass(1s);
    EXPECT_EQ(stalled->server_ended, i >= 10) << i;
  }
  EXPECT_TRUE(stalled->received.starts_with("HTTP/1.1 408 "));
  EXPECT_TRUE(steady->received.starts_with("HTTP/1.1 200 "));
  EXPECT_EQ(server_->counters().cut(CutReason::kBodyTime), 1);
}

TEST_F(ConnectionTest, limits_the_time_between_requests) {
  server();
  const auto peer = send(kGet);
  server_->pass(74s);
  EXPECT_FALSE(peer->closed);
  peer->to_server = kGet;
  server_->run();
  server_->pass(74s);
  EXPECT_FALSE(peer->closed);
  server_->pass(2s);
  EXPECT_TRUE(peer->closed);
}

TEST_F(ConnectionTest, limits_all_bodies_together) {
  HttpOptions options;
  options.limits.total_body_bytes = 1000;
  server(options);
  const std::string head = "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 900\r\n\r\n";
  const auto first = send(head + std::string(600, 'x'));
  const auto second = send(head + std::string(600, 'x'));
  EXPECT_TRUE(second->received.starts_with("HTTP/1.1 503 "));
  EXPECT_NE(second->received.find("Retry-After: "), std::string::npos);
  EXPECT_EQ(server_->counters().body_bytes_held, 600);
  first->to_server = std::string(300, 'x');
  server_->run();
  EXPECT_TRUE(first->received.starts_with("HTTP/1.1 200 "));
}

TEST_F(ConnectionTest, cuts_off_readers_that_take_nothing) {
  server();
  const auto peer = server_->connect();
  peer->willing = 20;
  peer->to_server = "GET /wait HTTP/1.1\r\nHost: localhost\r\n\r\n";
  server_->run();
  kept_[0]->start_stream(200, {});
  kept_[0]->write("hello");
  server_->run();
  server_->pass(29s);
  peer->willing = 1;
  server_->run();
  server_->pass(29s);
  EXPECT_FALSE(peer->closed);
  server_->pass(2s);
  EXPECT_TRUE(peer->closed);
  EXPECT_EQ(n_disconnects_, 1);
  EXPECT_EQ(server_->counters().cut(CutReason::kSlowReader), 1);
}

TEST_F(ConnectionTest, cuts_off_streams_whose_queue_grows) {
  HttpOptions options;
  options.limits.queued_bytes = 10'000;
  server(options);
  const auto peer = server_->connect();
  peer->to_server = "GET /wait HTTP/1.1\r\nHost: localhost\r\n\r\n";
  server_->run();
  kept_[0]->start_stream(200, {});
  server_->run();
  peer->willing = 0;
  int n = 0;
  while (!kept_[0]->gone() && ++n < 100) {
    kept_[0]->write(std::string(1000, 'x'));
    server_->run();
  }
  EXPECT_GT(n, 9);
  EXPECT_LT(n, 15);
  EXPECT_EQ(n_disconnects_, 1);
  EXPECT_EQ(server_->counters().cut(CutReason::kQueueFull), 1);
}

TEST_F(ConnectionTest, sends_fillers_while_a_stream_is_silent) {
  server();
  const auto peer = send("GET /wait HTTP/1.1\r\nHost: localhost\r\n\r\n");
  server_->pass(20s);
  EXPECT_EQ(peer->received, "");
  kept_[0]->start_stream(200, {}, {":\n\n", 15s});
  server_->run();
  for (int i = 0; i < 60; ++i) server_->pass(1s);
  EXPECT_EQ(count(peer->received, "3\r\n:\n\n\r\n"), 4);
  kept_[0]->finish();
  server_->run();
  server_->pass(20s);
  EXPECT_TRUE(peer->received.ends_with("0\r\n\r\n"));
}

TEST_F(ConnectionTest, answers_when_the_handler_does_not) {
  server();
  const auto dropped = send("GET /drop HTTP/1.1\r\nHost: localhost\r\n\r\n");
  EXPECT_TRUE(dropped->received.starts_with("HTTP/1.1 500 "));
  const auto thrown = send("GET /throw HTTP/1.1\r\nHost: localhost\r\n\r\n");
  EXPECT_TRUE(thrown->received.starts_with("HTTP/1.1 500 "));
  const auto half = send("GET /half HTTP/1.1\r\nHost: localhost\r\n\r\n");
  kept_[0]->start_stream(200, {});
  server_->run();
  kept_.clear();
  server_->run();
  EXPECT_TRUE(half->closed);
  EXPECT_FALSE(half->received.ends_with("0\r\n\r\n"));
  EXPECT_FALSE(ends_.back().client_gone);
  EXPECT_EQ(server_->counters().cut(CutReason::kAbandoned), 1);
}

TEST_F(ConnectionTest, drains_after_what_is_running) {
  server();
  const auto idle = send(kGet);
  const auto fresh = send("");
  const auto half = send("POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\na");
  const auto running = send("GET /wait HTTP/1.1\r\nHost: localhost\r\n\r\n");
  server_->drain();
  EXPECT_TRUE(idle->closed);
  EXPECT_TRUE(fresh->closed);
  EXPECT_FALSE(half->closed || running->closed);
  half->to_server = "b";
  kept_[0]->respond(200, {}, "done");
  server_->run();
  for (const auto& peer : {half, running}) {
    EXPECT_NE(peer->received.find("Connection: close\r\n"), std::string::npos);
    EXPECT_TRUE(peer->server_ended);
  }
}

TEST_F(ConnectionTest, runs_posted_functions_while_the_connection_lives) {
  server();
  const auto peer = send("GET /wait HTTP/1.1\r\nHost: localhost\r\n\r\n");
  int n = 0;
  kept_[0]->post([&] { ++n; });
  EXPECT_EQ(n, 0);
  server_->run();
  EXPECT_EQ(n, 1);
  peer->ended = true;
  server_->run();
  kept_[0]->post([&] { ++n; });
  server_->run();
  EXPECT_EQ(n, 1);
}

TEST_F(ConnectionTest, lets_only_allowed_pages_and_names_in) {
  HttpOptions options;
  options.cors_origins = {"https://good.example"};
  server(options);
  const auto get = [&](const std::string& headers) {
    return send("GET /echo HTTP/1.1\r\n" + headers + "\r\n")->received;
  };
  EXPECT_TRUE(get("Host: 127.0.0.1:8000\r\n").starts_with("HTTP/1.1 200"));
  EXPECT_TRUE(get("Host: [::1]:8000\r\n").starts_with("HTTP/1.1 200"));
  EXPECT_TRUE(get("Host: evil.example\r\n").starts_with("HTTP/1.1 421"));
  EXPECT_TRUE(
      get("Host: localhost:1\r\nOrigin: http://localhost:1\r\n").starts_with("HTTP/1.1 200"));
  EXPECT_TRUE(
      get("Host: localhost:1\r\nOrigin: http://localhost:2\r\n").starts_with("HTTP/1.1 403"));
  EXPECT_TRUE(get("Host: localhost\r\nOrigin: null\r\n").starts_with("HTTP/1.1 403"));
  const std::string good = get("Host: localhost\r\nOrigin: https://good.example\r\n");
  EXPECT_TRUE(good.starts_with("HTTP/1.1 200"));
  EXPECT_NE(good.find("Access-Control-Allow-Origin: https://good.example\r\n"), std::string::npos);
  const std::string ask =
      "OPTIONS /echo HTTP/1.1\r\nHost: localhost\r\nAccess-Control-Request-Method: POST\r\n"
      "Access-Control-Request-Headers: authorization\r\nOrigin: https://";
  const auto yes = send(ask + "good.example\r\n\r\n");
  EXPECT_TRUE(yes->received.starts_with("HTTP/1.1 204"));
  EXPECT_NE(yes->received.find("Access-Control-Allow-Headers: authorization\r\n"),
            std::string::npos);
  EXPECT_FALSE(yes->server_ended);
  const auto no = send(ask + "bad.example\r\n\r\n");
  EXPECT_TRUE(no->received.starts_with("HTTP/1.1 403"));
  EXPECT_EQ(no->received.find("Access-Control-Allow-Origin"), std::string::npos);
}

}  // namespace
}  // namespace dsv4
