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

// About how many bytes the shortest end of a reply has.
class EndDistance {
 public:
  explicit EndDistance(const GrammarConstraint& constraint)
      : grammar_(*constraint.automaton_.grammar()), n_bytes_(grammar_.states_.size(), kUnbounded) {
    for (bool is_changed = true; is_changed;) {
      is_changed = false;
      for (size_t id = n_bytes_.size(); id-- > 0;) {  // most states follow those that they need
        const uint64_t n = least(grammar_.states_[id]);
        if (n >= n_bytes_[id]) continue;
        n_bytes_[id] = n;
        is_changed = true;
      }
    }
  }

  uint64_t of(const GrammarConstraint& constraint) const {
    if (constraint.is_over()) return 0;
    const Automaton& automaton = constraint.automaton_;
    uint64_t least = kUnbounded;
    for (const Automaton::Item& top : automaton.items(automaton.configs_[constraint.config_])) {
      uint64_t sum = 0;
      // Along the first stack of each.
      for (const Automaton::Item* item = &top; item->state != Automaton::kBottom;
           item = automaton.items(item->parents).data()) {
        sum += n_bytes_[item->state];
      }
      least = std::min(least, sum);
    }
    return least;
  }

 private:
  // From a state to the end of its rule, by what is known of the states that follow.
  uint64_t least(const Grammar::State& state) const {
    if (state.ends_rule) return 0;
    uint64_t n = kUnbounded;
    for (const auto& edge : state.bytes) n = std::min(n, 1 + n_bytes_[edge.to]);
    for (const auto& call : state.calls) {
      const uint64_t inside = n_bytes_[grammar_.start_of(call.rule)];
      if (!state.is_counted || state.min == 0) n = std::min(n, inside + n_bytes_[call.to]);
      for (const StateId to : state.jumps) n = std::min(n, inside * state.min + n_bytes_[to]);
    }
    if (state.is_counted && state.min > 0) return n;
    for (const StateId to : state.jumps) n = std::min(n, n_bytes_[to]);
    return n;
  }

  const Grammar& grammar_;
  std::vector<uint64_t> n_bytes_;
};

// Of the allowed tokens of one byte, and so of all allowed bytes, one that leads to the end
// soonest.
inline int32_t nearest_to_end(const EndDistance& distance, const GrammarConstraint& constraint,
                              const TokenTrie& trie, const std::vector<int32_t>& ids,
                              std::mt19937_64& rng) {
  int32_t best = ids.front();
  uint64_t least = kUnbounded;
  const size_t offset = rng() % ids.size();  // among equals, not always the same
  for (size_t i = 0; i < ids.size(); ++i) {
    const int32_t id = ids[(i + offset) % ids.size()];
    if (trie.bytes(id).size() != 1) continue;
    const auto copy = constraint.clone();
    copy->accept(id);
    const uint64_t n = distance.of(static_cast<GrammarConstraint&>(*copy));
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
  const EndDistance distance(constraint);
  std::vector<uint64_t> mask((static_cast<size_t>(trie.vocab_size()) + 63) / 64);
  for (; reply.n_tokens < max_tokens; ++reply.n_tokens) {
    if (!constraint.mask(mask)) mask.assign(mask.size(), ~uint64_t{0});
    const std::vector<int32_t> ids = allowed_ids(mask);
    if (ids.empty()) return reply;
    int32_t id = ids[rng() % ids.size()];
    if (reply.n_tokens >= patience) id = nearest_to_end(distance, constraint, trie, ids, rng);
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
