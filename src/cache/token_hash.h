// 128-bit names of chains of tokens. A name only finds something: whoever is handed what was found
// compares the tokens.
#pragma once

#include <compare>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

struct XXH3_state_s;

namespace dsv4 {

struct StateLayout;

struct TokenHash {
  uint64_t low = 0;
  uint64_t high = 0;

  auto operator<=>(const TokenHash&) const = default;
  std::string hex() const;  // 32 digits
};

// Hashes a growing chain of tokens, bound to fingerprint and storage of a layout and to a salt.
// Move-only.
class TokenHasher {
 public:
  TokenHasher(const StateLayout& layout, uint64_t salt);
  ~TokenHasher();
  TokenHasher(TokenHasher&&) noexcept;
  TokenHasher& operator=(TokenHasher&&) noexcept;

  void add(std::span<const int32_t> tokens);
  // Of all that was added so far.
  TokenHash hash() const;

 private:
  struct Free {
    void operator()(XXH3_state_s* state) const;
  };
  std::unique_ptr<XXH3_state_s, Free> state_;
};

TokenHash hash_tokens(const StateLayout& layout, uint64_t salt, std::span<const int32_t> tokens);
// Of the first lengths[i] tokens each, in one pass; `lengths` rise and are at most tokens.size().
std::vector<TokenHash> hash_prefixes(const StateLayout& layout, uint64_t salt,
                                     std::span<const int32_t> tokens,
                                     std::span<const int64_t> lengths);

}  // namespace dsv4
