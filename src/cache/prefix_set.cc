#include "cache/prefix_set.h"

#include <vector>

namespace dsv4 {

void PrefixSet::add(uint64_t salt, const Prefix& prefix) {
  hashes_[salt][prefix.n_tokens].insert(prefix.hash);
}

void PrefixSet::remove(uint64_t salt, const Prefix& prefix) {
  const auto lengths = hashes_.find(salt);
  if (lengths == hashes_.end()) return;
  const auto same_length = lengths->second.find(prefix.n_tokens);
  if (same_length == lengths->second.end()) return;
  same_length->second.erase(prefix.hash);
  if (same_length->second.empty()) lengths->second.erase(same_length);
  if (lengths->second.empty()) hashes_.erase(lengths);
}

std::optional<PrefixSet::Prefix> PrefixSet::longest(const StateLayout& layout, uint64_t salt,
                                                    std::span<const int32_t> tokens,
                                                    int64_t more_than, int64_t at_most) const {
  const auto of_salt = hashes_.find(salt);
  if (of_salt == hashes_.end() || more_than >= at_most) return std::nullopt;
  const auto first = of_salt->second.upper_bound(more_than);
  const auto last = of_salt->second.upper_bound(at_most);
  std::vector<int64_t> lengths;
  for (auto it = first; it != last; ++it) lengths.push_back(it->first);
  const std::vector<TokenHash> hashes = hash_prefixes(layout, salt, tokens, lengths);
  for (size_t i = lengths.size(); i-- > 0;) {
    if (of_salt->second.at(lengths[i]).contains(hashes[i])) return Prefix{lengths[i], hashes[i]};
  }
  return std::nullopt;
}

}  // namespace dsv4
