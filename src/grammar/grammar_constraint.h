// The constraint that keeps a reply inside a grammar.
#pragma once

#include "grammar/automaton.h"
#include "grammar/token_constraint.h"
#include "grammar/token_trie.h"

#include <cstdint>
#include <memory>
#include <span>
#include <unordered_map>
#include <vector>

namespace dsv4 {

// Works on the bytes of tokens, so that it does not matter how a text is cut into tokens. The
// end-of-sentence token is allowed where the grammar may end, and is the only one where it must.
// Masks are remembered by the place in the grammar, at most kMaxMasks of them.
class GrammarConstraint : public TokenConstraint {
 public:
  GrammarConstraint(std::shared_ptr<const TokenTrie> trie, std::shared_ptr<const Grammar> grammar);

  // mask and accept throw Error(kOutOfRange) for a grammar with too many overlapping alternatives;
  // the reply cannot go on then.
  bool mask(std::span<uint64_t> allowed) override;
  void accept(int32_t id) override;
  std::unique_ptr<TokenConstraint> clone() const override;

  // Whether the end of the sentence or a token that was not allowed has come.
  bool is_over() const { return is_over_; }
  // Whether the reply may end here.
  bool may_end() const { return is_over_ || automaton_.may_end(config_); }

  static constexpr size_t kMaxMasks = 64;

 private:
  friend class EndDistance;  // of tests
  struct Mask {
    bool is_all = false;
    uint64_t last_use = 0;
    std::vector<uint64_t> words;
  };

  const Mask& mask_of(Automaton::Config config);
  void compute(Automaton::Config config, Mask& mask);
  void walk(Automaton::Config config, Mask& mask, size_t& n_allowed);
  Automaton::Config after(int32_t id);
  void make_room();

  std::shared_ptr<const TokenTrie> trie_;
  Automaton automaton_;
  Automaton::Config config_;
  bool is_over_ = false;
  std::unordered_map<Automaton::Config, Mask> masks_;  // by simplified config
  uint64_t n_uses_ = 0;
  std::vector<Automaton::Config> path_;  // scratch of walk()
};

}  // namespace dsv4
