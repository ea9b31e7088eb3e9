// Snapshots byte by byte: the documented layout (docs/formats.md), and damage of every kind.
#include "base/error.h"
#include "cache/sequence_testing.h"

#include <gtest/gtest.h>
#include <xxhash.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace dsv4 {
namespace {

using Bytes = std::vector<std::byte>;

constexpr size_t kHeaderBytes = 40;
constexpr size_t kChecksumBytes = 8;

template <typename T>
void put(Bytes& bytes, T value) {
  for (size_t i = 0; i < sizeof(T); ++i) {
    bytes.push_back(static_cast<std::byte>(static_cast<uint64_t>(value) >> 8 * i));
  }
}

template <typename T>
void overwrite(Bytes& bytes, size_t at, T value) {
  Bytes field;
  put(field, value);
  std::copy(field.begin(), field.end(), bytes.begin() + static_cast<ptrdiff_t>(at));
}

// Makes the checksum of a changed snapshot right again.
void sign(Bytes& bytes) {
  const size_t body = bytes.size() - kChecksumBytes;
  overwrite(bytes, body, XXH3_64bits(bytes.data(), body));
}

// Restores from an allocation of exactly the given bytes, so that the address sanitizer sees any
// read outside.
SequenceState restore(const StateLayout& layout, const Bytes& bytes) {
  const auto exact = std::make_unique<std::byte[]>(bytes.size());
  std::copy(bytes.begin(), bytes.end(), exact.get());
  return SequenceState::restore(layout, {exact.get(), bytes.size()}, "chat.snapshot");
}

void expect_refused(const StateLayout& layout, const Bytes& bytes, const std::string& message,
                    ErrorCode code = ErrorCode::kInvalidInput) {
  try {
    restore(layout, bytes);
    ADD_FAILURE() << "accepted, expected: " << message;
  } catch (const Error& error) {
    EXPECT_EQ(error.where(), "chat.snapshot");
    EXPECT_EQ(error.code(), code) << error.what();
    EXPECT_NE(std::string(error.what()).find(message), std::string::npos)
        << error.what() << ", expected: " << message;
  }
}

void expect_documented_bytes(KvStorage storage, uint32_t storage_number) {
  TestSequence sequence(small_layout(3, storage), 5);
  sequence.feed(9);
  sequence.feed(4);
  sequence.rollback(2);
  const int64_t oldest = 10;  // 13 tokens, of which 3 could be taken back
  Bytes expected;
  for (const char c : std::string("DSV4SEQ")) expected.push_back(static_cast<std::byte>(c));
  put(expected, uint8_t{0});
  put(expected, uint32_t{3});  // version
  put(expected, storage_number);
  put(expected, uint64_t{0x0123456789ABCDEF});
  put(expected, int64_t{11});
  put(expected, oldest);
  ASSERT_EQ(expected.size(), kHeaderBytes);
  sequence.visit_needed(
      oldest, [&](std::span<const std::byte> row, size_t layer, uint64_t kind, int64_t position) {
        for (size_t i = 0; i < row.size(); ++i) {
          expected.push_back(sequence.expected(layer, kind, position, i));
        }
      });
  put(expected, XXH3_64bits(expected.data(), expected.size()));
  EXPECT_EQ(sequence.state().snapshot(), expected);
}

TEST(Snapshot, has_the_documented_bytes) {
  expect_documented_bytes(KvStorage::kF32, 0);
  expect_documented_bytes(KvStorage::kBf16, 1);
  expect_documented_bytes(KvStorage::kNative, 2);
}

TEST(Snapshot, of_nothing_is_header_and_checksum) {
  const StateLayout layout = small_layout(3);
  const Bytes bytes = SequenceState(layout).snapshot();
  EXPECT_EQ(bytes.size(), kHeaderBytes + kChecksumBytes);
  EXPECT_EQ(restore(layout, bytes).n_tokens(), 0);
}

TEST(Snapshot, keeps_the_tokens_that_can_be_taken_back) {
  TestSequence sequence(small_layout(6), 2);
  sequence.feed(30);
  sequence.replace_state(restore(sequence.layout(), sequence.state().snapshot()));
  EXPECT_EQ(sequence.state().max_rollback(), 6);
  sequence.rollback(6);
  EXPECT_EQ(sequence.state().n_tokens(), 24);
}

TEST(Snapshot, can_be_restored_with_room_for_more_tokens) {
  TestSequence sequence(small_layout(3), 2);
  sequence.feed(30);
  const Bytes bytes = sequence.state().snapshot();
  StateLayout larger = small_layout(9);
  larger.max_tokens = 5000;
  SequenceState state = restore(larger, bytes);
  EXPECT_EQ(state.n_tokens(), 30);
  EXPECT_EQ(state.max_rollback(), 3);
  EXPECT_EQ(state.snapshot(), bytes);
}

TEST(Snapshot, truncation_at_every_byte_is_refused) {
  TestSequence sequence(small_layout(2), 3);
  sequence.feed(14);
  const Bytes bytes = sequence.state().snapshot();
  for (size_t size = 0; size < bytes.size(); ++size) {
    Bytes cut(bytes.begin(), bytes.begin() + static_cast<ptrdiff_t>(size));
    EXPECT_THROW(restore(sequence.layout(), cut), Error) << size;
    if (size < kHeaderBytes + kChecksumBytes) continue;
    sign(cut);  // the length is checked too
    EXPECT_THROW(restore(sequence.layout(), cut), Error) << size;
  }
  Bytes longer = bytes;
  longer.push_back(std::byte{0});
  expect_refused(sequence.layout(), longer, "has " + std::to_string(bytes.size()) + " bytes");
}

TEST(Snapshot, every_flipped_bit_is_refused) {
  TestSequence sequence(small_layout(2), 3);
  sequence.feed(14);
  const Bytes bytes = sequence.state().snapshot();
  for (size_t bit = 0; bit < 8 * bytes.size(); ++bit) {
    Bytes flipped = bytes;
    flipped[bit / 8] ^= static_cast<std::byte>(1 << bit % 8);
    EXPECT_THROW(restore(sequence.layout(), flipped), Error) << "bit " << bit;
  }
}

// Changes one field of a good snapshot of 14 tokens and makes the checksum right again.
template <typename T>
Bytes changed(size_t at, T value) {
  TestSequence sequence(small_layout(2), 3);
  sequence.feed(14);
  Bytes bytes = sequence.state().snapshot();
  overwrite(bytes, at, value);
  sign(bytes);
  return bytes;
}

TEST(Snapshot, fields_of_another_program_or_model_are_refused_by_name) {
  const StateLayout layout = small_layout(2);
  expect_refused(layout, changed(0, 'd'), "byte 0: not a snapshot");
  expect_refused(layout, changed<uint32_t>(8, 1),
                 "byte 8: snapshot version 1, this program reads 3 (1 kept all rows in float32)",
                 ErrorCode::kUnsupported);
  expect_refused(layout, changed<uint32_t>(8, 2),
                 "byte 8: snapshot version 2, this program reads 3", ErrorCode::kUnsupported);
  expect_refused(layout, changed<uint32_t>(12, 1),
                 "byte 12: entries are stored as bf16, this model keeps native");
  expect_refused(layout, changed<uint32_t>(12, 3), "byte 12: no storage has number 3");
  expect_refused(layout, changed<uint64_t>(16, 0x0123456789ABCDEE),
                 "byte 16: the snapshot belongs");
  Bytes damaged = changed<uint32_t>(8, 3);
  damaged[50] ^= std::byte{1};
  expect_refused(layout, damaged,
                 "byte " + std::to_string(damaged.size() - 8) + ": the checksum does not match");
}

TEST(Snapshot, impossible_counts_are_refused) {
  const StateLayout layout = small_layout(2);
  constexpr int64_t kMin = std::numeric_limits<int64_t>::min();
  constexpr int64_t kMax = std::numeric_limits<int64_t>::max();
  for (const int64_t n : {int64_t{-1}, kMin, kMax, int64_t{1001}, int64_t{11}, int64_t{15}}) {
    expect_refused(layout, changed(24, n), "byte 24: token counts");
  }
  for (const int64_t oldest : {int64_t{-1}, kMin, kMax, int64_t{15}, int64_t{11}, int64_t{0}}) {
    expect_refused(layout, changed(32, oldest), "byte 24: token counts");
  }
  expect_refused(layout, changed<int64_t>(24, 13), "a snapshot of 13 tokens has");
  expect_refused(layout, changed<int64_t>(32, 14), "a snapshot of 14 tokens has");
}

TEST(Snapshot, another_geometry_of_the_same_fingerprint_is_refused) {
  TestSequence sequence(small_layout(2), 3);
  sequence.feed(14);
  const Bytes bytes = sequence.state().snapshot();
  StateLayout layout = small_layout(2);
  layout.max_tokens = 13;
  expect_refused(layout, bytes, "context length of 13");
  expect_refused(small_layout(1), bytes, "byte 24: token counts");
  layout = small_layout(2);
  layout.layers[1].entry.width = 4;
  expect_refused(layout, bytes, "bytes, found");
  layout = small_layout(2);
  layout.layers.pop_back();
  expect_refused(layout, bytes, "bytes, found");
}

}  // namespace
}  // namespace dsv4
