// Byte pair encoding of one pre-token: the merges of tokenizer.json applied in the order of their
// rank.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace dsv4 {

// Neighbours `left` and `right` become `result`. Ids are not negative.
struct Merge {
  int32_t left;
  int32_t right;
  int32_t result;
};

// Immutable after building; encode() may be called from several threads.
class BytePairEncoder {
 public:
  // `byte_ids`: the token of every single byte. `merges` in the order of their rank. Throws
  // Error(kInvalidInput) with `where` and the index when two merges have the same pair.
  BytePairEncoder(const std::array<int32_t, 256>& byte_ids, const std::vector<Merge>& merges,
                  const std::string& where);

  // Appends the tokens of `bytes`: as long as some neighbours have a merge, the pair of the lowest
  // rank is merged, the leftmost first. O(n log n) for n bytes, n < 2^32.
  void encode(std::string_view bytes, std::vector<int32_t>& out) const;

 private:
  // The merges of one left token, sorted by the right one: a search in few contiguous numbers is
  // as fast as a hash table here, and no file can make it slow.
  struct Entry {
    int32_t right;
    uint32_t rank;
  };
  static constexpr uint32_t kNoRank = UINT32_MAX;

  uint32_t rank_of(int32_t left, int32_t right) const;
  void encode_short(std::string_view bytes, std::vector<int32_t>& out) const;
  void encode_long(std::string_view bytes, std::vector<int32_t>& out) const;

  std::array<int32_t, 256> byte_ids_;
  std::vector<uint32_t> first_entry_;  // of each left token, and one past the last
  std::vector<Entry> entries_;
  std::vector<int32_t> results_;  // rank -> token
};

}  // namespace dsv4
