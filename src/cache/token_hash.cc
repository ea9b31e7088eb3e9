#include "cache/token_hash.h"

#include "base/check.h"
#include "cache/layout.h"

#include <array>
#include <new>

#include <fmt/core.h>
#include <xxhash.h>

namespace dsv4 {

std::string TokenHash::hex() const { return fmt::format("{:016x}{:016x}", high, low); }

TokenHasher::TokenHasher(const StateLayout& layout, uint64_t salt) : state_(XXH3_createState()) {
  if (state_ == nullptr) throw std::bad_alloc();
  XXH3_128bits_reset(state_.get());
  const std::array<uint64_t, 3> start = {layout.fingerprint, static_cast<uint64_t>(layout.storage),
                                         salt};
  XXH3_128bits_update(state_.get(), start.data(), sizeof(start));
}

TokenHasher::~TokenHasher() = default;
TokenHasher::TokenHasher(TokenHasher&&) noexcept = default;
TokenHasher& TokenHasher::operator=(TokenHasher&&) noexcept = default;

void TokenHasher::Free::operator()(XXH3_state_s* state) const { XXH3_freeState(state); }

void TokenHasher::add(std::span<const int32_t> tokens) {
  XXH3_128bits_update(state_.get(), tokens.data(), tokens.size_bytes());
}

TokenHash TokenHasher::hash() const {
  const XXH128_hash_t hash = XXH3_128bits_digest(state_.get());
  return {hash.low64, hash.high64};
}

TokenHash hash_tokens(const StateLayout& layout, uint64_t salt, std::span<const int32_t> tokens) {
  TokenHasher hasher(layout, salt);
  hasher.add(tokens);
  return hasher.hash();
}

std::vector<TokenHash> hash_prefixes(const StateLayout& layout, uint64_t salt,
                                     std::span<const int32_t> tokens,
                                     std::span<const int64_t> lengths) {
  TokenHasher hasher(layout, salt);
  std::vector<TokenHash> hashes;
  size_t n_added = 0;
  for (const int64_t length : lengths) {
    const auto end = static_cast<size_t>(length);
    CHECK(end >= n_added && end <= tokens.size(), end, tokens.size());
    hasher.add(tokens.subspan(n_added, end - n_added));
    n_added = end;
    hashes.push_back(hasher.hash());
  }
  return hashes;
}

}  // namespace dsv4
