// A routing trace (docs/formats.md), as it is and with the checksums repaired that would stop it
// early. What is accepted has experts that the shape allows and can be replayed.
#include "base/check.h"
#include "base/error.h"
#include "formats/routing_trace.h"
#include "plan/expert_replay.h"

#include "bytes.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>

#include <xxhash.h>

namespace dsv4 {
namespace {

// Where docs/formats.md has them.
constexpr size_t kLayersAt = 12;
constexpr size_t kFixedBytes = 32;
constexpr size_t kMaxLayers = 64;  // keeps what a small input asks for small
constexpr int64_t kMaxReplayedExperts = 1 << 16;

void replay(const RoutingTrace& trace) {
  const RoutingShape& shape = trace.shape;
  size_t n_ids = 0;
  for (const RoutingTrace::Pass& pass : trace.passes) {
    CHECK(pass.first_id == n_ids);
    n_ids += static_cast<size_t>(pass.n_tokens * shape.n_layers * shape.n_active);
  }
  CHECK(trace.ids.size() == n_ids);
  for (const uint16_t id : trace.ids) CHECK(id < shape.n_experts);
  if (shape.n_layers * shape.n_experts > kMaxReplayedExperts) return;
  const ExpertReplay replay = replay_experts(trace, shape.expert_bytes[0]);
  for (const ReplayedPass& pass : replay.passes) {  // a layer runs an expert at least
    CHECK(pass.n_hits + pass.n_misses >= shape.n_layers);
    CHECK(pass.n_hits + pass.n_misses <= pass.n_tokens * shape.n_layers * shape.n_active);
    CHECK(pass.n_waits <= std::min(shape.n_layers, pass.n_misses));
  }
  CHECK(since_pass(replay, 0).stats == replay.stats);  // sums of the passes
}

void read(const std::string& bytes) {
  try {
    replay(parse_routing_trace(std::as_bytes(std::span(bytes)), "input"));
  } catch (const Error&) {
    // What an input may cause.
  }
}

// The input with few layers, blocks that end within it, and the right checksums.
std::string repaired(std::string bytes) {
  if (bytes.size() < kFixedBytes) return bytes;
  std::memcpy(bytes.data(), "DSV4RT\0\0\1\0\0\0", kLayersAt);
  uint32_t n_layers = 0;
  std::memcpy(&n_layers, bytes.data() + kLayersAt, sizeof(n_layers));
  n_layers %= kMaxLayers;
  put(bytes, kLayersAt, n_layers);
  size_t at = kFixedBytes + n_layers * sizeof(uint64_t);
  if (bytes.size() < at + sizeof(uint64_t)) return bytes;
  put(bytes, at, XXH3_64bits(bytes.data(), at));
  at += sizeof(uint64_t);
  while (bytes.size() - at >= 24) {
    uint32_t claimed = 0;
    std::memcpy(&claimed, bytes.data() + at, sizeof(claimed));
    const auto n = static_cast<uint32_t>(claimed % (bytes.size() - at - 24 + 1));
    put(bytes, at, n);
    put(bytes, at + 8, XXH3_64bits(bytes.data() + at, 8));
    at += 16;
    put(bytes, at + n, XXH3_64bits(bytes.data() + at, n));
    at += n + sizeof(uint64_t);
  }
  return bytes;
}

}  // namespace
}  // namespace dsv4

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string bytes(reinterpret_cast<const char*>(data), size);
  dsv4::read(bytes);
  dsv4::read(dsv4::repaired(bytes));
  return 0;
}
