#include "grammar/token_trie.h"

#include "base/error.h"
#include "text/special_tokens.h"

#include <fmt/core.h>

#include <algorithm>
#include <bitset>

namespace dsv4 {

namespace {

bool is_added_token(const Tokenizer& tokenizer, int32_t id, std::string_view bytes) {
  if (tokenizer.is_special(id)) return true;
  const std::optional<int32_t> added = tokenizer.id_of(bytes);
  return added && *added == id;
}

void check_single_bytes(const std::bitset<256>& single) {
  for (size_t byte = 0; byte < single.size(); ++byte) {
    if (single[byte]) continue;
    throw Error(ErrorCode::kUnsupported, "tokenizer",
                fmt::format("the vocabulary has no token for the single byte 0x{:02x}; structured "
                            "output needs one for every byte",
                            byte));
  }
}

}  // namespace

TokenTrie::TokenTrie(const Tokenizer& tokenizer) {
  const std::optional<int32_t> eos = tokenizer.eos_id();
  if (!eos) {
    throw Error(ErrorCode::kUnsupported, "tokenizer",
                fmt::format("the vocabulary has no {}, which ends structured output", kEos));
  }
  eos_id_ = *eos;
  think_end_id_ = tokenizer.id_of(kThinkEnd);
  dsml_id_ = tokenizer.id_of(kDsml);

  byte_ranges_.resize(static_cast<size_t>(tokenizer.vocab_size()));
  std::vector<int32_t> sorted;
  std::bitset<256> single;
  for (int32_t id = 0; id < tokenizer.vocab_size(); ++id) {
    if (!tokenizer.has_token(id)) continue;
    const std::string_view bytes = tokenizer.token_bytes(id);
    if (is_added_token(tokenizer, id, bytes)) {
      if (id != eos_id_) added_.push_back(id);
      continue;
    }
    if (bytes.empty() || bytes.size() > kMaxTokenBytes) continue;
    if (bytes.size() == 1) single.set(static_cast<unsigned char>(bytes[0]));
    byte_ranges_[static_cast<size_t>(id)] = {static_cast<uint32_t>(bytes_.size()),
                                             static_cast<uint32_t>(bytes.size())};
    bytes_ += bytes;
    max_bytes_ = std::max(max_bytes_, static_cast<uint32_t>(bytes.size()));
    sorted.push_back(id);
  }
  check_single_bytes(single);

  std::ranges::stable_sort(sorted, {}, [&](int32_t id) { return this->bytes(id); });
  std::string_view previous;
  std::vector<uint32_t> path;  // the nodes of the bytes of `previous`
  for (const int32_t id : sorted) {
    add_nodes(bytes(id), previous, path);
    previous = bytes(id);
    tokens_.push_back(id);
    nodes_[path.back()].tokens_end = static_cast<uint32_t>(tokens_.size());
  }
  for (const uint32_t node : path) nodes_[node].next = static_cast<uint32_t>(nodes_.size());
}

void TokenTrie::add_nodes(std::string_view bytes, std::string_view previous,
                          std::vector<uint32_t>& path) {
  const size_t n_shared =
      static_cast<size_t>(std::ranges::mismatch(bytes, previous).in1 - bytes.begin());
  while (path.size() > n_shared) {
    nodes_[path.back()].next = static_cast<uint32_t>(nodes_.size());
    path.pop_back();
  }
  const uint32_t n_tokens = static_cast<uint32_t>(tokens_.size());
  while (path.size() < bytes.size()) {
    const size_t depth = path.size();
    path.push_back(static_cast<uint32_t>(nodes_.size()));
    nodes_.push_back(
        {0, n_tokens, n_tokens, static_cast<uint8_t>(bytes[depth]), static_cast<uint8_t>(depth)});
  }
}

std::string_view TokenTrie::bytes(int32_t id) const {
  if (id < 0 || id >= vocab_size()) return {};
  const ByteRange range = byte_ranges_[static_cast<size_t>(id)];
  return std::string_view(bytes_).substr(range.begin, range.size);
}

bool TokenTrie::is_added(int32_t id) const { return std::ranges::binary_search(added_, id); }

}  // namespace dsv4
