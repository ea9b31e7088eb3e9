// A file of the disk tier, as it is and with the fields repaired that would stop it early. What is
// accepted is a state that can go on, and gives the same file again.
#include "base/check.h"
#include "base/error.h"
#include "bytes.h"
#include "cache/disk_format.h"
#include "cache/sequence_testing.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <vector>

#include <xxhash.h>

namespace dsv4 {
namespace {

using Bytes = std::vector<std::byte>;

// Where docs/formats.md has them. Inputs are shorter than a block.
constexpr size_t kKindAt = 12;
constexpr size_t kDigestAt = 112;
constexpr size_t kReservedAt = 128;
constexpr size_t kHeaderChecksumAt = 136;
constexpr size_t kChecksumBytes = 8;

// The tokens that a file is of, for a reader who asks for just these.
std::vector<int32_t> tokens_of(const DiskHeader& header, std::span<const std::byte> bytes) {
  std::vector<int32_t> tokens(static_cast<size_t>(header.end));
  const bool whole = header.kind == DiskFileKind::kCheckpoint;
  const auto first = static_cast<size_t>(whole ? 0 : header.begin);
  const auto there = bytes.subspan(static_cast<size_t>(kDiskHeaderBytes));
  const size_t n = std::min((tokens.size() - first) * sizeof(int32_t), there.size());
  std::memcpy(tokens.data() + first, there.data(), n);
  return tokens;
}

void read(const StateLayout& layout, std::span<const std::byte> bytes) {
  try {
    const DiskHeader claimed = decode_disk_header(layout, bytes, "input");
    const std::vector<int32_t> tokens = tokens_of(claimed, bytes);
    DiskHeader header = check_disk_file(layout, bytes, tokens, "input");
    CHECK(header == claimed);
    const auto pool = std::make_shared<PagePool>();
    StateCheckpoint checkpoint(layout, pool, header.end, header.oldest);
    std::ranges::fill(checkpoint.ring_rows(), std::byte{0});
    read_disk_rows(header, bytes, checkpoint);
    CHECK(std::ranges::equal(encode_disk_file(layout, header, tokens, checkpoint), bytes));
    CHECK(header == claimed);
    if (header.kind == DiskFileKind::kSegment || header.begin > 0) return;
    SequenceState state(layout, pool);
    state.restore(checkpoint);
    if (state.n_tokens() < layout.max_tokens) state.reserve(state.n_tokens() + 1);
  } catch (const Error&) {
    // What an input may cause.
  }
}

// The input with the start, checksums and digest of a good file.
Bytes repaired(const StateLayout& layout, std::span<const std::byte> input) {
  Bytes bytes(input.begin(), input.end());
  if (bytes.size() < kDiskHeaderBytes + kChecksumBytes) return bytes;
  uint32_t kind = 0;
  std::memcpy(&kind, bytes.data() + kKindAt, sizeof(kind));
  const uint32_t start[] = {1, 1 + kind % 2};
  const char magic[8] = "DSV4PFX";
  put(bytes, 0, magic);
  put(bytes, 8, start);
  put(bytes, 16, layout.fingerprint);
  put(bytes, 24, static_cast<uint32_t>(layout.storage));
  put(bytes, kReservedAt, uint64_t{0});
  const size_t body_end = bytes.size() - kChecksumBytes;
  put(bytes, body_end,
      XXH3_64bits(bytes.data() + kDiskHeaderBytes, body_end - size_t{kDiskHeaderBytes}));
  const XXH128_hash_t digest = XXH3_128bits(bytes.data() + body_end, kChecksumBytes);
  put(bytes, kDigestAt, digest);
  put(bytes, kHeaderChecksumAt, XXH3_64bits(bytes.data(), kHeaderChecksumAt));
  return bytes;
}

void fuzz(std::span<const std::byte> input) {
  const StateLayout layout = small_layout(6);
  read(layout, input);
  read(layout, repaired(layout, input));
}

}  // namespace
}  // namespace dsv4

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  dsv4::fuzz(std::as_bytes(std::span(data, size)));
  return 0;
}
