// Runs a grammar over bytes. All ways to read what came so far are followed together, as sets of
// stacks that share their tails; sets and the steps between them are remembered, so that reading is
// a table lookup once a place has been seen.
#pragma once

#include "grammar/grammar.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <unordered_map>
#include <vector>

namespace dsv4 {

// Used by one thread at a time. What it remembers grows until forget_others() is called.
class Automaton {
 public:
  // Everything that may still come, as an index of this automaton.
  using Config = uint32_t;
  static constexpr Config kDead = 0;  // nothing

  explicit Automaton(std::shared_ptr<const Grammar> grammar);

  Config start() const { return start_; }
  // Throw Error(kOutOfRange) after more than kMaxWork since allow_work(), which only a grammar with
  // very many overlapping alternatives needs.
  Config step(Config config, uint8_t byte) {
    const Config next = steps_[config][byte];
    return next != kUnknown ? next : compute_step(config, byte);
  }
  Config step_mark(Config config, Mark mark);
  Config step_added(Config config);
  // Whether the text may end here.
  bool may_end(Config config) const { return ends_[config]; }

  // A config for which the same texts of at most `n_bytes` bytes are allowed and that is the same
  // for many: counts that are far from their bounds are replaced.
  Config simplified(Config config, uint32_t n_bytes);

  void allow_work() { work_ = 0; }
  // How much is remembered. Above kFull, forget_others should be called.
  size_t n_configs() const { return configs_.size(); }
  bool is_full() const { return configs_.size() > kMaxConfigs || items_.size() > kMaxItems; }
  // Forgets everything but the given configs, which get new numbers.
  void forget_others(std::span<Config> configs);
  // The config of another automaton of the same grammar.
  Config take_over(const Automaton& other, Config config);

  const std::shared_ptr<const Grammar>& grammar() const { return grammar_; }

  static constexpr size_t kMaxConfigs = 8192;
  static constexpr size_t kMaxItems = 1 << 20;
  static constexpr size_t kMaxWork = 5'000'000;

 private:
  friend class EndDistance;  // of tests
  using SetId = uint32_t;
  static constexpr SetId kNoParents = 0;  // the set without items
  static constexpr Config kUnknown = std::numeric_limits<Config>::max();
  static constexpr StateId kBottom = kNoState;  // below the first rule: the end of the text

  // A state on top of each stack of `parents`. Within a set, (state, depth, count) is unique.
  struct Item {
    StateId state;
    uint32_t depth;
    uint32_t count;
    SetId parents;
    auto key() const { return std::tuple(state, depth, count); }
    bool operator==(const Item&) const = default;
  };
  struct Set {
    size_t begin;
    uint32_t size;
  };
  class Closure;

  void clear();
  std::span<const Item> items(SetId set) const {
    return {items_.data() + sets_[set].begin, sets_[set].size};
  }
  SetId intern(std::span<const Item> sorted);
  SetId unite(SetId a, SetId b);
  Config config_of(SetId set);
  Config compute_step(Config config, uint8_t byte);
  void spend(size_t work);

  SetId simplified_set(SetId set, uint32_t n_bytes, std::unordered_map<SetId, SetId>& done);
  uint32_t simplified_count(const Item& item, uint32_t n_bytes) const;
  SetId copy_set(const Automaton& other, SetId set, std::unordered_map<SetId, SetId>& done);

  std::shared_ptr<const Grammar> grammar_;
  std::vector<Item> items_;
  std::vector<Set> sets_;
  std::unordered_multimap<uint64_t, SetId> set_index_;
  std::unordered_map<uint64_t, SetId> unions_;

  std::vector<SetId> configs_;
  std::vector<std::array<Config, 256>> steps_;
  std::vector<bool> ends_;
  std::unordered_map<SetId, Config> config_index_;
  std::unordered_map<Config, Config> simplified_;
  Config start_ = kDead;
  size_t work_ = 0;
};

}  // namespace dsv4
