#include "grammar/grammar_constraint.h"

#include <algorithm>
#include <utility>

namespace dsv4 {

namespace {

void set_bit(std::vector<uint64_t>& words, int32_t id) {
  words[static_cast<size_t>(id) / 64] |= uint64_t{1} << (id % 64);
}

}  // namespace

GrammarConstraint::GrammarConstraint(std::shared_ptr<const TokenTrie> trie,
                                     std::shared_ptr<const Grammar> grammar)
    : trie_(std::move(trie)), automaton_(std::move(grammar)), config_(automaton_.start()) {}

bool GrammarConstraint::mask(std::span<uint64_t> allowed) {
  if (is_over_) return false;
  make_room();
  const Mask& mask = mask_of(config_);
  if (mask.is_all) return false;
  const size_t n = std::min(allowed.size(), mask.words.size());
  std::copy_n(mask.words.begin(), n, allowed.begin());
  std::fill(allowed.begin() + static_cast<std::ptrdiff_t>(n), allowed.end(), 0);
  return true;
}

void GrammarConstraint::accept(int32_t id) {
  if (is_over_) return;
  automaton_.allow_work();
  if (id != trie_->eos_id()) config_ = after(id);
  is_over_ = id == trie_->eos_id() || config_ == Automaton::kDead;
}

std::unique_ptr<TokenConstraint> GrammarConstraint::clone() const {
  auto copy = std::make_unique<GrammarConstraint>(trie_, automaton_.grammar());
  copy->config_ = copy->automaton_.take_over(automaton_, config_);
  copy->is_over_ = is_over_;
  return copy;
}

Automaton::Config GrammarConstraint::after(int32_t id) {
  if (id == trie_->think_end_id()) return automaton_.step_mark(config_, Mark::kThinkEnd);
  if (id == trie_->dsml_id()) return automaton_.step_mark(config_, Mark::kDsml);
  if (trie_->is_added(id)) return automaton_.step_added(config_);
  const std::string_view bytes = trie_->bytes(id);
  if (bytes.empty()) return Automaton::kDead;
  Automaton::Config config = config_;
  for (const char byte : bytes) config = automaton_.step(config, static_cast<uint8_t>(byte));
  return config;
}

// Numbers of configs change when others are forgotten, so the masks go with them.
void GrammarConstraint::make_room() {
  automaton_.allow_work();
  if (!automaton_.is_full()) return;
  automaton_.forget_others(std::span(&config_, 1));
  masks_.clear();
}

const GrammarConstraint::Mask& GrammarConstraint::mask_of(Automaton::Config config) {
  const Automaton::Config place = automaton_.simplified(config, trie_->max_bytes());
  if (const auto found = masks_.find(place); found != masks_.end()) {
    found->second.last_use = ++n_uses_;
    return found->second;
  }
  Mask mask;
  compute(place, mask);
  if (masks_.size() >= kMaxMasks) {
    masks_.erase(std::ranges::min_element(masks_, {},
                                          [](const auto& entry) { return entry.second.last_use; }));
  }
  mask.last_use = ++n_uses_;
  // Named anew: the walk may have made the automaton forget, and give new numbers.
  const Automaton::Config name = automaton_.simplified(config_, trie_->max_bytes());
  return masks_.insert_or_assign(name, std::move(mask)).first->second;
}

void GrammarConstraint::compute(Automaton::Config config, Mask& mask) {
  mask.words.resize((static_cast<size_t>(trie_->vocab_size()) + 63) / 64);
  size_t n_allowed = 0;
  const auto allow = [&](int32_t id) {
    set_bit(mask.words, id);
    ++n_allowed;
  };
  if (automaton_.may_end(config)) allow(trie_->eos_id());
  const bool takes_added = automaton_.step_added(config) != Automaton::kDead;
  for (const int32_t id : trie_->added()) {
    const bool is_allowed = id == trie_->think_end_id()
                                ? automaton_.step_mark(config, Mark::kThinkEnd) != Automaton::kDead
                            : id == trie_->dsml_id()
                                ? automaton_.step_mark(config, Mark::kDsml) != Automaton::kDead
                                : takes_added;
    if (is_allowed) allow(id);
  }
  walk(config, mask, n_allowed);
  mask.is_all = n_allowed == trie_->tokens().size() + trie_->added().size() + 1;
}

void GrammarConstraint::walk(Automaton::Config config, Mask& mask, size_t& n_allowed) {
  const std::span<const TokenTrie::Node> nodes = trie_->nodes();
  const std::span<const int32_t> tokens = trie_->tokens();
  // path_[d] is the config before the byte of a node of depth d.
  path_.assign(trie_->max_bytes() + 1, Automaton::kDead);
  path_[0] = config;
  for (size_t i = 0; i < nodes.size();) {
    const TokenTrie::Node& node = nodes[i];
    const Automaton::Config next = automaton_.step(path_[node.depth], node.byte);
    if (next == Automaton::kDead) {
      i = node.next;
      continue;
    }
    path_[node.depth + 1u] = next;
    for (uint32_t t = node.tokens_begin; t < node.tokens_end; ++t) {
      set_bit(mask.words, tokens[t]);
      ++n_allowed;
    }
    ++i;
    if (automaton_.is_full()) {
      path_.resize(node.depth + 2u);
      path_.push_back(config_);
      automaton_.forget_others(path_);
      config_ = path_.back();
      path_.pop_back();
      path_.resize(trie_->max_bytes() + 1, Automaton::kDead);
      masks_.clear();
    }
  }
}

}  // namespace dsv4
