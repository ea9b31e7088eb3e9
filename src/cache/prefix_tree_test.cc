#include "cache/prefix_tree.h"

#include "base/rng.h"
#include "cache/prefix_set.h"
#include "cache/sequence_testing.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <utility>
#include <vector>

namespace dsv4 {
namespace {

using Tokens = std::vector<int32_t>;

class PrefixTreeTest : public testing::Test {
 protected:
  static StateLayout layout() {
    StateLayout layout;  // one layer with a window of one byte: entries cost next to nothing
    layout.layers = {{0, 1, {EntryType::kF32, 1, 0}, {}}};
    layout.max_tokens = 100000;
    return layout;
  }
  PrefixTree::Entry entry(int64_t n, uint64_t salt, CheckpointKind kind = CheckpointKind::kEnd) {
    return {StateCheckpoint(layout_, pool_, n, n), kind, 0, salt, {}};
  }
  void insert(const Tokens& tokens, uint64_t salt = 0, CheckpointKind kind = CheckpointKind::kEnd) {
    tree_.insert(tokens, entry(static_cast<int64_t>(tokens.size()), salt, kind));
  }
  PrefixTree::Match match(const Tokens& tokens, uint64_t salt = 0) const {
    return tree_.match(tokens, salt, static_cast<int64_t>(tokens.size()) - 1);
  }
  // The entry at exactly these tokens, or null.
  PrefixTree::Entry* find(const Tokens& tokens, uint64_t salt) const {
    const auto n = static_cast<int64_t>(tokens.size());
    PrefixTree::Entry* entry = tree_.match(tokens, salt, n).entry;
    return entry != nullptr && entry->checkpoint.n_tokens() == n ? entry : nullptr;
  }

  StateLayout layout_ = layout();
  std::shared_ptr<PagePool> pool_ = std::make_shared<PagePool>();
  PrefixTree tree_;
};

TEST_F(PrefixTreeTest, finds_the_longest_prefix_and_where_paths_part) {
  insert({1, 2, 3, 4});
  insert({1, 2, 3, 4, 5, 6});
  insert({1, 2, 9});
  EXPECT_EQ(match({1, 2, 3, 4, 5, 7}).entry->checkpoint.n_tokens(), 4);
  EXPECT_EQ(match({1, 2, 3, 4, 5, 7}).n_common, 5);
  EXPECT_TRUE(match({1, 2, 3, 4, 5, 7}).diverged);
  EXPECT_EQ(match({1, 2, 3, 4, 5, 6, 7}).entry->checkpoint.n_tokens(), 6);
  EXPECT_FALSE(match({1, 2, 3, 4, 5, 6, 7}).diverged);
  EXPECT_EQ(match({1, 2, 3, 4}).entry, nullptr);  // the last token is always computed
  EXPECT_EQ(match({1, 2, 3, 4}).nearest->checkpoint.n_tokens(), 4);
  EXPECT_EQ(match({1, 2, 8}).entry, nullptr);
  EXPECT_EQ(match({1, 2, 8}).n_common, 2);
  EXPECT_EQ(match({7, 2, 8}).n_common, 0);
  EXPECT_EQ(match({1, 2, 3, 4, 5}, 1).n_common, 0);  // another salt
}

// Against a list of all chains, for any insertions and losses.
TEST_F(PrefixTreeTest, agrees_with_a_list_of_chains) {
  std::map<std::pair<uint64_t, Tokens>, bool> chains;
  const auto random_tokens = [](uint64_t step) {
    Tokens tokens;
    const uint64_t n = 1 + random_bits(3, 1, step) % 12;
    for (uint64_t i = 0; i < n; ++i) {
      tokens.push_back(static_cast<int32_t>(random_bits(3, 2 + step, i) % 2));
    }
    return tokens;
  };
  const auto common = [](const Tokens& a, const Tokens& b) {
    return std::ranges::mismatch(a, b).in1 - a.begin();
  };
  for (uint64_t step = 0; step < 4000; ++step) {
    const Tokens tokens = random_tokens(step);
    const uint64_t salt = random_bits(3, 0, step) % 2;
    const uint64_t choice = random_bits(4, 0, step) % 5;
    PrefixTree::Entry* there = find(tokens, salt);
    ASSERT_EQ(there != nullptr, chains.contains({salt, tokens})) << step;
    if (choice < 2 && there == nullptr) {
      insert(tokens, salt);
      chains[{salt, tokens}] = true;
    } else if (choice >= 3 && !chains.empty()) {
      const auto victim = std::next(
          chains.begin(), static_cast<ptrdiff_t>(random_bits(5, 0, step) % chains.size()));
      tree_.erase(*find(victim->first.second, victim->first.first));
      chains.erase(victim);
    }
    int64_t n_common = 0;
    int64_t longest = 0;
    bool goes_on = false;
    for (const auto& [key, unused] : chains) {
      if (key.first != salt) continue;
      const int64_t n = common(key.second, tokens);
      if (n > n_common) goes_on = false;
      n_common = std::max(n_common, n);
      if (n == n_common) goes_on |= n < static_cast<int64_t>(key.second.size());
      const bool is_prefix = n == static_cast<int64_t>(key.second.size());
      if (is_prefix && key.second.size() < tokens.size()) longest = std::max(longest, n);
    }
    const PrefixTree::Match found = match(tokens, salt);
    ASSERT_EQ(found.n_common, n_common) << step;
    ASSERT_EQ(found.entry == nullptr ? 0 : found.entry->checkpoint.n_tokens(), longest) << step;
    ASSERT_EQ(found.diverged, goes_on && n_common < static_cast<int64_t>(tokens.size())) << step;
    if (n_common > 0) {
      ASSERT_GE(found.nearest->checkpoint.n_tokens(), n_common) << step;
    }
    ASSERT_EQ(tree_.n_entries(), static_cast<int64_t>(chains.size()));
    ASSERT_EQ(tree_.candidates(1).size(), chains.size());
  }
  while (!chains.empty()) {
    const auto [salt, tokens] = chains.begin()->first;
    tree_.erase(*find(tokens, salt));
    chains.erase(chains.begin());
    const bool is_last = chains.empty() || chains.begin()->first.first != salt;
    if (is_last) {
      EXPECT_EQ(match(tokens, salt).n_common, 0);
    }
  }
  EXPECT_EQ(tree_.n_entries(), 0);
  EXPECT_EQ(tree_.buffer_bytes(), 0);
}

TEST_F(PrefixTreeTest, strides_may_be_sparser_far_from_the_end) {
  Tokens tokens;
  for (int32_t i = 0; i < 32768; ++i) tokens.push_back(i);
  const auto first = [&](int64_t n) { return Tokens(tokens.begin(), tokens.begin() + n); };
  for (int64_t n = 256; n < 32768; n += 256) insert(first(n), 0, CheckpointKind::kStride);
  insert(tokens);
  int64_t before = 0;
  int64_t n_kept = 0;
  std::vector<PrefixTree::Candidate> candidates = tree_.candidates(256);
  std::ranges::sort(candidates, {}, [](const PrefixTree::Candidate& candidate) {
    return candidate.entry->checkpoint.n_tokens();
  });
  for (const PrefixTree::Candidate& candidate : candidates) {
    const int64_t n = candidate.entry->checkpoint.n_tokens();
    EXPECT_EQ(candidate.last, n == 32768);
    if (candidate.redundant) continue;
    EXPECT_LE(n - before, std::max<int64_t>(256, (32768 - before) / 8));
    before = n;
    ++n_kept;
  }
  EXPECT_EQ(before, 32768);
  EXPECT_LT(n_kept, 45);
  EXPECT_GT(n_kept, 16);  // the last 2048 tokens keep all of theirs
}

// However branches come and go, a path does not become deep.
TEST_F(PrefixTreeTest, joins_what_a_lost_branch_had_parted) {
  Tokens tokens(20000, 7);
  insert(tokens);
  for (size_t n = 1; n < tokens.size(); ++n) {
    Tokens branch(tokens.begin(), tokens.begin() + static_cast<ptrdiff_t>(n));
    branch.push_back(8);
    insert(branch);
    tree_.erase(*find(branch, 0));
    if (n % 100 != 0) continue;
    EXPECT_EQ(match(branch).n_common, static_cast<int64_t>(n));  // not of what was forgotten
  }
  EXPECT_EQ(tree_.candidates(1).size(), 1u);
}

TEST(PrefixSet, finds_the_longest_within_its_bounds) {
  const StateLayout layout;
  const Tokens tokens = {5, 6, 7, 8, 9, 10};
  const auto prefix = [&](int64_t n) {
    return PrefixSet::Prefix{
        n, hash_tokens(layout, 3, std::span(tokens).first(static_cast<size_t>(n)))};
  };
  PrefixSet set;
  set.add(3, prefix(2));
  set.add(3, prefix(4));
  set.add(3, {5, {1, 2}});
  EXPECT_EQ(set.longest(layout, 3, tokens, 0, 6)->n_tokens, 4);
  EXPECT_EQ(set.longest(layout, 3, tokens, 0, 3)->n_tokens, 2);
  EXPECT_FALSE(set.longest(layout, 3, tokens, 4, 6));
  EXPECT_FALSE(set.longest(layout, 4, tokens, 0, 6));
  set.remove(3, prefix(4));
  EXPECT_EQ(set.longest(layout, 3, tokens, 0, 6)->n_tokens, 2);
  set.remove(3, prefix(2));
  EXPECT_FALSE(set.longest(layout, 3, tokens, 0, 6));
}

TEST(TokenHash, depends_on_all_that_a_state_depends_on) {
  StateLayout layout;
  const Tokens tokens = {1, 2, 3};
  const TokenHash hash = hash_tokens(layout, 1, tokens);
  EXPECT_EQ(hash.hex().size(), 32u);
  EXPECT_NE(hash_tokens(layout, 2, tokens), hash);
  EXPECT_NE(hash_tokens(layout, 1, Tokens{1, 2, 4}), hash);
  layout.fingerprint = 1;
  EXPECT_NE(hash_tokens(layout, 1, tokens), hash);
  layout.fingerprint = 0;
  layout.storage = KvStorage::kNative;
  EXPECT_NE(hash_tokens(layout, 1, tokens), hash);
}

}  // namespace
}  // namespace dsv4
