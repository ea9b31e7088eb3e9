#include "bench/link_bench.h"

#include "base/error.h"
#include "base/rng.h"
#include "bench/timing.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/core.h>

namespace dsv4 {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::string_view kMagic = "dsv4link";
constexpr uint32_t kVersion = 1;
constexpr uint32_t kFirstBlock = 16 << 10;
constexpr uint32_t kMaxBlock = 64 << 20;
constexpr size_t kBufferBytes = 256 << 10;  // of a block at a time

// The first bytes each way, little-endian as all of them.
struct Hello {
  char magic[8];
  uint32_t version;
  uint32_t unused;
};
static_assert(sizeof(Hello) == 16);

enum class Command : uint32_t {
  kEcho = 1,  // come back
  kTake = 2,  // a block follows; come back when it is here
  kGive = 3,  // come back with a block behind
  kEnd = 4,
};

// What the measuring end asks; the other sends the same bytes back, but for kEnd.
struct Request {
  Command command;
  uint32_t block_bytes;
  uint64_t number;  // of the request, so that an answer to another one shows

  bool operator==(const Request&) const = default;
};
static_assert(sizeof(Request) == 16);

// Of one end of the connection.
class LinkEnd {
 public:
  explicit LinkEnd(Peer& peer) : peer_(peer), outgoing_(kBufferBytes), incoming_(kBufferBytes) {
    // Some links compress what they carry.
    for (size_t i = 0; i < kBufferBytes; i += sizeof(uint64_t)) {
      const uint64_t bits = random_bits(/*seed=*/0, /*stream=*/0, i);
      std::memcpy(outgoing_.data() + i, &bits, sizeof bits);
    }
  }

  template <typename T>
  void send(const T& message) {
    peer_.send(std::as_bytes(std::span(&message, 1)));
  }
  template <typename T>
  T receive() {
    T message;
    peer_.receive(std::as_writable_bytes(std::span(&message, 1)));
    return message;
  }

  void send_hello() {
    Hello hello{.version = kVersion};
    std::memcpy(hello.magic, kMagic.data(), sizeof hello.magic);
    send(hello);
  }
  // The version that the peer speaks.
  uint32_t receive_hello() {
    const auto hello = receive<Hello>();
    if (std::string_view(hello.magic, sizeof hello.magic) != kMagic) {
      fail("is no end of a measurement of dsv4: its first bytes are others");
    }
    return hello.version;
  }
  void check_version(uint32_t version) const {
    if (version == kVersion) return;
    fail(fmt::format("speaks version {} of this protocol, this program version {}", version,
                     kVersion));
  }

  void send_block(size_t bytes) {
    for (size_t left = bytes; left > 0; left -= std::min(left, kBufferBytes)) {
      peer_.send(std::span(outgoing_).first(std::min(left, kBufferBytes)));
    }
  }
  void receive_block(size_t bytes) {
    for (size_t left = bytes; left > 0; left -= std::min(left, kBufferBytes)) {
      peer_.receive(std::span(incoming_).first(std::min(left, kBufferBytes)));
    }
  }

  [[noreturn]] void fail(const std::string& message) const {
    throw Error(ErrorCode::kInvalidInput, peer_.name(), message);
  }

 private:
  Peer& peer_;
  std::vector<std::byte> outgoing_;
  std::vector<std::byte> incoming_;
};

// The end that measures.
class LinkMeter {
 public:
  LinkMeter(Peer& peer, const LinkPlan& plan) : end_(peer), plan_(plan) {}

  void greet() {
    end_.send_hello();
    end_.check_version(end_.receive_hello());
  }

  Median round_trip() {
    constexpr int kWarmUp = 20;
    for (int i = 0; i < kWarmUp; ++i) seconds_of(Command::kEcho, 0);
    std::vector<double> times;
    const Clock::time_point start = Clock::now();
    do {
      times.push_back(seconds_of(Command::kEcho, 0));
    } while (std::ssize(times) < plan_.n_messages && seconds_since(start) < plan_.message_s);
    return median(std::move(times));
  }

  // Bytes per second. Blocks take long beside the round trip that each has.
  Median rate(Command command, double round_trip_s) {
    const double least_s = std::max(plan_.block_s, 20 * round_trip_s);
    uint32_t bytes = kFirstBlock;
    while (seconds_of(command, bytes) < least_s && bytes < kMaxBlock) bytes *= 2;
    std::vector<double> rates;
    const Clock::time_point start = Clock::now();
    do {
      rates.push_back(bytes / seconds_of(command, bytes));
    } while (seconds_since(start) < plan_.seconds);
    return median(std::move(rates));
  }

  void end() { end_.send(Request{.command = Command::kEnd, .block_bytes = 0, .number = 0}); }

 private:
  double seconds_of(Command command, uint32_t block_bytes) {
    const Request request{.command = command, .block_bytes = block_bytes, .number = ++number_};
    const Clock::time_point start = Clock::now();
    end_.send(request);
    if (command == Command::kTake) end_.send_block(block_bytes);
    if (end_.receive<Request>() != request) end_.fail("has answered something else than was asked");
    if (command == Command::kGive) end_.receive_block(block_bytes);
    constexpr double kTick = 1e-9;  // so that no time is zero
    return std::max(kTick, seconds_since(start));
  }

  LinkEnd end_;
  const LinkPlan& plan_;
  uint64_t number_ = 0;
};

}  // namespace

ClusterLink measure_link(const PeerAddress& address, const LinkPlan& plan) {
  Peer peer = Peer::connect(address, plan.limits);
  LinkMeter meter(peer, plan);
  meter.greet();
  const Median round_trip = meter.round_trip();
  const Median send = meter.rate(Command::kTake, round_trip.value);
  const Median receive = meter.rate(Command::kGive, round_trip.value);
  meter.end();
  return {.peer = peer.name(),
          .send = send.value,
          .send_spread = send.spread,
          .receive = receive.value,
          .receive_spread = receive.spread,
          .round_trip_s = round_trip.value,
          .round_trip_spread = round_trip.spread};
}

void greet_link(Peer& peer) {
  LinkEnd end(peer);
  const uint32_t version = end.receive_hello();
  end.send_hello();  // of another version too, so that both ends can tell
  end.check_version(version);
}

LinkService serve_link(Peer& peer) {
  LinkEnd end(peer);
  LinkService service;
  for (;;) {
    const auto request = end.receive<Request>();
    if (request.block_bytes > kMaxBlock) {
      end.fail(fmt::format("asks for a block of {} bytes, at most {} are allowed",
                           request.block_bytes, kMaxBlock));
    }
    switch (request.command) {
      case Command::kEcho:
        end.send(request);
        break;
      case Command::kTake:
        end.receive_block(request.block_bytes);
        service.received += request.block_bytes;
        end.send(request);
        break;
      case Command::kGive:
        end.send(request);
        end.send_block(request.block_bytes);
        service.sent += request.block_bytes;
        break;
      case Command::kEnd:
        return service;
      default:
        end.fail(
            fmt::format("asks for the unknown command {}", static_cast<uint32_t>(request.command)));
    }
  }
}

}  // namespace dsv4
