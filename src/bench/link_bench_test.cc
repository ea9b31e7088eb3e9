#include "bench/link_bench.h"

#include "base/error.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <cstring>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace dsv4 {
namespace {

// Waits are short where a test is about them alone.
constexpr PeerLimits kLong{.idle_s = 20, .total_s = 60};
constexpr PeerLimits kShort{.idle_s = 0.2, .total_s = 60};
constexpr LinkPlan kQuick{.n_messages = 20, .block_s = 0.001, .seconds = 0.01, .limits = kLong};

LinkPlan quick_with(const PeerLimits& limits) {
  LinkPlan plan = kQuick;
  plan.limits = limits;
  return plan;
}

// What the other end does, in a thread of its own.
class OtherEnd {
 public:
  explicit OtherEnd(std::function<void(Peer&)> act, const PeerLimits& limits = kLong)
      : listener_(parse_listening("0")), thread_([this, act = std::move(act), limits] {
          Peer peer = listener_.accept(limits);
          try {
            act(peer);
          } catch (const Error& error) {
            error_ = error.what();
          }
        }) {}
  ~OtherEnd() { join(); }
  OtherEnd(const OtherEnd&) = delete;
  OtherEnd& operator=(const OtherEnd&) = delete;

  const PeerAddress& address() const { return listener_.address(); }
  // Of its error, once it has ended.
  std::string join() {
    if (thread_.joinable()) thread_.join();
    return error_;
  }

 private:
  PeerListener listener_;
  std::string error_;
  std::thread thread_;
};

std::string what_of(const std::function<void()>& act) {
  try {
    act();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

void send_text(Peer& peer, std::string_view text) {
  peer.send(std::as_bytes(std::span(text.data(), text.size())));
}

// Until the peer closes the connection, so that it reads all that was sent.
void wait_for_end(Peer& peer) {
  std::byte byte;
  for (;;) peer.receive({&byte, 1});
}

// A request as it is sent.
std::string request(uint32_t command, uint32_t bytes) {
  std::string text(16, '\0');
  std::memcpy(text.data(), &command, sizeof command);
  std::memcpy(text.data() + 4, &bytes, sizeof bytes);
  return text;
}

const std::string kHello("dsv4link\x01\0\0\0\0\0\0\0", 16);

TEST(LinkBench, measures_over_the_loopback) {
  LinkService service;
  OtherEnd other([&](Peer& peer) {
    greet_link(peer);
    service = serve_link(peer);
  });
  const ClusterLink link = measure_link(other.address(), kQuick);
  EXPECT_EQ(other.join(), "");
  EXPECT_EQ(link.peer, other.address().text());
  for (const double rate : {link.send, link.receive}) {
    EXPECT_GT(rate, 1e6);
    EXPECT_LT(rate, 1e12);
  }
  EXPECT_GT(link.round_trip_s, 0);
  EXPECT_LT(link.round_trip_s, 1);
  for (const double spread : {link.send_spread, link.receive_spread, link.round_trip_spread}) {
    EXPECT_TRUE(std::isfinite(spread) && spread >= 0) << spread;
  }
  EXPECT_GT(service.received, 0);
  EXPECT_GT(service.sent, 0);
}

TEST(LinkBench, says_that_nobody_listens) {
  PeerAddress address;
  {
    const PeerListener gone(parse_listening("0"));
    address = gone.address();
  }
  EXPECT_EQ(what_of([&] { measure_link(address, kQuick); }),
            address.text() + ": cannot connect: Connection refused");
  EXPECT_NE(what_of([&] {
              measure_link({"no.such.host.invalid", "1"}, kQuick);
            }).find("no.such.host.invalid:1: "),
            std::string::npos);
}

TEST(LinkBench, recognises_another_program) {
  OtherEnd other([&](Peer& peer) {
    send_text(peer, "HTTP/1.1 400 Bad Request\r\n\r\n");
    wait_for_end(peer);
  });
  EXPECT_EQ(
      what_of([&] { measure_link(other.address(), kQuick); }),
      other.address().text() + ": is no end of a measurement of dsv4: its first bytes are others");
}

TEST(LinkBench, names_both_versions) {
  std::string hello = kHello;
  hello[8] = 2;
  OtherEnd other([&](Peer& peer) {
    send_text(peer, hello);
    wait_for_end(peer);
  });
  EXPECT_EQ(what_of([&] { measure_link(other.address(), kQuick); }),
            other.address().text() + ": speaks version 2 of this protocol, this program version 1");
}

TEST(LinkBench, says_that_the_peer_has_gone) {
  OtherEnd at_once([](Peer&) {});
  const std::string error = what_of([&] { measure_link(at_once.address(), kQuick); });
  // Closed with bytes that were not read, it may be a reset.
  EXPECT_TRUE(error.find("has closed the connection") != std::string::npos ||
              error.find("Connection reset") != std::string::npos)
      << error;
  OtherEnd after_hello([](Peer& peer) {
    std::byte hello[16];
    peer.receive(hello);
    send_text(peer, kHello);
  });
  const std::string later = what_of([&] { measure_link(after_hello.address(), kQuick); });
  EXPECT_TRUE(later.starts_with(after_hello.address().text())) << later;
}

TEST(LinkBench, does_not_wait_for_a_peer_that_never_answers) {
  OtherEnd other(wait_for_end);
  EXPECT_EQ(what_of([&] { measure_link(other.address(), quick_with(kShort)); }),
            other.address().text() + ": no answer for 0.2 s");
  // One that takes no bytes of a block: more than the buffers of both ends hold.
  OtherEnd full([](Peer& peer) {
    std::byte byte;
    peer.receive({&byte, 1});
    std::this_thread::sleep_for(std::chrono::seconds(1));
  });
  Peer peer = Peer::connect(full.address(), kShort);
  const std::vector<std::byte> many(64 << 20);
  EXPECT_EQ(what_of([&] { peer.send(many); }), full.address().text() + ": no answer for 0.2 s");
}

TEST(LinkBench, ends_with_a_peer_that_is_slow_for_ever) {
  OtherEnd other([](Peer& peer) {
    for (;;) {
      send_text(peer, "d");
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
  });
  Peer peer = Peer::connect(other.address(), {.idle_s = 20, .total_s = 0.3});
  std::vector<std::byte> answer(1000);
  EXPECT_EQ(what_of([&] { peer.receive(answer); }),
            other.address().text() + ": not done after 0.3 s");
  EXPECT_EQ(what_of([&] { send_text(peer, "more"); }),
            other.address().text() + ": not done after 0.3 s");
}

TEST(LinkBench, notices_an_answer_to_something_else) {
  OtherEnd other([](Peer& peer) {
    std::byte hello[32];  // and the first request
    send_text(peer, kHello);
    peer.receive(hello);
    send_text(peer, request(1, 0));
    wait_for_end(peer);
  });
  EXPECT_EQ(what_of([&] { measure_link(other.address(), kQuick); }),
            other.address().text() + ": has answered something else than was asked");
}

// The error of the listening end for a peer that sends `bytes` and then nothing.
std::string error_of_service(const std::string& bytes) {
  OtherEnd service(
      [](Peer& peer) {
        greet_link(peer);
        serve_link(peer);
      },
      kShort);
  Peer peer = Peer::connect(service.address(), kLong);
  send_text(peer, bytes);
  const std::string error = service.join();
  return error.substr(std::min(error.find(": ") + 2, error.size()));
}

TEST(LinkBench, listening_end_refuses_what_makes_no_sense) {
  EXPECT_EQ(error_of_service("GET / HTTP/1.1\r\n\r\n"),
            "is no end of a measurement of dsv4: its first bytes are others");
  std::string newer = kHello;
  newer[8] = 9;
  EXPECT_EQ(error_of_service(newer), "speaks version 9 of this protocol, this program version 1");
  EXPECT_EQ(error_of_service(kHello + request(77, 0)), "asks for the unknown command 77");
  EXPECT_EQ(error_of_service(kHello + request(3, 0xffffffff)),
            "asks for a block of 4294967295 bytes, at most 67108864 are allowed");
  EXPECT_EQ(error_of_service(""), "no answer for 0.2 s");
  EXPECT_EQ(error_of_service(kHello.substr(0, 9)), "no answer for 0.2 s");
  EXPECT_EQ(error_of_service(kHello + request(2, 1000) + "half"), "no answer for 0.2 s");
  EXPECT_EQ(error_of_service(kHello + request(4, 0)), "");
}

TEST(PeerAddress, is_read_in_its_forms) {
  EXPECT_EQ(parse_peer("box", "7411"), (PeerAddress{"box", "7411"}));
  EXPECT_EQ(parse_peer("box:80", "7411"), (PeerAddress{"box", "80"}));
  EXPECT_EQ(parse_peer("10.0.0.2:80", "7411"), (PeerAddress{"10.0.0.2", "80"}));
  EXPECT_EQ(parse_peer("fe80::1", "7411"), (PeerAddress{"fe80::1", "7411"}));
  EXPECT_EQ(parse_peer("[::1]", "7411"), (PeerAddress{"::1", "7411"}));
  EXPECT_EQ(parse_peer("[::1]:80", "7411"), (PeerAddress{"::1", "80"}));
  EXPECT_EQ(parse_peer("[::1]:80", "7411").text(), "[::1]:80");
  EXPECT_EQ(parse_listening("80"), (PeerAddress{"127.0.0.1", "80"}));
  EXPECT_EQ(parse_listening("0"), (PeerAddress{"127.0.0.1", "0"}));
  EXPECT_EQ(parse_listening("0.0.0.0:80"), (PeerAddress{"0.0.0.0", "80"}));
  EXPECT_EQ(parse_listening("[::]:80"), (PeerAddress{"::", "80"}));
  for (const char* wrong : {"", ":", "box:", ":80", "box:0", "box:65536", "box:x", "box:8 0",
                            "[::1", "[]:80", "[::1]80", "[::1]:", "box:-1", "a b", "a\n"}) {
    EXPECT_NE(what_of([&] { parse_peer(wrong, "7411"); }).find("expected HOST or HOST:PORT"),
              std::string::npos)
        << wrong;
  }
  for (const char* wrong : {"", "box", "65536", "-1", "::1", "box:", ":80", "[::1]"}) {
    EXPECT_NE(what_of([&] { parse_listening(wrong); }).find("expected PORT or ADDRESS:PORT"),
              std::string::npos)
        << wrong;
  }
}

TEST(PeerListener, tells_whether_other_machines_reach_it) {
  EXPECT_TRUE(PeerListener(parse_listening("0")).is_loopback());
  EXPECT_FALSE(PeerListener(parse_listening("0.0.0.0:0")).is_loopback());
  const PeerListener first(parse_listening("0"));
  EXPECT_NE(first.address().port, "0");
  EXPECT_EQ(what_of([&] { PeerListener second(first.address()); }),
            first.address().text() + ": cannot listen: Address already in use");
}

}  // namespace
}  // namespace dsv4
