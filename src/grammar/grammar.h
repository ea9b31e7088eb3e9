// Grammars of replies as pushdown automata over bytes: rules that call each other, each a small
// nondeterministic automaton. What a grammar allows next is asked of an Automaton (automaton.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace dsv4 {

using StateId = uint32_t;
using RuleId = uint32_t;

inline constexpr StateId kNoState = std::numeric_limits<StateId>::max();
inline constexpr uint32_t kUnbounded = std::numeric_limits<uint32_t>::max();

// Added tokens that grammars name. In text they may also be spelled by ordinary tokens; a token
// itself is allowed only where a grammar names it.
enum class Mark : uint8_t { kThinkEnd, kDsml };

// From every state of a finished grammar the end of its rule can be reached by bytes alone, so that
// no way that an automaton has entered is a dead end. Immutable.
class Grammar {
 public:
  struct ByteEdge {
    uint8_t low, high;
    StateId to;
  };
  struct MarkEdge {
    Mark mark;
    StateId to;
  };
  struct Call {
    RuleId rule;
    StateId to;  // after the rule's end
  };
  // In a counted state the stack keeps how often it was come back to: its calls are open while the
  // count is below `max`, its jumps from `min` on. A call from one counted state to another keeps
  // the count; anything else begins with 0.
  struct State {
    std::vector<ByteEdge> bytes;
    std::vector<MarkEdge> marks;
    std::vector<Call> calls;
    std::vector<StateId> jumps;
    StateId added_to = kNoState;  // after any added token that is no Mark; kNoState: not allowed
    bool ends_rule = false;
    bool is_counted = false;
    uint32_t min = 0;
    uint32_t max = kUnbounded;
    uint32_t height = kUnbounded;  // stack that the end of the rule needs at least
  };

  const State& state(StateId id) const { return states_[id]; }
  StateId start_of(RuleId rule) const { return starts_[rule]; }
  RuleId start_rule() const { return start_rule_; }

  // Calls may be nested this deep: less than JSON that is read (kMaxJsonDepth).
  static constexpr uint32_t kMaxHeight = 100;

 private:
  friend class GrammarBuilder;
  friend class EndDistance;  // of tests
  Grammar() = default;

  std::vector<State> states_;
  std::vector<StateId> starts_;
  RuleId start_rule_ = 0;
};

// Collects rules and states. Rules may be called before they have states.
class GrammarBuilder {
 public:
  struct Rule {
    StateId start, end;
  };

  // `where` names the source of the grammar in errors.
  explicit GrammarBuilder(std::string where) : where_(std::move(where)) {}

  RuleId add_rule();
  Rule rule(RuleId id) const { return rules_[id]; }
  // Throws Error(kOutOfRange) above kMaxStates; so do all that add states.
  StateId add_state();
  // The state of `min` to `max` repetitions: add calls that lead back, and jumps that leave.
  StateId add_counted(uint32_t min, uint32_t max);

  void add_bytes(StateId from, uint8_t low, uint8_t high, StateId to);
  void add_byte(StateId from, char byte, StateId to);
  void add_mark(StateId from, Mark mark, StateId to);
  void add_call(StateId from, RuleId rule, StateId to);
  void add_jump(StateId from, StateId to);
  // Any added token that is no Mark leads to `to`.
  void take_added(StateId from, StateId to);

  // The bytes of `text`; the word ｜DSML｜ in it may also be the token. Returns the state behind
  // it.
  StateId add_text(StateId from, std::string_view text);
  void add_text(StateId from, std::string_view text, StateId to);

  size_t n_states() const { return states_.size(); }

  // The finished grammar, without whatever cannot come to an end. Throws Error(kInvalidInput) when
  // nothing is left, and Error(kOutOfRange) when every text needs too much nesting.
  std::shared_ptr<const Grammar> finish(RuleId start);

  static constexpr size_t kMaxStates = 200'000;

 private:
  void measure();
  void remove_dead_ways();

  std::string where_;
  std::vector<Grammar::State> states_;
  std::vector<Rule> rules_;
};

}  // namespace dsv4
