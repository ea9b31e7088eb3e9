// From the syntax tree to a nondeterministic automaton (Thompson's construction) and by subsets to
// a deterministic one. ^ and $ are steps that read nothing and are open at the beginning and at the
// end alone.
#include "grammar/regex.h"

#include "grammar/regex_syntax.h"

#include <algorithm>
#include <map>
#include <utility>

namespace dsv4 {

namespace {

class Nfa {
 public:
  struct Edge {
    CharRange range;
    uint32_t to;
  };
  struct State {
    std::vector<Edge> edges;
    std::vector<uint32_t> jumps;
    std::vector<uint32_t> at_begin;
    std::vector<uint32_t> at_end;
  };

  Nfa(const RegexNode& root, AutomatonBudget& budget, std::string_view where)
      : budget_(budget), where_(where) {
    // Anything may stand before and behind a match.
    const uint32_t start = add_state();
    const uint32_t end = add_state();
    for (const CharRange& range : kAllChars) {
      states_[start].edges.push_back({range, start});
      states_[end].edges.push_back({range, end});
    }
    add(root, start, end);
  }

  static constexpr uint32_t kStart = 0;
  static constexpr uint32_t kEnd = 1;
  const std::vector<State>& states() const { return states_; }

 private:
  uint32_t add_state() {
    budget_.spend(1, where_);
    AutomatonBudget::check_states(states_.size() / 8, where_);
    states_.emplace_back();
    return static_cast<uint32_t>(states_.size() - 1);
  }

  void add(const RegexNode& node, uint32_t from, uint32_t to) {
    using Kind = RegexNode::Kind;
    switch (node.kind) {
      case Kind::kChars:
        budget_.spend(node.chars.size(), where_);
        for (const CharRange& range : node.chars) states_[from].edges.push_back({range, to});
        break;
      case Kind::kBegin:
        states_[from].at_begin.push_back(to);
        break;
      case Kind::kEnd:
        states_[from].at_end.push_back(to);
        break;
      case Kind::kAlternation:
        for (const RegexNode& child : node.children) {
          const uint32_t begin = add_state();
          states_[from].jumps.push_back(begin);
          add(child, begin, to);
        }
        break;
      case Kind::kSequence: {
        uint32_t at = from;
        for (const RegexNode& child : node.children) {
          const uint32_t next = add_state();
          add(child, at, next);
          at = next;
        }
        states_[at].jumps.push_back(to);
        break;
      }
      case Kind::kRepeat:
        add_repeat(node, from, to);
        break;
    }
  }

  void add_repeat(const RegexNode& node, uint32_t from, uint32_t to) {
    const RegexNode& child = node.children.front();
    uint32_t at = from;
    for (uint32_t i = 0; i < node.min; ++i) {
      const uint32_t next = add_state();
      add(child, at, next);
      at = next;
    }
    if (node.max == RegexNode::kNoLimit) {
      const uint32_t loop = add_state();
      states_[at].jumps.push_back(loop);
      add(child, loop, loop);
      states_[loop].jumps.push_back(to);
      return;
    }
    for (uint32_t i = node.min; i < node.max; ++i) {
      states_[at].jumps.push_back(to);
      const uint32_t next = add_state();
      add(child, at, next);
      at = next;
    }
    states_[at].jumps.push_back(to);
  }

  AutomatonBudget& budget_;
  std::string_view where_;
  std::vector<State> states_;
};

// The subset construction.
class Determiniser {
 public:
  Determiniser(const Nfa& nfa, AutomatonBudget& budget, std::string_view where)
      : nfa_(nfa), budget_(budget), where_(where), is_in_(nfa.states().size()) {}

  CharDfa run() {
    Set start = {Nfa::kStart};
    close(start, /*begin=*/true, /*end=*/false);
    Set whole = start;
    close(whole, /*begin=*/true, /*end=*/true);
    id_of(std::move(start));
    for (size_t i = 0; i < sets_.size(); ++i) {
      AutomatonBudget::check_states(sets_.size(), where_);
      CharDfa::State state;
      Set end = i == 0 ? whole : sets_[i];
      if (i != 0) close(end, /*begin=*/false, /*end=*/true);
      state.accepts = std::ranges::binary_search(end, Nfa::kEnd);
      add_edges(Set(sets_[i]), state);
      states_.push_back(std::move(state));
    }
    return CharDfa(std::move(states_));
  }

 private:
  using Set = std::vector<uint32_t>;  // sorted

  uint32_t id_of(Set set) {
    const auto [it, is_new] = ids_.emplace(set, static_cast<uint32_t>(sets_.size()));
    if (is_new) sets_.push_back(std::move(set));
    return it->second;
  }

  void close(Set& set, bool begin, bool end) {
    for (const uint32_t id : set) is_in_[id] = true;
    for (size_t i = 0; i < set.size(); ++i) {
      const Nfa::State& state = nfa_.states()[set[i]];
      const auto follow = [&](const std::vector<uint32_t>& jumps) {
        budget_.spend(jumps.size(), where_);
        for (const uint32_t to : jumps) {
          if (is_in_[to]) continue;
          is_in_[to] = true;
          set.push_back(to);
        }
      };
      follow(state.jumps);
      if (begin) follow(state.at_begin);
      if (end) follow(state.at_end);
    }
    budget_.spend(1 + set.size(), where_);
    for (const uint32_t id : set) is_in_[id] = false;
    std::ranges::sort(set);
  }

  // Walks over the points where an edge of one of the states begins or ends.
  void add_edges(const Set& set, CharDfa::State& state) {
    std::map<char32_t, std::pair<Set, Set>> points;  // targets that begin and that end there
    size_t n_edges = 0;
    for (const uint32_t id : set) {
      for (const Nfa::Edge& edge : nfa_.states()[id].edges) {
        points[edge.range.low].first.push_back(edge.to);
        points[edge.range.high + 1].second.push_back(edge.to);
        ++n_edges;
      }
    }
    budget_.spend(n_edges, where_);
    std::map<uint32_t, size_t> active;  // how many edges lead to a target
    for (auto it = points.begin(); it != points.end(); ++it) {
      for (const uint32_t to : it->second.second) {
        if (--active[to] == 0) active.erase(to);
      }
      for (const uint32_t to : it->second.first) ++active[to];
      if (active.empty()) continue;
      Set targets;
      for (const auto& [to, n] : active) targets.push_back(to);
      close(targets, /*begin=*/false, /*end=*/false);
      const uint32_t to = id_of(std::move(targets));
      const char32_t high = std::next(it)->first - 1;
      if (!state.edges.empty() && state.edges.back().to == to &&
          state.edges.back().high + 1 == it->first) {
        state.edges.back().high = high;
      } else {
        state.edges.push_back({it->first, high, to});
      }
    }
  }

  const Nfa& nfa_;
  AutomatonBudget& budget_;
  std::string_view where_;
  std::vector<bool> is_in_;
  std::map<Set, uint32_t> ids_;
  std::vector<Set> sets_;
  std::vector<CharDfa::State> states_;
};

}  // namespace

CharDfa compile_regex(std::string_view pattern, AutomatonBudget& budget, std::string_view where) {
  const Nfa nfa(parse_regex(pattern, where), budget, where);
  return Determiniser(nfa, budget, where).run();
}

}  // namespace dsv4
