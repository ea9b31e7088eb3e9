#include "cache/disk_format.h"

#include "base/check.h"
#include "base/error.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include <fmt/core.h>
#include <xxhash.h>

namespace dsv4 {
namespace {

constexpr char kMagic[8] = {'D', 'S', 'V', '4', 'P', 'F', 'X', '\0'};
constexpr uint32_t kVersion = 1;
constexpr int64_t kBlockBytes = int64_t{1} << 20;
constexpr int64_t kChecksumBytes = 8;
constexpr int64_t kTokenBytes = sizeof(int32_t);

// As it lies in the file.
struct RawHeader {
  char magic[8];
  uint32_t version;
  uint32_t kind;
  uint64_t fingerprint;
  uint32_t storage;
  uint32_t checkpoint_kind;
  uint64_t salt;
  int64_t begin;
  int64_t end;
  int64_t oldest;
  TokenHash hash;
  TokenHash parent;
  TokenHash parent_digest;
  TokenHash digest;
  uint64_t reserved;
  uint64_t checksum;  // of all before
};
static_assert(sizeof(RawHeader) == kDiskHeaderBytes);

int64_t n_blocks(int64_t body_bytes) { return (body_bytes + kBlockBytes - 1) / kBlockBytes; }

// Tokens of its own: a checkpoint has all of them.
int64_t first_token(const DiskHeader& header) {
  return header.kind == DiskFileKind::kCheckpoint ? 0 : header.begin;
}

int64_t entry_bytes(const StateLayout& layout, int64_t begin, int64_t end) {
  int64_t bytes = 0;
  for (const auto& [ratio, row_bytes] : table_layouts(layout)) {
    bytes += (end / ratio - begin / ratio) * row_bytes;
  }
  return bytes;
}

// Tokens, entries by table, rings.
int64_t body_bytes(const StateLayout& layout, const DiskHeader& header) {
  const bool whole = header.kind == DiskFileKind::kCheckpoint;
  return (header.end - first_token(header)) * kTokenBytes +
         entry_bytes(layout, header.begin, header.end) +
         (whole ? ring_bytes(layout, header.end, header.oldest) : 0);
}

// Calls visit(entry of the checkpoint, bytes) for runs of the file's entries in its order.
template <typename CheckpointType>
void visit_entries(const DiskHeader& header, CheckpointType& checkpoint, const auto& visit) {
  for (int64_t t = 0; t < checkpoint.n_tables(); ++t) {
    const int64_t ratio = checkpoint.ratio(t);
    for_page_runs(header.begin / ratio, header.end / ratio, [&](int64_t i, int64_t n) {
      visit(checkpoint.entry(t, i), static_cast<size_t>(n * checkpoint.row_bytes(t)));
    });
  }
}

uint64_t checksum_of(std::span<const std::byte> bytes) {
  return XXH3_64bits(bytes.data(), bytes.size());
}

// Calls visit(block, its checksum in the file) for the blocks of a body.
template <typename Byte>
void visit_blocks(std::span<const std::byte> body, std::span<Byte> checksums, const auto& visit) {
  for (size_t offset = 0, i = 0; offset < body.size(); offset += kBlockBytes, ++i) {
    const size_t n = std::min<size_t>(kBlockBytes, body.size() - offset);
    visit(body.subspan(offset, n), checksums.data() + i * kChecksumBytes);
  }
}

TokenHash digest_of(std::span<const std::byte> checksums) {
  const XXH128_hash_t hash = XXH3_128bits(checksums.data(), checksums.size());
  return {hash.low64, hash.high64};
}

void write_header(const DiskHeader& header, std::byte* out) {
  RawHeader raw = {};
  std::memcpy(raw.magic, kMagic, sizeof(kMagic));
  raw.version = kVersion;
  raw.kind = static_cast<uint32_t>(header.kind);
  raw.fingerprint = header.fingerprint;
  raw.storage = header.storage;
  raw.checkpoint_kind = static_cast<uint32_t>(header.checkpoint_kind);
  raw.salt = header.salt;
  raw.begin = header.begin;
  raw.end = header.end;
  raw.oldest = header.oldest;
  raw.hash = header.hash;
  raw.parent = header.parent;
  raw.parent_digest = header.parent_digest;
  raw.digest = header.digest;
  std::memcpy(out, &raw, sizeof(raw));
  raw.checksum = checksum_of({out, sizeof(raw) - sizeof(raw.checksum)});
  std::memcpy(out, &raw, sizeof(raw));
}

// Whether some layout has files with these fields.
bool is_possible(const RawHeader& raw) {
  if (raw.begin < 0 || raw.end <= 0 || raw.begin > raw.end || raw.oldest < 0 ||
      raw.oldest > raw.end || raw.reserved != 0) {
    return false;
  }
  if (raw.kind == static_cast<uint32_t>(DiskFileKind::kCheckpoint)) {
    return raw.checkpoint_kind <= static_cast<uint32_t>(CheckpointKind::kEnd);
  }
  return raw.begin < raw.end && raw.oldest == raw.end && raw.checkpoint_kind == 0;
}

}  // namespace

int64_t whole_segment_tokens(const StateLayout& layout, int64_t wanted) {
  int64_t unit = 1;
  for (const TableLayout& table : table_layouts(layout)) unit = std::lcm(unit, table.ratio);
  return std::max<int64_t>(1, (wanted + unit - 1) / unit) * unit;
}

int64_t disk_file_bytes(const StateLayout& layout, const DiskHeader& header) {
  const int64_t body = body_bytes(layout, header);
  return kDiskHeaderBytes + body + n_blocks(body) * kChecksumBytes;
}

std::vector<std::byte> encode_disk_file(const StateLayout& layout, DiskHeader& header,
                                        std::span<const int32_t> tokens,
                                        const StateCheckpoint& checkpoint) {
  std::vector<std::byte> bytes(static_cast<size_t>(disk_file_bytes(layout, header)));
  std::byte* out = bytes.data() + kDiskHeaderBytes;
  const auto copy = [&](const void* rows, size_t n) {
    std::memcpy(out, rows, n);
    out += n;
  };
  const auto first = static_cast<size_t>(first_token(header));
  copy(tokens.data() + first, (static_cast<size_t>(header.end) - first) * kTokenBytes);
  visit_entries(header, checkpoint, copy);
  if (header.kind == DiskFileKind::kCheckpoint) {
    copy(checkpoint.ring_rows().data(), checkpoint.ring_rows().size());
  }
  const std::span<std::byte> checksums(out, bytes.data() + bytes.size());
  visit_blocks({bytes.data() + kDiskHeaderBytes, out}, checksums,
               [](std::span<const std::byte> block, std::byte* place) {
                 const uint64_t checksum = checksum_of(block);
                 std::memcpy(place, &checksum, sizeof(checksum));
               });
  header.digest = digest_of(checksums);
  write_header(header, bytes.data());
  return bytes;
}

DiskHeader decode_disk_header(const StateLayout& layout, std::span<const std::byte> bytes,
                              const std::string& where) {
  const auto refuse = [&](ErrorCode code, const std::string& message) {
    throw Error(code, where, message);
  };
  RawHeader raw;
  if (bytes.size() < sizeof(raw)) {
    refuse(ErrorCode::kInvalidInput,
           fmt::format("a file of the cache has at least {} bytes, found {}", sizeof(raw),
                       bytes.size()));
  }
  std::memcpy(&raw, bytes.data(), sizeof(raw));
  if (std::memcmp(raw.magic, kMagic, sizeof(kMagic)) != 0) {
    refuse(ErrorCode::kInvalidInput, "byte 0: not a file of the cache");
  }
  if (raw.version != kVersion) {
    refuse(ErrorCode::kUnsupported,
           fmt::format("byte 8: version {}, this program reads {}", raw.version, kVersion));
  }
  if (raw.checksum != checksum_of(bytes.first(sizeof(raw) - sizeof(raw.checksum)))) {
    refuse(ErrorCode::kInvalidInput, "byte 136: the checksum of the header does not match");
  }
  if (raw.fingerprint != layout.fingerprint) {
    refuse(ErrorCode::kUnsupported, "byte 16: the file belongs to another model or numerics");
  }
  if (raw.storage != static_cast<uint32_t>(layout.storage)) {
    refuse(ErrorCode::kUnsupported, "byte 24: the entries are stored in another format");
  }
  if (raw.kind != static_cast<uint32_t>(DiskFileKind::kSegment) &&
      raw.kind != static_cast<uint32_t>(DiskFileKind::kCheckpoint)) {
    refuse(ErrorCode::kInvalidInput, fmt::format("byte 12: no file has kind {}", raw.kind));
  }
  if (!is_possible(raw)) {
    refuse(ErrorCode::kInvalidInput,
           fmt::format("byte 40: no file has tokens {} to {}, {}", raw.begin, raw.end, raw.oldest));
  }
  if (raw.end > layout.max_tokens || raw.end - raw.oldest > layout.rollback_tokens) {
    refuse(ErrorCode::kUnsupported,
           fmt::format("byte 48: {} tokens, of which {} can be taken back, are more than {} and {}",
                       raw.end, raw.end - raw.oldest, layout.max_tokens, layout.rollback_tokens));
  }
  return {static_cast<DiskFileKind>(raw.kind),
          static_cast<CheckpointKind>(raw.checkpoint_kind),
          raw.fingerprint,
          raw.storage,
          raw.salt,
          raw.begin,
          raw.end,
          raw.oldest,
          raw.hash,
          raw.parent,
          raw.parent_digest,
          raw.digest};
}

void check_disk_length(const StateLayout& layout, const DiskHeader& header, int64_t n_bytes,
                       const std::string& where) {
  const int64_t expected = disk_file_bytes(layout, header);
  if (n_bytes == expected) return;
  throw Error(ErrorCode::kInvalidInput, where,
              fmt::format("the file of tokens {} to {} has {} bytes, found {}", header.begin,
                          header.end, expected, n_bytes));
}

DiskHeader check_disk_file(const StateLayout& layout, std::span<const std::byte> bytes,
                           std::span<const int32_t> tokens, const std::string& where) {
  const auto refuse = [&](const std::string& message) {
    throw Error(ErrorCode::kInvalidInput, where, message);
  };
  const DiskHeader header = decode_disk_header(layout, bytes, where);
  check_disk_length(layout, header, static_cast<int64_t>(bytes.size()), where);
  const auto body =
      bytes.subspan(kDiskHeaderBytes, static_cast<size_t>(body_bytes(layout, header)));
  const auto checksums = bytes.subspan(kDiskHeaderBytes + body.size());
  visit_blocks(body, checksums, [&](std::span<const std::byte> block, const std::byte* place) {
    uint64_t checksum = 0;
    std::memcpy(&checksum, place, sizeof(checksum));
    if (checksum == checksum_of(block)) return;
    refuse(fmt::format("byte {}: the checksum of the block does not match",
                       block.data() - bytes.data()));
  });
  if (header.digest != digest_of(checksums)) refuse("byte 112: the digest does not match");
  const auto first = static_cast<size_t>(first_token(header));
  const auto end = static_cast<size_t>(header.end);
  if (end > tokens.size() ||
      std::memcmp(body.data(), tokens.data() + first, (end - first) * kTokenBytes) != 0) {
    refuse("the file is of other tokens than its name says");
  }
  return header;
}

void read_disk_rows(const DiskHeader& header, std::span<const std::byte> bytes,
                    StateCheckpoint& checkpoint) {
  const int64_t n_own_tokens = header.end - first_token(header);
  const std::byte* in = bytes.data() + kDiskHeaderBytes + n_own_tokens * kTokenBytes;
  const auto copy = [&](void* rows, size_t n) {
    std::memcpy(rows, in, n);
    in += n;
  };
  visit_entries(header, checkpoint, copy);
  if (header.kind == DiskFileKind::kSegment) return;
  copy(checkpoint.ring_rows().data(), checkpoint.ring_rows().size());
}

}  // namespace dsv4
