// The files of the disk tier as bytes (docs/formats.md): a header with its own checksum, then a
// body in blocks with a checksum each, whose length follows from the header.
#pragma once

#include "cache/checkpoint.h"
#include "cache/layout.h"
#include "cache/token_hash.h"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace dsv4 {

enum class DiskFileKind : uint32_t {
  kSegment = 1,     // tokens and entries of [begin, end)
  kCheckpoint = 2,  // tokens of [0, end), entries of [begin, end), ring rows
};

// Decoded.
struct DiskHeader {
  DiskFileKind kind = DiskFileKind::kSegment;
  CheckpointKind checkpoint_kind = CheckpointKind::kStride;  // that too for a segment
  uint64_t fingerprint = 0;
  uint32_t storage = 0;
  uint64_t salt = 0;
  int64_t begin = 0;
  int64_t end = 0;
  int64_t oldest = 0;       // of a checkpoint; end for a segment
  TokenHash hash;           // of the tokens [0, end), and the file's name
  TokenHash parent;         // hash of the segment that ends at begin; 0 where begin is 0
  TokenHash parent_digest;  // its digest: what this file's entries were computed after
  TokenHash digest;         // of this file's body

  bool operator==(const DiskHeader&) const = default;
};

inline constexpr int64_t kDiskHeaderBytes = 144;

// Fewest tokens of a segment, at least `wanted`, so that every layer has whole entries of it.
int64_t whole_segment_tokens(const StateLayout& layout, int64_t wanted);

// Length of the whole file.
int64_t disk_file_bytes(const StateLayout& layout, const DiskHeader& header);

// A file of the given tokens [0, header.end) with rows of `checkpoint`, which is as long or, for a
// segment, longer. Sets header.digest.
std::vector<std::byte> encode_disk_file(const StateLayout& layout, DiskHeader& header,
                                        std::span<const int32_t> tokens,
                                        const StateCheckpoint& checkpoint);

// All below throw Error naming `where` and what is wrong: kUnsupported where the file may be good
// for another version or model, kInvalidInput where it is damaged.
DiskHeader decode_disk_header(const StateLayout& layout, std::span<const std::byte> bytes,
                              const std::string& where);

// Checks that the whole file has `n_bytes`.
void check_disk_length(const StateLayout& layout, const DiskHeader& header, int64_t n_bytes,
                       const std::string& where);

// Checks a whole file: its length, every checksum, and that its tokens are the first of `tokens`.
DiskHeader check_disk_file(const StateLayout& layout, std::span<const std::byte> bytes,
                           std::span<const int32_t> tokens, const std::string& where);

// Copies the rows of a checked file to where they belong in a checkpoint of at least as many
// tokens.
void read_disk_rows(const DiskHeader& header, std::span<const std::byte> bytes,
                    StateCheckpoint& checkpoint);

}  // namespace dsv4
