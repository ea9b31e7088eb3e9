// For tests: connections over memory in place of sockets, with a clock and an I/O thread that the
// test turns by hand.
#pragma once

#include "base/check.h"
#include "server/http_connection.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <deque>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace dsv4 {

// The peer's side of a stream. Nothing moves by itself: see MemoryServer::run.
struct MemoryPeer {
  std::string to_server;
  bool ended = false;                                     // no more will be sent
  bool broken = false;                                    // the stream fails in both directions
  size_t read_size = std::numeric_limits<size_t>::max();  // bytes that the server gets at once
  size_t willing = std::numeric_limits<size_t>::max();    // bytes that the peer takes from now on

  std::string received;
  bool server_ended = false;
  bool closed = false;

  // What the server waits for.
  std::span<char> read_into;
  Transport::Done read_done;
  std::string_view writing;
  Transport::Done write_done;
};

class MemoryTransport final : public Transport {
 public:
  using Post = std::function<void(std::function<void()>)>;

  MemoryTransport(std::shared_ptr<MemoryPeer> peer, Post post)
      : peer_(std::move(peer)), post_(std::move(post)) {}

  void open(Done done) override {
    post_([done = std::move(done)] { done(0); });
  }
  void read(std::span<char> into, Done done) override {
    CHECK(peer_->read_done == nullptr);
    peer_->read_into = into;
    peer_->read_done = std::move(done);
  }
  void write(std::string_view bytes, Done done) override {
    CHECK(peer_->write_done == nullptr && !bytes.empty());
    peer_->writing = bytes;
    peer_->write_done = std::move(done);
  }
  void end_writing() override { peer_->server_ended = true; }
  void close() override { peer_->closed = true; }

 private:
  std::shared_ptr<MemoryPeer> peer_;
  Post post_;
};

class MemoryServer {
 public:
  MemoryServer(HttpOptions options,
               std::function<void(HttpRequest, std::shared_ptr<Responder>)> handler)
      : shared_(std::make_shared<HttpShared>(std::move(options), std::move(handler))) {
    shared_->post = [this](std::function<void()> fn) { posted_.push_back(std::move(fn)); };
    shared_->now = [this] { return now_; };
    shared_->closed = [this](Connection& connection) { connections_.erase(&connection); };
  }
  ~MemoryServer() {
    for (const auto& connection : all()) connection->cut_off(CutReason::kDrain);
    run();
  }
  MemoryServer(const MemoryServer&) = delete;
  MemoryServer& operator=(const MemoryServer&) = delete;

  std::shared_ptr<MemoryPeer> connect() {
    auto peer = std::make_shared<MemoryPeer>();
    peers_.push_back(peer);
    const auto connection = std::make_shared<Connection>(
        std::make_unique<MemoryTransport>(
            peer, [this](std::function<void()> fn) { posted_.push_back(std::move(fn)); }),
        shared_, "192.0.2.1");
    connections_[connection.get()] = connection;
    connection->start();
    return peer;
  }

  // Until nothing moves any more.
  void run() {
    for (bool moved = true; moved;) {
      moved = !posted_.empty();
      if (moved) {
        const auto fn = std::move(posted_.front());
        posted_.pop_front();
        fn();
      }
      for (size_t i = 0; i < peers_.size(); ++i) moved |= move(*std::shared_ptr(peers_[i]));
    }
  }

  void pass(std::chrono::milliseconds time) {
    now_ += time;
    for (const auto& connection : all()) connection->tick(now_);
    run();
  }

  void drain() {
    shared_->draining.store(true);
    for (const auto& connection : all()) connection->drain();
    run();
  }

  HttpCounters counters() const { return shared_->tally.snapshot(); }

 private:
  std::vector<std::shared_ptr<Connection>> all() const {
    std::vector<std::shared_ptr<Connection>> list;
    for (const auto& [key, connection] : connections_) list.push_back(connection);
    return list;
  }

  static bool move(MemoryPeer& peer) {
    const bool fails = peer.closed || peer.broken;
    if (peer.read_done && (fails || !peer.to_server.empty() || peer.ended)) {
      const size_t n = std::min(
          {peer.read_into.size(), peer.to_server.size(), std::max<size_t>(1, peer.read_size)});
      if (!fails) std::memcpy(peer.read_into.data(), peer.to_server.data(), n);
      if (!fails) peer.to_server.erase(0, n);
      std::exchange(peer.read_done,
                    nullptr)(fails || n == 0 ? std::nullopt : std::optional<size_t>(n));
      return true;
    }
    if (peer.write_done && (fails || peer.willing > 0)) {
      const size_t n = std::min(peer.writing.size(), peer.willing);
      if (!fails) peer.received += peer.writing.substr(0, n);
      if (!fails) peer.willing -= n;
      std::exchange(peer.write_done, nullptr)(fails ? std::nullopt : std::optional<size_t>(n));
      return true;
    }
    return false;
  }

  HttpClock::time_point now_ = HttpClock::time_point(std::chrono::hours(1));
  std::deque<std::function<void()>> posted_;
  std::vector<std::shared_ptr<MemoryPeer>> peers_;
  std::shared_ptr<HttpShared> shared_;
  std::unordered_map<Connection*, std::shared_ptr<Connection>> connections_;
};

}  // namespace dsv4
