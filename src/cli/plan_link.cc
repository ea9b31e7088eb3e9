#include "cli/plan_link.h"

#include "base/error.h"
#include "bench/link_bench.h"
#include "cli/bench_report.h"

#include <cstdio>

#include <fmt/core.h>

namespace dsv4::cli {
namespace {

std::string link_rate_text(double rate) {
  return rate > 0 ? fmt::format("{:.3g} GB/s", rate * 1e-9) : "rate not known";
}

// Machines have programs that connect to every port that opens; they are no reason to end.
Peer first_peer(const PeerListener& listener) {
  for (;;) {
    Peer peer = listener.accept({});
    try {
      greet_link(peer);
      return peer;
    } catch (const Error& error) {
      fmt::print(stderr, "dsv4: warning: {}; waiting for another\n", error.what());
    }
  }
}

}  // namespace

ClusterLink measure_link_to(const std::string& address) {
  const PeerAddress peer = parse_peer(address, kLinkPort);
  fmt::print(stderr, "dsv4: measuring the link to {}, for about five seconds\n", peer.text());
  ClusterLink link = measure_link(peer, {});
  link.date = today();
  return link;
}

void listen_for_link(const std::string& address) {
  const PeerListener listener(parse_listening(address));
  fmt::print(
      "listening at {}{}\n", listener.address().text(),
      listener.is_loopback() ? ", for this machine alone: give ADDRESS:PORT for others" : "");
  std::fflush(stdout);
  if (!listener.is_loopback()) {
    fmt::print(stderr,
               "dsv4: warning: whoever reaches this address may take part, and nothing is "
               "encrypted\n");
  }
  Peer peer = first_peer(listener);
  const LinkService service = serve_link(peer);
  fmt::print("{}: received {:.2f} GB, sent {:.2f} GB\n", peer.name(),
             static_cast<double>(service.received) * 1e-9,
             static_cast<double>(service.sent) * 1e-9);
}

void print_links(const Machine& machine) {
  for (const SystemLink& link : machine.links) {
    const bool is_pcie = link.kind == LinkKind::kPcie;
    fmt::print("link    {} of {}, {}{}\n", is_pcie ? "PCIe" : "network", link.name,
               link_rate_text(link.rate),
               link.most > 0 ? fmt::format(", at most {}", link_rate_text(link.most)) : "");
  }
  if (!machine.cluster_link) return;
  const ClusterLink& link = *machine.cluster_link;
  fmt::print(
      "link    to {}, {} (spread {:.0f}%), from there {} ({:.0f}%), round trip {:.1f} us "
      "({:.0f}%), measured on {}\n",
      link.peer, link_rate_text(link.send), link.send_spread * 100, link_rate_text(link.receive),
      link.receive_spread * 100, link.round_trip_s * 1e6, link.round_trip_spread * 100,
      link.date.empty() ? "an unknown day" : link.date);
}

}  // namespace dsv4::cli
