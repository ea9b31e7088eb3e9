// A file of replies (docs/formats.md), as it is and with the fields repaired that would stop it
// early. What is accepted is written again as the same bytes.
#include "base/check.h"
#include "bytes.h"
#include "server/replay_file.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include <xxhash.h>

namespace dsv4 {
namespace {

// Where docs/formats.md has them.
constexpr size_t kStartBytes = 32;
constexpr size_t kModelAt = 16;
constexpr size_t kRecordStartBytes = 16;
constexpr size_t kChecksumAt = 8;

void read(const std::string& bytes) {
  uint64_t model = 0;
  if (bytes.size() >= kStartBytes) std::memcpy(&model, bytes.data() + kModelAt, sizeof(model));
  const ReplayFileContent content = parse_replay_file(std::as_bytes(std::span(bytes)), model);
  CHECK(content.n_read_bytes <= bytes.size());
  if (content.n_read_bytes == 0) return;
  CHECK(content.problem.empty() == (content.n_read_bytes == bytes.size()));
  std::string again = encode_replay_start(model, content.seed);
  for (const ReplayRecord& record : content.records) again += encode_replay_record(record);
  CHECK(again == bytes.substr(0, content.n_read_bytes));
}

// The input with a good start, and records that end within it and have the right checksums.
std::string repaired(std::string bytes) {
  if (bytes.size() < kStartBytes) return bytes;
  const std::string start = encode_replay_start(0, 0);
  std::copy_n(start.begin(), kModelAt, bytes.begin());
  size_t at = kStartBytes;
  while (bytes.size() - at >= kRecordStartBytes) {
    const size_t room = bytes.size() - at - kRecordStartBytes;
    uint32_t claimed = 0;
    std::memcpy(&claimed, bytes.data() + at, sizeof(claimed));
    const auto n = static_cast<uint32_t>(claimed % (room + 1));
    put(bytes, at, n);
    put(bytes, at + sizeof(n), uint32_t{0});
    put(bytes, at + kChecksumAt, XXH3_64bits(bytes.data() + at + kRecordStartBytes, n));
    at += kRecordStartBytes + n;
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
