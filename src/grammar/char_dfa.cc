#include "grammar/char_dfa.h"

#include "base/check.h"
#include "base/error.h"
#include "text/unicode.h"

#include <fmt/core.h>

#include <algorithm>
#include <limits>
#include <map>
#include <utility>

namespace dsv4 {

namespace {

constexpr uint32_t kNowhere = std::numeric_limits<uint32_t>::max();

std::vector<char32_t> code_points(std::string_view text) {
  std::vector<char32_t> out;
  for (size_t i = 0; i < text.size();) {
    const CodePoint code_point = decode_utf8(text, i);
    out.push_back(code_point.value);
    i += code_point.length;
  }
  return out;
}

void add_edge(std::vector<CharDfa::Edge>& edges, char32_t low, char32_t high, uint32_t to) {
  if (!edges.empty() && edges.back().to == to && edges.back().high + 1 == low) {
    edges.back().high = high;
  } else {
    edges.push_back({low, high, to});
  }
}

// The edge of the code point, or nullptr.
const CharDfa::Edge* find_edge(const std::vector<CharDfa::Edge>& edges, char32_t code_point) {
  const auto it = std::ranges::lower_bound(edges, code_point, {}, &CharDfa::Edge::high);
  return it != edges.end() && it->low <= code_point ? &*it : nullptr;
}

}  // namespace

void AutomatonBudget::check_states(size_t n_states, std::string_view where) {
  if (n_states <= kMaxStates) return;
  throw Error(ErrorCode::kUnsupported, std::string(where),
              fmt::format("the pattern, length or combination of them needs more than {} states; "
                          "use smaller repetitions and lengths",
                          kMaxStates));
}

std::vector<CharRange> normalise(std::vector<CharRange> ranges) {
  std::ranges::sort(ranges, {}, &CharRange::low);
  std::vector<CharRange> out;
  for (const CharRange& range : ranges) {
    if (!out.empty() && range.low <= out.back().high + 1) {
      out.back().high = std::max(out.back().high, range.high);
    } else {
      out.push_back(range);
    }
  }
  return out;
}

std::vector<CharRange> complement(std::vector<CharRange> ranges) {
  ranges.push_back({0xD800, 0xDFFF});
  ranges = normalise(std::move(ranges));
  std::vector<CharRange> out;
  char32_t next = 0;
  for (const CharRange& range : ranges) {
    if (range.low > next) out.push_back({next, range.low - 1});
    next = range.high + 1;
  }
  if (next <= 0x10FFFF) out.push_back({next, 0x10FFFF});
  return out;
}

CharDfa::CharDfa(std::vector<State> states) : states_(std::move(states)) { remove_dead_states(); }

CharDfa CharDfa::any() {
  State state;
  state.accepts = true;
  for (const CharRange& range : kAllChars) state.edges.push_back({range.low, range.high, 0});
  return CharDfa({state});
}

CharDfa CharDfa::of_length(uint64_t min, uint64_t max, AutomatonBudget& budget,
                           std::string_view where) {
  const bool is_bounded = max != std::numeric_limits<uint64_t>::max();
  const uint64_t last = is_bounded ? max : min;
  AutomatonBudget::check_states(static_cast<size_t>(last), where);
  budget.spend(static_cast<size_t>(last), where);
  std::vector<State> states(static_cast<size_t>(last) + 1);
  for (size_t i = 0; i < states.size(); ++i) {
    states[i].accepts = i >= min;
    if (i == last && is_bounded) continue;
    const uint32_t to = static_cast<uint32_t>(std::min<uint64_t>(i + 1, last));
    for (const CharRange& range : kAllChars) states[i].edges.push_back({range.low, range.high, to});
  }
  return CharDfa(std::move(states));
}

CharDfa CharDfa::of_strings(std::span<const std::string> strings, AutomatonBudget& budget,
                            std::string_view where) {
  std::vector<std::map<char32_t, uint32_t>> nodes(1);
  std::vector<State> states(1);
  for (const std::string& text : strings) {
    uint32_t at = 0;
    for (const char32_t c : code_points(text)) {
      const auto [it, is_new] = nodes[at].emplace(c, static_cast<uint32_t>(nodes.size()));
      at = it->second;
      if (!is_new) continue;
      nodes.emplace_back();
      states.emplace_back();
    }
    states[at].accepts = true;
    budget.spend(text.size() + 1, where);
  }
  for (size_t i = 0; i < nodes.size(); ++i) {
    for (const auto& [c, to] : nodes[i]) states[i].edges.push_back({c, c, to});
  }
  return CharDfa(std::move(states));
}

CharDfa CharDfa::without(std::string_view word) {
  const std::vector<char32_t> chars = code_points(word);
  CHECK(!chars.empty());
  // borders[i]: the longest proper prefix of the word that ends its first i characters.
  std::vector<size_t> borders(chars.size() + 1);
  const auto next_of = [&](size_t state, char32_t c) {
    while (state > 0 && chars[state] != c) state = borders[state];
    return chars[state] == c ? state + 1 : 0;
  };
  for (size_t i = 1; i < chars.size(); ++i) borders[i + 1] = next_of(borders[i], chars[i]);

  std::vector<State> states(chars.size());
  for (size_t i = 0; i < chars.size(); ++i) {
    states[i].accepts = true;
    std::vector<CharRange> used;
    std::map<char32_t, uint32_t> targets;
    for (const char32_t c : chars) {
      used.push_back({c, c});
      targets[c] = static_cast<uint32_t>(next_of(i, c));
    }
    for (const CharRange& range : complement(used)) {
      states[i].edges.push_back({range.low, range.high, 0});
    }
    for (const auto& [c, to] : targets) {
      if (to < chars.size()) states[i].edges.push_back({c, c, to});
    }
    std::ranges::sort(states[i].edges, {}, &Edge::low);
  }
  return CharDfa(std::move(states));
}

bool CharDfa::matches(std::string_view text) const {
  if (is_empty()) return false;
  uint32_t at = 0;
  for (const char32_t c : code_points(text)) {
    const Edge* edge = find_edge(states_[at].edges, c);
    if (edge == nullptr) return false;
    at = edge->to;
  }
  return states_[at].accepts;
}

CharDfa CharDfa::intersect(const CharDfa& other, AutomatonBudget& budget,
                           std::string_view where) const {
  return product(other, Combine::kBoth, budget, where);
}

CharDfa CharDfa::subtract(const CharDfa& other, AutomatonBudget& budget,
                          std::string_view where) const {
  return product(other, Combine::kFirstOnly, budget, where);
}

// A maximum that no string reaches costs nothing, and is common: a pattern with its own length.
CharDfa CharDfa::intersect_length(uint64_t min, uint64_t max, AutomatonBudget& budget,
                                  std::string_view where) const {
  if (longest() <= max) max = std::numeric_limits<uint64_t>::max();
  if (min == 0 && max == std::numeric_limits<uint64_t>::max()) return *this;
  return intersect(of_length(min, max, budget, where), budget, where);
}

// Characters of the longest string; the largest number if there is none.
uint64_t CharDfa::longest() const {
  // Longest paths in the order that removes states without open predecessors; a cycle stays.
  std::vector<uint32_t> n_open(states_.size());
  for (const State& state : states_) {
    for (const Edge& edge : state.edges) ++n_open[edge.to];
  }
  if (is_empty()) return 0;
  if (n_open[0] != 0) return std::numeric_limits<uint64_t>::max();
  std::vector<uint64_t> length(states_.size());
  std::vector<uint32_t> order = {0};
  for (size_t i = 0; i < order.size(); ++i) {
    for (const Edge& edge : states_[order[i]].edges) {
      length[edge.to] = std::max(length[edge.to], length[order[i]] + 1);
      if (--n_open[edge.to] == 0) order.push_back(edge.to);
    }
  }
  if (order.size() < states_.size()) return std::numeric_limits<uint64_t>::max();
  return *std::ranges::max_element(length);
}

CharDfa CharDfa::product(const CharDfa& other, Combine combine, AutomatonBudget& budget,
                         std::string_view where) const {
  if (is_empty()) return {};
  if (other.is_empty()) return combine == Combine::kBoth ? CharDfa() : *this;
  using Pair = std::pair<uint32_t, uint32_t>;
  std::map<Pair, uint32_t> ids;
  std::vector<Pair> pairs;
  const auto id_of = [&](Pair pair) {
    const auto [it, is_new] = ids.emplace(pair, static_cast<uint32_t>(pairs.size()));
    if (is_new) pairs.push_back(pair);
    return it->second;
  };
  static const std::vector<Edge> kNoEdges;
  std::vector<State> states;
  id_of({0, 0});
  for (size_t i = 0; i < pairs.size(); ++i) {
    AutomatonBudget::check_states(pairs.size(), where);
    const auto [a, b] = pairs[i];
    const std::vector<Edge>& seconds = b == kNowhere ? kNoEdges : other.states_[b].edges;
    budget.spend(1 + states_[a].edges.size() + seconds.size(), where);
    State state;
    const bool second_accepts = b != kNowhere && other.states_[b].accepts;
    state.accepts = states_[a].accepts && second_accepts == (combine == Combine::kBoth);
    size_t k = 0;
    for (const Edge& edge : states_[a].edges) {
      // Cut the edge where the other automaton's edges begin and end.
      for (char32_t low = edge.low; low <= edge.high;) {
        while (k < seconds.size() && seconds[k].high < low) ++k;
        const bool is_inside = k < seconds.size() && seconds[k].low <= low;
        char32_t high = edge.high;
        if (is_inside) high = std::min(high, seconds[k].high);
        if (!is_inside && k < seconds.size()) high = std::min<char32_t>(high, seconds[k].low - 1);
        const uint32_t second = is_inside ? seconds[k].to : kNowhere;
        if (second != kNowhere || combine == Combine::kFirstOnly) {
          add_edge(state.edges, low, high, id_of({edge.to, second}));
        }
        low = high + 1;
      }
    }
    states.push_back(std::move(state));
  }
  return CharDfa(std::move(states));
}

void CharDfa::remove_dead_states() {
  std::vector<std::vector<uint32_t>> sources(states_.size());
  for (uint32_t i = 0; i < states_.size(); ++i) {
    for (const Edge& edge : states_[i].edges) sources[edge.to].push_back(i);
  }
  std::vector<bool> lives(states_.size());
  std::vector<uint32_t> open;
  const auto mark = [&](uint32_t i) {
    if (lives[i]) return;
    lives[i] = true;
    open.push_back(i);
  };
  for (uint32_t i = 0; i < states_.size(); ++i) {
    if (states_[i].accepts) mark(i);
  }
  while (!open.empty()) {
    const uint32_t i = open.back();
    open.pop_back();
    for (const uint32_t source : sources[i]) mark(source);
  }
  if (states_.empty() || !lives[0]) {
    states_.clear();
    return;
  }
  std::vector<uint32_t> names(states_.size());
  uint32_t n = 0;
  for (uint32_t i = 0; i < states_.size(); ++i) {
    if (lives[i]) names[i] = n++;
  }
  for (uint32_t i = 0; i < states_.size(); ++i) {
    if (!lives[i]) continue;
    std::erase_if(states_[i].edges, [&](const Edge& edge) { return !lives[edge.to]; });
    for (Edge& edge : states_[i].edges) edge.to = names[edge.to];
    if (names[i] != i) states_[names[i]] = std::move(states_[i]);
  }
  states_.resize(n);
}

}  // namespace dsv4
