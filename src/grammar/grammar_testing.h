// For tests of grammars: whole texts against a grammar, and random texts out of one.
#pragma once

#include "grammar/grammar_constraint.h"
#include "grammar/token_trie.h"
#include "text/tokenizer.h"

#include <algorithm>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <vector>

namespace dsv4 {

// How far a text can be read; text.size() if all of it. `ends` is whether it may end there.
struct Reading {
  size_t n_bytes = 0;
  bool ends = false;
};
inline Reading read(const std::shared_ptr<const Grammar>& grammar, std::string_view text) {
  Automaton automaton(grammar);
  Automaton::Config config = automaton.start();
  for (size_t i = 0; i < text.size(); ++i) {
    automaton.allow_work();
    config = automaton.step(config, static_cast<uint8_t>(text[i]));
    if (config == Automaton::kDead) return {i, false};
  }
  return {text.size(), automaton.may_end(config)};
}

inline bool accepts(const std::shared_ptr<const Grammar>& grammar, std::string_view text) {
  return read(grammar, text).ends;
}

// The bundled model's tokenizer, and its tokens as a tree; `source_dir` is DSV4_SOURCE_DIR.
inline const Tokenizer& mini_tokenizer(const std::string& source_dir) {
  static const Tokenizer tokenizer = Tokenizer::load(source_dir + "/models/mini");
  return tokenizer;
}
inline std::shared_ptr<const TokenTrie> mini_trie(const std::string& source_dir) {
  static const auto trie = std::make_shared<const TokenTrie>(mini_tokenizer(source_dir));
  return trie;
}

inline std::vector<int32_t> allowed_ids(const std::vector<uint64_t>& mask) {
  std::vector<int32_t> ids;
  for (size_t word = 0; word < mask.size(); ++word) {
    for (int bit = 0; bit < 64; ++bit) {
      if ((mask[word] >> bit & 1) != 0) ids.push_back(static_cast<int32_t>(word * 64) + bit);
    }
  }
  return ids;
}

// Of the allowed tokens of one byte, and so of all allowed bytes, one that leads to the end
// soonest.
inline int32_t nearest_to_end(const GrammarConstraint& constraint, const TokenTrie& trie,
                              const std::vector<int32_t>& ids, std::mt19937_64& rng) {
  int32_t best = ids.front();
  uint64_t least = kUnbounded;
  const size_t offset = rng() % ids.size();  // among equals, not always the same
  for (size_t i = 0; i < ids.size(); ++i) {
    const int32_t id = ids[(i + offset) % ids.size()];
    if (trie.bytes(id).size() != 1) continue;
    const auto copy = constraint.clone();
    copy->accept(id);
    const uint64_t n = static_cast<GrammarConstraint&>(*copy).bytes_to_end();
    if (n < least) best = id;
    least = std::min(least, n);
  }
  return best;
}

// A reply of random allowed tokens, as a model at a high temperature would write it. After
// `patience` tokens, those that lead to the end sooner are preferred.
struct RandomReply {
  std::string text;
  bool ended = false;  // by the end of the sentence
  size_t n_tokens = 0;
};
inline RandomReply random_reply(GrammarConstraint& constraint, const Tokenizer& tokenizer,
                                const TokenTrie& trie, std::mt19937_64& rng, size_t patience,
                                size_t max_tokens) {
  RandomReply reply;
  std::vector<uint64_t> mask((static_cast<size_t>(trie.vocab_size()) + 63) / 64);
  for (; reply.n_tokens < max_tokens; ++reply.n_tokens) {
    if (!constraint.mask(mask)) mask.assign(mask.size(), ~uint64_t{0});
    const std::vector<int32_t> ids = allowed_ids(mask);
    if (ids.empty()) return reply;
    int32_t id = ids[rng() % ids.size()];
    if (reply.n_tokens >= patience) id = nearest_to_end(constraint, trie, ids, rng);
    if ((mask[static_cast<size_t>(trie.eos_id()) / 64] >> (trie.eos_id() % 64) & 1) != 0 &&
        (reply.n_tokens >= patience || rng() % 4 == 0)) {
      id = trie.eos_id();
    }
    constraint.accept(id);
    if (id == trie.eos_id()) {
      reply.ended = true;
      return reply;
    }
    reply.text += tokenizer.token_bytes(id);
  }
  return reply;
}

}  // namespace dsv4
