#include "grammar/reply_grammar.h"

#include "base/error.h"
#include "text/special_tokens.h"

#include <fmt/core.h>

#include <algorithm>
#include <optional>

namespace dsv4 {

namespace {

constexpr std::string_view kBlockBegin = "<｜DSML｜";

// Whether the reply may end while it reasons, and may have other added tokens, as without a
// grammar.
enum class Openness { kClosed, kOpen };

// States of a text in which `word` is looked for: state i has read its first i bytes.
class WordFinder {
 public:
  WordFinder(GrammarBuilder& builder, std::string_view word) : builder_(builder), word_(word) {
    for (size_t i = 0; i < word.size(); ++i) states_.push_back(builder.add_state());
    std::vector<size_t> borders(word.size() + 1);
    const auto next_of = [&](size_t state, char byte) {
      while (state > 0 && word[state] != byte) state = borders[state];
      return word[state] == byte ? state + 1 : 0;
    };
    for (size_t i = 1; i < word.size(); ++i) borders[i + 1] = next_of(borders[i], word[i]);
    for (size_t i = 0; i < word.size(); ++i) {
      for (unsigned byte = 0; byte < 256; ++byte) {
        const size_t next = next_of(i, static_cast<char>(byte));
        if (next == word.size()) continue;
        const uint8_t value = static_cast<uint8_t>(byte);
        builder.add_bytes(states_[i], value, value, states_[next]);
      }
    }
  }

  const std::vector<StateId>& states() const { return states_; }
  StateId begin() const { return states_.front(); }
  // Where the word leads; without it, the word cannot come.
  void set_end(StateId to) { builder_.add_byte(states_.back(), word_.back(), to); }

 private:
  GrammarBuilder& builder_;
  std::string_view word_;
  std::vector<StateId> states_;
};

class ReplyBuilder {
 public:
  explicit ReplyBuilder(const ReplyRules& rules)
      : rules_(rules), builder_(rules.schema_where), json_(builder_), dsml_(json_) {
    const bool is_text = rules.format == ReplyFormat::kText;
    const bool is_free = rules.choice == CallRule::kAuto || rules.choice == CallRule::kNone;
    openness_ = is_text && is_free ? Openness::kOpen : Openness::kClosed;
  }

  std::shared_ptr<const Grammar> build() {
    const RuleId id = builder_.add_rule();
    rule_ = builder_.rule(id);
    const StateId content = builder_.add_state();
    if (rules_.mode == ThinkingMode::kThinking) {
      add_reasoning(rule_.start, content);
    } else {
      builder_.add_jump(rule_.start, content);
    }
    add_content(content);
    return builder_.finish(id);
  }

 private:
  void add_reasoning(StateId from, StateId content) {
    WordFinder text(builder_, kThinkEnd);
    text.set_end(content);
    builder_.add_jump(from, text.begin());
    for (const StateId state : text.states()) {
      builder_.add_mark(state, Mark::kThinkEnd, content);
      builder_.add_mark(state, Mark::kDsml, text.begin());
      if (openness_ == Openness::kClosed) continue;
      builder_.take_added(state, text.begin());
      builder_.add_jump(state, rule_.end);
    }
  }

  void add_content(StateId from) {
    if (rules_.choice == CallRule::kRequired || rules_.choice == CallRule::kNamed) {
      add_block(builder_.add_text(from, "\n\n" + std::string(kBlockBegin)));
      return;
    }
    if (rules_.format == ReplyFormat::kText) {
      add_text(from);
      return;
    }
    add_json(from);
    if (rules_.choice == CallRule::kAuto && !rules_.tools.empty()) {
      add_block(builder_.add_text(from, "\n\n" + std::string(kBlockBegin)));
    }
  }

  // In the text of a reply that may call tools a block begins with `<｜DSML｜`; in one that may
  // not, the word ｜DSML｜ does not come at all.
  void add_text(StateId from) {
    const bool has_calls = rules_.choice == CallRule::kAuto;
    WordFinder text(builder_, has_calls ? kBlockBegin : kDsml);
    builder_.add_jump(from, text.begin());
    for (const StateId state : text.states()) {
      builder_.take_added(state, text.begin());
      builder_.add_mark(state, Mark::kThinkEnd, text.begin());
      builder_.add_jump(state, rule_.end);
    }
    if (!has_calls) return;
    const StateId block = builder_.add_state();
    text.set_end(block);
    for (size_t i = 0; i < text.states().size(); ++i) {
      const bool is_behind_bracket = i == 1;
      builder_.add_mark(text.states()[i], Mark::kDsml, is_behind_bracket ? block : text.begin());
    }
    add_block(block);
  }

  void add_json(StateId from) {
    if (rules_.format == ReplyFormat::kJsonObject) {
      builder_.add_call(from, json_.any_object(), rule_.end);
      return;
    }
    const SchemaNode root{rules_.schema, rules_.schema_where};
    SchemaBudget budget;
    SchemaRules schema(json_, root,
                       rules_.is_strict ? Undeclared::kForbidden : Undeclared::kAllowed, budget);
    const RuleId value = schema.rule({root}, ValueForm::kJson);
    schema.build();
    builder_.add_call(from, value, rule_.end);
  }

  void add_block(StateId from) {
    std::vector<ReplyTool> tools = rules_.tools;
    if (rules_.choice == CallRule::kNamed) {
      std::erase_if(tools, [&](const ReplyTool& tool) { return tool.name != rules_.named_tool; });
    }
    if (tools.empty()) {
      throw Error(ErrorCode::kInvalidInput, rules_.choice_where,
                  rules_.choice == CallRule::kNamed
                      ? fmt::format("there is no tool \"{}\"", rules_.named_tool)
                      : "calls are required, but there are no tools");
    }
    dsml_.add_block(from, tools, rules_.parallel, rule_.end);
  }

  const ReplyRules& rules_;
  GrammarBuilder builder_;
  JsonRules json_;
  DsmlRules dsml_;
  GrammarBuilder::Rule rule_ = {};
  Openness openness_ = Openness::kOpen;
};

}  // namespace

std::shared_ptr<const Grammar> compile_reply(const ReplyRules& rules) {
  const bool may_be_anything = rules.format == ReplyFormat::kText && rules.tools.empty() &&
                               (rules.choice == CallRule::kAuto || rules.choice == CallRule::kNone);
  if (may_be_anything) return nullptr;
  return ReplyBuilder(rules).build();
}

}  // namespace dsv4
