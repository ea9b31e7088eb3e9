// One peer's stream of bytes, without a word about sockets: what a connection needs of it.
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <span>
#include <string_view>

namespace dsv4 {

// Used on the I/O thread. At most one read and one write are outstanding; their memory must stay
// until they are done. Callbacks run on the I/O thread, never inside the call that asked for them.
class Transport {
 public:
  // Bytes moved, at least one; nothing when the stream has ended, failed or was closed.
  using Done = std::function<void(std::optional<size_t>)>;

  virtual ~Transport() = default;

  // Before anything else: makes the stream ready (TLS). 0 when it is.
  virtual void open(Done done) = 0;
  virtual void read(std::span<char> into, Done done) = 0;
  // May take a part of the bytes.
  virtual void write(std::string_view bytes, Done done) = 0;
  // Tells the peer that nothing more will come; reading goes on.
  virtual void end_writing() = 0;
  // Ends what is outstanding, with nothing.
  virtual void close() = 0;
};

}  // namespace dsv4
