// A snapshot of a sequence, as it is and with the fields repaired that would stop it early. What is
// restored gives the same snapshot again and can go on.
#include "base/check.h"
#include "base/error.h"
#include "cache/sequence_testing.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include <xxhash.h>

namespace dsv4 {
namespace {

constexpr size_t kFixedBytes = 24;  // magic, version, reserved, fingerprint
constexpr size_t kChecksumBytes = 8;

using Bytes = std::vector<std::byte>;

void restore(std::span<const std::byte> bytes) {
  const StateLayout layout = small_layout(6);
  try {
    SequenceState state = SequenceState::restore(layout, bytes, "input");
    CHECK(std::ranges::equal(state.snapshot(), bytes));
    state.rollback(state.max_rollback());
    const Bytes before = state.snapshot();
    CHECK(SequenceState::restore(layout, before, "again").snapshot() == before);
    if (state.n_tokens() < layout.max_tokens) state.reserve(state.n_tokens() + 1);
  } catch (const Error&) {
    // What an input may cause.
  }
}

void fuzz(std::span<const std::byte> input) {
  restore(input);
  Bytes repaired(input.begin(), input.end());
  const Bytes good = SequenceState(small_layout(6)).snapshot();
  std::copy_n(good.begin(), std::min(kFixedBytes, repaired.size()), repaired.begin());
  if (repaired.size() >= good.size()) {
    const size_t body = repaired.size() - kChecksumBytes;
    const uint64_t checksum = XXH3_64bits(repaired.data(), body);
    std::memcpy(repaired.data() + body, &checksum, sizeof(checksum));
  }
  restore(repaired);
}

}  // namespace
}  // namespace dsv4

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  dsv4::fuzz(std::as_bytes(std::span(data, size)));
  return 0;
}
