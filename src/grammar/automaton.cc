#include "grammar/automaton.h"

#include "base/error.h"

#include <algorithm>
#include <tuple>

namespace dsv4 {

namespace {

uint64_t mix(uint64_t hash, uint64_t value) {
  hash = (hash ^ value) * 0x9E3779B97F4A7C15u;
  return hash ^ hash >> 29;
}

}  // namespace

// Follows everything that reads nothing: jumps, calls and ends of rules. An item whose stacks grow
// is followed again.
class Automaton::Closure {
 public:
  explicit Closure(Automaton& automaton) : automaton_(automaton) {}

  void add(const Item& item) {
    // What would need a deeper stack than there may be is never entered; its caller has another
    // way.
    if (item.state != kBottom &&
        item.depth + automaton_.grammar_->state(item.state).height > Grammar::kMaxHeight) {
      return;
    }
    const size_t i = find(item);
    if (i == items_.size()) {
      items_.push_back(item);
      open_.push_back(i);
      if (items_.size() > kLinear) index_.emplace(hash(item), i);
      if (items_.size() == kLinear + 1) {
        for (size_t j = 0; j < kLinear; ++j) index_.emplace(hash(items_[j]), j);
      }
      return;
    }
    const SetId parents = automaton_.unite(items_[i].parents, item.parents);
    if (parents == items_[i].parents) return;
    items_[i].parents = parents;
    open_.push_back(i);
  }

  // The set of those items that read something, or the end.
  SetId finish() {
    while (!open_.empty()) {
      const size_t i = open_.back();
      open_.pop_back();
      follow(Item(items_[i]));
    }
    std::erase_if(items_, [&](const Item& item) { return !reads(item); });
    std::ranges::sort(items_, {}, &Item::key);
    return automaton_.intern(items_);
  }

 private:
  static constexpr size_t kLinear = 16;  // below, looking through is faster than hashing

  static uint64_t hash(const Item& item) { return mix(mix(item.state, item.depth), item.count); }

  size_t find(const Item& item) const {
    if (items_.size() <= kLinear) {
      const auto found = std::ranges::find(items_, item.key(), &Item::key);
      return static_cast<size_t>(found - items_.begin());
    }
    const auto [begin, end] = index_.equal_range(hash(item));
    for (auto it = begin; it != end; ++it) {
      if (items_[it->second].key() == item.key()) return it->second;
    }
    return items_.size();
  }

  bool reads(const Item& item) const {
    if (item.state == kBottom) return true;
    const Grammar::State& state = automaton_.grammar_->state(item.state);
    return !state.bytes.empty() || !state.marks.empty() || state.added_to != kNoState;
  }

  void follow(const Item& item) {
    if (item.state == kBottom) return;
    const Grammar::State& state = automaton_.grammar_->state(item.state);
    automaton_.spend(1 + state.jumps.size() + state.calls.size());
    if (state.ends_rule) {
      // By index: unite() may move the items.
      for (size_t i = 0; i < automaton_.items(item.parents).size(); ++i) {
        add(Item(automaton_.items(item.parents)[i]));
      }
    }
    if (!state.is_counted || item.count >= state.min) {
      for (const StateId to : state.jumps) add({to, item.depth, 0, item.parents});
    }
    if (state.is_counted && item.count >= state.max) return;
    for (const Grammar::Call& call : state.calls) follow(item, state, call);
  }

  void follow(const Item& item, const Grammar::State& state, const Grammar::Call& call) {
    const Grammar& grammar = *automaton_.grammar_;
    const Grammar::State& behind = grammar.state(call.to);
    const StateId start = grammar.start_of(call.rule);
    const bool is_last = behind.ends_rule && behind.bytes.empty() && behind.marks.empty() &&
                         behind.jumps.empty() && behind.calls.empty() &&
                         behind.added_to == kNoState && !behind.is_counted;
    if (is_last) {
      add({start, item.depth, 0, item.parents});
      return;
    }
    Item frame{call.to, item.depth, 0, item.parents};
    if (frame.depth + behind.height > Grammar::kMaxHeight) return;
    if (state.is_counted && behind.is_counted) {
      // Without an upper bound all counts from the lower one on are alike.
      frame.count = item.count + 1;
      if (behind.max == kUnbounded) frame.count = std::min(frame.count, behind.min);
    }
    const SetId parents = automaton_.intern(std::span(&frame, 1));
    add({start, item.depth + 1, 0, parents});
  }

  Automaton& automaton_;
  std::vector<Item> items_;
  std::vector<size_t> open_;
  std::unordered_multimap<uint64_t, size_t> index_;
};

Automaton::Automaton(std::shared_ptr<const Grammar> grammar) : grammar_(std::move(grammar)) {
  clear();
  const Item bottom{kBottom, 0, 0, kNoParents};
  Closure closure(*this);
  closure.add({grammar_->start_of(grammar_->start_rule()), 0, 0, intern(std::span(&bottom, 1))});
  start_ = config_of(closure.finish());
}

void Automaton::clear() {
  items_.clear();
  sets_.clear();
  set_index_.clear();
  unions_.clear();
  configs_.clear();
  steps_.clear();
  ends_.clear();
  config_index_.clear();
  simplified_.clear();
  const SetId empty = intern({});
  steps_.emplace_back().fill(kDead);
  configs_.push_back(empty);
  ends_.push_back(false);
  config_index_.emplace(empty, kDead);
}

void Automaton::spend(size_t work) {
  work_ += work;
  if (work_ > kMaxWork) {
    throw Error(ErrorCode::kOutOfRange, "",
                "the schema has too many overlapping alternatives to be followed; give the "
                "branches of anyOf different types or properties");
  }
}

Automaton::SetId Automaton::intern(std::span<const Item> sorted) {
  uint64_t hash = sorted.size();
  for (const Item& item : sorted) {
    hash = mix(mix(hash, uint64_t{item.state} << 32 | item.parents),
               uint64_t{item.depth} << 32 | item.count);
  }
  const auto [begin, end] = set_index_.equal_range(hash);
  for (auto it = begin; it != end; ++it) {
    if (std::ranges::equal(items(it->second), sorted)) return it->second;
  }
  spend(sorted.size());
  const SetId id = static_cast<SetId>(sets_.size());
  sets_.push_back({items_.size(), static_cast<uint32_t>(sorted.size())});
  items_.insert(items_.end(), sorted.begin(), sorted.end());
  set_index_.emplace(hash, id);
  return id;
}

// Recurses as deep as the stacks, which Grammar::kMaxHeight bounds.
Automaton::SetId Automaton::unite(SetId a, SetId b) {
  if (a == b) return a;
  if (a > b) std::swap(a, b);
  const uint64_t key = uint64_t{a} << 32 | b;
  if (const auto found = unions_.find(key); found != unions_.end()) return found->second;
  std::vector<Item> all(items(a).begin(), items(a).end());
  all.insert(all.end(), items(b).begin(), items(b).end());
  spend(all.size());
  std::ranges::sort(all, {}, &Item::key);
  std::vector<Item> merged;
  for (const Item& item : all) {
    if (merged.empty() || merged.back().key() != item.key()) {
      merged.push_back(item);
    } else {
      merged.back().parents = unite(merged.back().parents, item.parents);
    }
  }
  const SetId result = intern(merged);
  unions_.emplace(key, result);
  return result;
}

Automaton::Config Automaton::config_of(SetId set) {
  const auto [it, is_new] = config_index_.emplace(set, static_cast<Config>(configs_.size()));
  if (is_new) {
    configs_.push_back(set);
    steps_.emplace_back().fill(kUnknown);
    ends_.push_back(
        std::ranges::any_of(items(set), [](const Item& item) { return item.state == kBottom; }));
  }
  return it->second;
}

// Fills in the step of all bytes around `byte` for which the same edges are open.
Automaton::Config Automaton::compute_step(Config config, uint8_t byte) {
  unsigned low = 0;
  unsigned high = 255;
  Closure closure(*this);
  const SetId set = configs_[config];
  for (size_t i = 0; i < items(set).size(); ++i) {
    const Item item = items(set)[i];
    if (item.state == kBottom) continue;
    const auto& edges = grammar_->state(item.state).bytes;
    spend(1 + edges.size() / 8);
    for (const Grammar::ByteEdge& edge : edges) {
      if (byte < edge.low) {
        high = std::min(high, edge.low - 1u);
      } else if (byte > edge.high) {
        low = std::max(low, edge.high + 1u);
      } else {
        low = std::max<unsigned>(low, edge.low);
        high = std::min<unsigned>(high, edge.high);
        closure.add({edge.to, item.depth, 0, item.parents});
      }
    }
  }
  const Config next = config_of(closure.finish());
  std::fill(steps_[config].begin() + low, steps_[config].begin() + high + 1, next);
  return next;
}

Automaton::Config Automaton::step_mark(Config config, Mark mark) {
  Closure closure(*this);
  const SetId set = configs_[config];
  for (size_t i = 0; i < items(set).size(); ++i) {
    const Item item = items(set)[i];
    if (item.state == kBottom) continue;
    const Grammar::State& state = grammar_->state(item.state);
    for (const Grammar::MarkEdge& edge : state.marks) {
      if (edge.mark == mark) closure.add({edge.to, item.depth, 0, item.parents});
    }
  }
  return config_of(closure.finish());
}

Automaton::Config Automaton::step_added(Config config) {
  Closure closure(*this);
  const SetId set = configs_[config];
  for (size_t i = 0; i < items(set).size(); ++i) {
    const Item item = items(set)[i];
    if (item.state == kBottom) continue;
    const StateId to = grammar_->state(item.state).added_to;
    if (to != kNoState) closure.add({to, item.depth, 0, item.parents});
  }
  return config_of(closure.finish());
}

uint32_t Automaton::simplified_count(const Item& item, uint32_t n_bytes) const {
  if (item.state == kBottom) return item.count;
  const Grammar::State& state = grammar_->state(item.state);
  if (!state.is_counted) return item.count;
  const bool far_from_max = state.max == kUnbounded || state.max - item.count > n_bytes;
  if (!far_from_max) return item.count;
  if (item.count >= state.min) return state.min;
  return state.min - item.count > n_bytes ? 0 : item.count;
}

Automaton::SetId Automaton::simplified_set(SetId set, uint32_t n_bytes,
                                           std::unordered_map<SetId, SetId>& done) {
  if (const auto found = done.find(set); found != done.end()) return found->second;
  SetId result = intern({});
  for (size_t i = 0; i < items(set).size(); ++i) {
    Item item = items(set)[i];
    item.count = simplified_count(item, n_bytes);
    item.parents = simplified_set(item.parents, n_bytes, done);
    result = unite(result, intern(std::span(&item, 1)));
  }
  done.emplace(set, result);
  return result;
}

Automaton::Config Automaton::simplified(Config config, uint32_t n_bytes) {
  if (const auto found = simplified_.find(config); found != simplified_.end()) {
    return found->second;
  }
  std::unordered_map<SetId, SetId> done;
  const Config result = config_of(simplified_set(configs_[config], n_bytes, done));
  simplified_.emplace(config, result);
  return result;
}

Automaton::SetId Automaton::copy_set(const Automaton& other, SetId set,
                                     std::unordered_map<SetId, SetId>& done) {
  if (const auto found = done.find(set); found != done.end()) return found->second;
  std::vector<Item> copy(other.items(set).begin(), other.items(set).end());
  for (Item& item : copy) item.parents = copy_set(other, item.parents, done);
  const SetId result = intern(copy);
  done.emplace(set, result);
  return result;
}

Automaton::Config Automaton::take_over(const Automaton& other, Config config) {
  std::unordered_map<SetId, SetId> done;
  return config_of(copy_set(other, other.configs_[config], done));
}

void Automaton::forget_others(std::span<Config> configs) {
  Automaton fresh(grammar_);
  std::unordered_map<SetId, SetId> done;
  for (Config& config : configs) {
    config = fresh.config_of(fresh.copy_set(*this, configs_[config], done));
  }
  fresh.work_ += work_;
  *this = std::move(fresh);
}

}  // namespace dsv4
