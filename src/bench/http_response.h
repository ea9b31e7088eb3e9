// The bytes of an HTTP/1.1 response and of the event stream in its body, however they are cut.
#pragma once

#include "bench/peer.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace dsv4 {

// Where to send requests: what "http://host:port/prefix" means.
struct HttpAddress : PeerAddress {
  std::string prefix;  // "" or "/prefix", without a slash at its end
};

// Throws Error(kInvalidInput, or kUnsupported for https).
HttpAddress parse_http_address(std::string_view url);

// One response. Used by one thread.
class HttpResponse {
 public:
  // Takes what has arrived and adds the bytes of the body to `body`. Bytes after the response are
  // an error, because nothing was asked for. Throws Error(kInvalidInput) with the offset in the
  // response.
  void take(std::string_view bytes, std::string& body);

  // The peer has closed the connection. Throws Error(kInvalidInput) where that cuts the response.
  void close();

  bool complete() const { return state_ == State::kDone; }
  // 0 until the head is there.
  int status() const { return status_; }
  // Of the last header of that name, in small letters; "" without one.
  std::string_view header(std::string_view name) const;

 private:
  enum class State { kHead, kBody, kUntilClose, kChunkSize, kChunk, kChunkEnd, kTrailer, kDone };

  void take_line(std::string_view line);
  void take_status_line(std::string_view line);
  void take_header(std::string_view line);
  void end_head();
  void take_chunk_size(std::string_view line);
  [[noreturn]] void fail(const std::string& message) const;

  State state_ = State::kHead;
  int status_ = 0;
  std::vector<std::pair<std::string, std::string>> headers_;
  std::string line_;         // of the head, so far
  uint64_t head_bytes_ = 0;  // of lines, against endless heads
  uint64_t left_ = 0;        // of the body or chunk
  uint64_t offset_ = 0;      // bytes taken
};

// The data of server-sent events. Used by one thread.
class EventReader {
 public:
  // Takes text of the stream and adds the data of the events that are complete with it. Throws
  // Error(kOutOfRange) for an event of more than kMaxEventBytes.
  void take(std::string_view text, std::vector<std::string>& events);

  static constexpr size_t kMaxEventBytes = size_t{16} << 20;

 private:
  void end_line(std::vector<std::string>& events);

  std::string line_;
  std::optional<std::string> data_;
  bool after_return_ = false;  // a line feed that follows belongs to the line's end
};

}  // namespace dsv4
