// Names of prefixes by salt and length, to find the longest one that a prompt begins with.
#pragma once

#include "cache/layout.h"
#include "cache/token_hash.h"

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <span>

namespace dsv4 {

class PrefixSet {
 public:
  struct Prefix {
    int64_t n_tokens = 0;
    TokenHash hash;
  };

  void add(uint64_t salt, const Prefix& prefix);
  void remove(uint64_t salt, const Prefix& prefix);

  // The longest one of more than `more_than` and at most `at_most` tokens.
  std::optional<Prefix> longest(const StateLayout& layout, uint64_t salt,
                                std::span<const int32_t> tokens, int64_t more_than,
                                int64_t at_most) const;

 private:
  std::map<uint64_t, std::map<int64_t, std::set<TokenHash>>> hashes_;  // by salt, length
};

}  // namespace dsv4
