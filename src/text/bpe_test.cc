#include "text/bpe.h"

#include "base/error.h"

#include <gtest/gtest.h>

#include <map>
#include <random>

namespace dsv4 {
namespace {

std::array<int32_t, 256> identity_bytes() {
  std::array<int32_t, 256> ids;
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<int32_t>(i);
  return ids;
}

// The definition: merge the leftmost of the pairs with the lowest rank until none is left.
std::vector<int32_t> merge_naively(std::string_view bytes, const std::vector<Merge>& merges) {
  std::map<std::pair<int32_t, int32_t>, size_t> ranks;
  for (size_t i = 0; i < merges.size(); ++i) ranks[{merges[i].left, merges[i].right}] = i;
  std::vector<int32_t> ids;
  for (const char c : bytes) ids.push_back(static_cast<unsigned char>(c));
  for (;;) {
    size_t best_rank = merges.size();
    size_t best = 0;
    for (size_t i = 0; i + 1 < ids.size(); ++i) {
      const auto rank = ranks.find({ids[i], ids[i + 1]});
      if (rank != ranks.end() && rank->second < best_rank) {
        best_rank = rank->second;
        best = i;
      }
    }
    if (best_rank == merges.size()) return ids;
    ids[best] = merges[best_rank].result;
    ids.erase(ids.begin() + static_cast<long>(best) + 1);
  }
}

// Merges in random order, so that a result can have a lower rank than its parts, and lengths on
// both sides of the switch from the short to the long method.
TEST(BytePairEncoder, equals_the_definition) {
  std::mt19937 random(5);
  for (int round = 0; round < 300; ++round) {
    std::vector<Merge> merges;
    std::map<std::pair<int32_t, int32_t>, bool> seen;
    std::vector<int32_t> symbols = {'a', 'b', 'c'};
    for (int32_t i = 0; i < 12; ++i) {
      const int32_t left = symbols[random() % symbols.size()];
      const int32_t right = symbols[random() % symbols.size()];
      if (std::exchange(seen[{left, right}], true)) continue;
      merges.push_back({left, right, 300 + i});
      symbols.push_back(300 + i);
    }
    std::shuffle(merges.begin(), merges.end(), random);
    const BytePairEncoder encoder(identity_bytes(), merges, "test");
    for (const size_t length : {0u, 1u, 2u, 7u, 30u, 47u, 48u, 49u, 60u, 200u}) {
      std::string bytes;
      for (size_t i = 0; i < length; ++i) bytes += static_cast<char>('a' + random() % 3);
      std::vector<int32_t> ids;
      encoder.encode(bytes, ids);
      ASSERT_EQ(ids, merge_naively(bytes, merges)) << bytes;
    }
  }
}

TEST(BytePairEncoder, appends_to_what_is_there) {
  const BytePairEncoder encoder(identity_bytes(), {{'a', 'b', 256}}, "test");
  std::vector<int32_t> ids = {7};
  encoder.encode("xab", ids);
  EXPECT_EQ(ids, (std::vector<int32_t>{7, 'x', 256}));
}

TEST(BytePairEncoder, refuses_a_repeated_pair) {
  try {
    BytePairEncoder(identity_bytes(), {{1, 2, 300}, {1, 3, 301}, {1, 2, 302}}, "model.merges");
    FAIL();
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "model.merges: merge 2 repeats the pair of an earlier one");
  }
}

}  // namespace
}  // namespace dsv4
