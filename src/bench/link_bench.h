// The link to another machine: the program measures from one end what the program at the other end
// answers and takes. The peer is not trusted, and nothing is encrypted.
#pragma once

#include "bench/peer.h"
#include "plan/machine.h"

#include <cstdint>
#include <string>

namespace dsv4 {

inline constexpr const char* kLinkPort = "7411";

struct LinkPlan {
  int n_messages = 1000;  // small ones that are answered, or as many as take message_s
  double message_s = 1;
  double block_s = 0.05;  // blocks grow until one takes so long
  double seconds = 2;     // of blocks, in each direction
  PeerLimits limits;
};

// The date is left empty. Throws Error(kIo, kNotFound), and kInvalidInput for a peer that does not
// speak this protocol; `where` is host and port.
ClusterLink measure_link(const PeerAddress& address, const LinkPlan& plan);

struct LinkService {
  int64_t received = 0;  // bytes of blocks
  int64_t sent = 0;
};

// The other end: first the greeting, which tells a stranger from a peer, then what the peer asks
// for until it says that it is done. Both throw as measure_link does.
void greet_link(Peer& peer);
LinkService serve_link(Peer& peer);

}  // namespace dsv4
