#include "cli/plan_link.h"

#include "bench/link_bench.h"
#include "cli/bench_report.h"

#include <cstdio>

#include <fmt/core.h>

namespace dsv4::cli {
namespace {

std::string rate_text(double rate) {
  return rate > 0 ? fmt::format("{:.3g} GB/s", rate * 1e-9) : "rate not known";
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
  Peer peer = listener.accept({});
  const LinkService service = serve_link(peer);
  fmt::print("{}: received {:.2f} GB, sent {:.2f} GB\n", peer.name(),
             static_cast<double>(service.received) * 1e-9,
             static_cast<double>(service.sent) * 1e-9);
}

void print_links(const Machine& machine) {
  for (const SystemLink& link : machine.links) {
    const bool is_pcie = link.kind == LinkKind::kPcie;
    fmt::print("link    {} of {}, {}{}\n", is_pcie ? "PCIe" : "network", link.name,
               rate_text(link.rate),
               link.most > 0 ? fmt::format(", at most {}", rate_text(link.most)) : "");
  }
  if (!machine.cluster_link) return;
  const ClusterLink& link = *machine.cluster_link;
  fmt::print(
      "link    to {}, {} (spread {:.0f}%), from there {} ({:.0f}%), round trip {:.1f} us "
      "({:.0f}%), measured on {}\n",
      link.peer, rate_text(link.send), link.send_spread * 100, rate_text(link.receive),
      link.receive_spread * 100, link.round_trip_s * 1e6, link.round_trip_spread * 100,
      link.date.empty() ? "an unknown day" : link.date);
}

}  // namespace dsv4::cli
