// Building of grammars. What each state needs to come to an end is computed by Knuth's
// generalisation of Dijkstra's algorithm: the smallest value that is open is final.
#include "grammar/grammar.h"

#include "base/check.h"
#include "base/error.h"
#include "text/special_tokens.h"

#include <fmt/core.h>

#include <algorithm>
#include <functional>
#include <queue>
#include <utility>

namespace dsv4 {

namespace {

// One way from a state to the end of its rule: the values of one or two other states decide it.
struct Way {
  StateId owner;
  StateId first;              // the next state; for calls the start of the rule
  StateId second = kNoState;  // behind the call
};

// Of the stack, by the heights of the states that follow.
uint32_t height_of(const Way& way, const std::vector<uint32_t>& heights) {
  if (way.second == kNoState) return heights[way.first];
  return std::max(heights[way.first] + 1, heights[way.second]);
}

// The least height of every state; kUnbounded where there is no way to the end.
std::vector<uint32_t> least_heights(const std::vector<Grammar::State>& states,
                                    const std::vector<Way>& ways) {
  std::vector<std::vector<uint32_t>> users(states.size());
  std::vector<uint8_t> n_open(ways.size());
  for (uint32_t i = 0; i < ways.size(); ++i) {
    users[ways[i].first].push_back(i);
    n_open[i] = 1;
    if (ways[i].second != kNoState) {
      users[ways[i].second].push_back(i);
      n_open[i] = 2;
    }
  }
  std::vector<uint32_t> values(states.size(), kUnbounded);
  std::vector<bool> is_final(states.size());
  using Entry = std::pair<uint32_t, StateId>;
  std::priority_queue<Entry, std::vector<Entry>, std::greater<>> open;
  for (StateId id = 0; id < states.size(); ++id) {
    if (states[id].ends_rule) open.emplace(0, id);
  }
  while (!open.empty()) {
    const auto [value, id] = open.top();
    open.pop();
    if (is_final[id]) continue;
    is_final[id] = true;
    values[id] = value;
    for (const uint32_t i : users[id]) {
      if (--n_open[i] == 0 && !is_final[ways[i].owner]) {
        open.emplace(height_of(ways[i], values), ways[i].owner);
      }
    }
  }
  return values;
}

}  // namespace

RuleId GrammarBuilder::add_rule() {
  const StateId start = add_state();
  const StateId end = add_state();
  states_[end].ends_rule = true;
  rules_.push_back({start, end});
  return static_cast<RuleId>(rules_.size() - 1);
}

StateId GrammarBuilder::add_state() {
  if (states_.size() >= kMaxStates) {
    throw Error(ErrorCode::kOutOfRange, where_,
                fmt::format("too large: it needs more than {} states; use fewer or shorter "
                            "properties, enumerations and bounded patterns",
                            kMaxStates));
  }
  states_.emplace_back();
  return static_cast<StateId>(states_.size() - 1);
}

StateId GrammarBuilder::add_counted(uint32_t min, uint32_t max) {
  CHECK(min <= max, min, max);
  const StateId id = add_state();
  states_[id].is_counted = true;
  states_[id].min = min;
  states_[id].max = max;
  return id;
}

void GrammarBuilder::add_bytes(StateId from, uint8_t low, uint8_t high, StateId to) {
  CHECK(!states_[from].is_counted && low <= high, from);
  states_[from].bytes.push_back({low, high, to});
}

void GrammarBuilder::add_byte(StateId from, char byte, StateId to) {
  const uint8_t value = static_cast<uint8_t>(byte);
  add_bytes(from, value, value, to);
}

void GrammarBuilder::add_mark(StateId from, Mark mark, StateId to) {
  states_[from].marks.push_back({mark, to});
}

void GrammarBuilder::add_call(StateId from, RuleId rule, StateId to) {
  states_[from].calls.push_back({rule, to});
}

void GrammarBuilder::add_jump(StateId from, StateId to) { states_[from].jumps.push_back(to); }

void GrammarBuilder::take_added(StateId from, StateId to) { states_[from].added_to = to; }

StateId GrammarBuilder::add_text(StateId from, std::string_view text) {
  std::vector<StateId> behind = {from};
  for (const char c : text) {
    const StateId next = add_state();
    add_byte(behind.back(), c, next);
    behind.push_back(next);
  }
  for (size_t i = text.find(kDsml); i != text.npos; i = text.find(kDsml, i + 1)) {
    add_mark(behind[i], Mark::kDsml, behind[i + kDsml.size()]);
  }
  return behind.back();
}

void GrammarBuilder::add_text(StateId from, std::string_view text, StateId to) {
  add_jump(add_text(from, text), to);
}

void GrammarBuilder::measure() {
  std::vector<Way> ways;
  for (StateId id = 0; id < states_.size(); ++id) {
    const Grammar::State& state = states_[id];
    for (const auto& edge : state.bytes) ways.push_back({id, edge.to});
    if (state.is_counted && state.min > 0) {
      // It is left only after calls, which lead back to counted states with the same jumps.
      for (const auto& call : state.calls) {
        for (const StateId to : state.jumps) {
          ways.push_back({id, rules_[call.rule].start, to});
        }
      }
      continue;
    }
    for (const StateId to : state.jumps) ways.push_back({id, to});
    for (const auto& call : state.calls) {
      ways.push_back({id, rules_[call.rule].start, call.to});
    }
  }
  const std::vector<uint32_t> heights = least_heights(states_, ways);
  for (StateId id = 0; id < states_.size(); ++id) states_[id].height = heights[id];
}

void GrammarBuilder::remove_dead_ways() {
  const auto is_dead = [&](StateId id) { return states_[id].height == kUnbounded; };
  for (Grammar::State& state : states_) {
    std::erase_if(state.bytes, [&](const auto& edge) { return is_dead(edge.to); });
    std::erase_if(state.marks, [&](const auto& edge) { return is_dead(edge.to); });
    std::erase_if(state.jumps, is_dead);
    std::erase_if(state.calls, [&](const auto& call) {
      return is_dead(call.to) || is_dead(rules_[call.rule].start);
    });
    if (state.added_to != kNoState && is_dead(state.added_to)) state.added_to = kNoState;
  }
}

std::shared_ptr<const Grammar> GrammarBuilder::finish(RuleId start) {
  measure();
  const uint32_t height = states_[rules_[start].start].height;
  if (height == kUnbounded) {
    throw Error(ErrorCode::kInvalidInput, where_,
                "no finite value satisfies it: its keywords contradict each other or it contains "
                "itself without an end");
  }
  if (height > Grammar::kMaxHeight) {
    throw Error(ErrorCode::kOutOfRange, where_,
                fmt::format("every value is nested deeper than {} levels", Grammar::kMaxHeight));
  }
  remove_dead_ways();
  Grammar grammar;
  grammar.states_ = std::move(states_);
  for (const Rule& rule : rules_) grammar.starts_.push_back(rule.start);
  grammar.start_rule_ = start;
  return std::make_shared<const Grammar>(std::move(grammar));
}

}  // namespace dsv4
