#include "grammar/grammar_constraint.h"

#include "base/error.h"
#include "grammar/grammar_testing.h"
#include "grammar/json_schema.h"
#include "grammar/reply_grammar.h"

#include <gtest/gtest.h>

#include <fmt/core.h>

namespace dsv4 {
namespace {

const std::string kRoot = DSV4_SOURCE_DIR;

std::vector<std::shared_ptr<const Grammar>> grammars() {
  std::vector<std::shared_ptr<const Grammar>> out = {compile_json_object()};
  for (
      const char* text :
      {R"({"type":"array","items":{"type":"string","minLength":2,"maxLength":70},"maxItems":9})",
       R"({"type":"object","properties":{"a":{"type":"number","minimum":-2.5},"b":{"enum":["x","é"]},
            "c":{"type":"string","pattern":"^[a-z日]+$"}}})",
       R"({"anyOf":[{"type":"array","items":{"$ref":"#"}},{"type":"integer","maximum":77},
            {"type":"array","items":{"$ref":"#"},"maxItems":2}]})",
       R"({"type":"string","format":"date-time"})"}) {
    out.push_back(compile_json_schema(Json::parse(text, "schema"), "schema"));
  }
  const Json parameters = Json::parse(
      R"({"type":"object","properties":{"q":{"type":"string"},"n":{"type":["integer","null"]}},
          "required":["q"]})",
      "parameters");
  for (const CallRule choice : {CallRule::kAuto, CallRule::kNone, CallRule::kRequired}) {
    ReplyRules rules;
    rules.mode = ThinkingMode::kThinking;
    rules.choice = choice;
    rules.tools = {{"search", &parameters, true, "tools[0]"}, {"look", &parameters, false, ""}};
    out.push_back(compile_reply(rules));
  }
  return out;
}

// What the grammar says about one token, without the tree and without what is remembered.
bool is_allowed(const std::shared_ptr<const Grammar>& grammar, const std::vector<int32_t>& before,
                int32_t id) {
  GrammarConstraint constraint(mini_trie(kRoot), grammar);
  for (const int32_t token : before) constraint.accept(token);
  if (id == mini_trie(kRoot)->eos_id()) return constraint.may_end();
  constraint.accept(id);
  return !constraint.is_over();
}

TEST(GrammarConstraint, mask_is_what_trying_each_token_gives) {
  std::mt19937_64 rng(11);
  const auto trie = mini_trie(kRoot);
  for (const auto& grammar : grammars()) {
    for (int i = 0; i < 4; ++i) {
      GrammarConstraint constraint(trie, grammar);
      std::vector<int32_t> before;
      std::vector<uint64_t> mask((static_cast<size_t>(trie->vocab_size()) + 63) / 64);
      for (uint64_t n = rng() % 25; n > 0 && !constraint.is_over(); --n) {
        if (!constraint.mask(mask)) mask.assign(mask.size(), 0xF);
        const std::vector<int32_t> ids = allowed_ids(mask);
        ASSERT_FALSE(ids.empty());
        before.push_back(ids[rng() % ids.size()]);
        constraint.accept(before.back());
      }
      if (constraint.is_over()) continue;
      const bool is_masked = constraint.mask(mask);
      for (int32_t id = 0; id < trie->vocab_size(); ++id) {
        if (!mini_tokenizer(kRoot).has_token(id)) continue;
        const bool bit = (mask[static_cast<size_t>(id) / 64] >> (id % 64) & 1) != 0;
        ASSERT_EQ(!is_masked || bit, is_allowed(grammar, before, id))
            << id << " \"" << mini_tokenizer(kRoot).token_bytes(id) << "\"";
      }
    }
  }
}

TEST(GrammarConstraint, there_is_always_a_token) {
  std::mt19937_64 rng(5);
  const auto trie = mini_trie(kRoot);
  std::vector<uint64_t> mask((static_cast<size_t>(trie->vocab_size()) + 63) / 64);
  for (const auto& grammar : grammars()) {
    GrammarConstraint constraint(trie, grammar);
    for (int i = 0; i < 2000 && !constraint.is_over(); ++i) {
      if (!constraint.mask(mask)) mask.assign(mask.size(), 0xF0);
      const std::vector<int32_t> ids = allowed_ids(mask);
      ASSERT_FALSE(ids.empty());
      // Brackets nest as deeply as they may, and then there is still a way out.
      int32_t id = ids[rng() % ids.size()];
      for (const int32_t other : ids) {
        if (trie->bytes(other) == "[" || trie->bytes(other) == "{") id = other;
      }
      constraint.accept(id);
    }
  }
}

TEST(GrammarConstraint, nesting_is_bounded_and_ends) {
  const auto grammar = compile_json_schema(Json(true), "schema");
  const size_t depth = read(grammar, std::string(1000, '[')).n_bytes;
  EXPECT_GT(depth, 80u);
  EXPECT_LT(depth, 128u);
  EXPECT_TRUE(accepts(grammar, std::string(depth, '[') + std::string(depth, ']')));
}

TEST(GrammarConstraint, clones_go_on_alone) {
  GrammarConstraint constraint(mini_trie(kRoot), compile_json_object());
  for (const int32_t id : mini_tokenizer(kRoot).encode("{\"a\": [", ParseSpecial::kNo)) {
    constraint.accept(id);
  }
  const auto copy = constraint.clone();
  std::vector<uint64_t> a(20), b(20);
  ASSERT_TRUE(constraint.mask(a));
  ASSERT_TRUE(copy->mask(b));
  EXPECT_EQ(a, b);
  for (const int32_t id : mini_tokenizer(kRoot).encode("1]}", ParseSpecial::kNo)) copy->accept(id);
  EXPECT_TRUE(static_cast<GrammarConstraint&>(*copy).may_end());
  EXPECT_FALSE(constraint.may_end());
}

TEST(GrammarConstraint, is_over_after_the_end_and_after_a_wrong_token) {
  std::vector<uint64_t> mask(20, 7);
  GrammarConstraint wrong(mini_trie(kRoot), compile_json_object());
  wrong.accept(mini_tokenizer(kRoot).encode("x", ParseSpecial::kNo).front());
  EXPECT_FALSE(wrong.mask(mask));
  EXPECT_EQ(mask, std::vector<uint64_t>(20, 7));

  GrammarConstraint ended(mini_trie(kRoot), compile_json_object());
  for (const int32_t id : mini_tokenizer(kRoot).encode("{}", ParseSpecial::kNo)) ended.accept(id);
  ASSERT_TRUE(ended.mask(mask));
  EXPECT_EQ(allowed_ids(mask), std::vector<int32_t>{mini_trie(kRoot)->eos_id()});
  ended.accept(mini_trie(kRoot)->eos_id());
  EXPECT_FALSE(ended.mask(mask));
}

TEST(Automaton, remembers_a_bounded_amount) {
  const auto grammar = compile_json_schema(
      Json::parse(R"({"type":"array","items":{"type":"string","pattern":"^([ab]{50})*$"}})", "s"),
      "schema");
  std::mt19937_64 rng(2);
  Automaton automaton(grammar);
  Automaton::Config config = automaton.start();
  for (int i = 0; i < 300'000; ++i) {
    automaton.allow_work();
    Automaton::Config next = Automaton::kDead;
    while (next == Automaton::kDead) {
      next = automaton.step(config, static_cast<uint8_t>("[\"ab,"[rng() % 5]));
    }
    config = next;
    if (automaton.is_full()) automaton.forget_others(std::span(&config, 1));
    ASSERT_LE(automaton.n_configs(), Automaton::kMaxConfigs + 1);
  }
}

// Each item is another place, and there are more places within a text than masks are kept.
TEST(GrammarConstraint, masks_stay_right_when_others_are_forgotten) {
  const auto trie = mini_trie(kRoot);
  const char* schema = R"({"type":"array","maxItems":1000000,
                           "items":{"type":"string","pattern":"^([ab]{40}[0-9]{40})*$"}})";
  const auto grammar = compile_json_schema(Json::parse(schema, "schema"), "schema");
  std::mt19937_64 rng(3);
  GrammarConstraint constraint(trie, grammar);
  std::vector<uint64_t> mask((static_cast<size_t>(trie->vocab_size()) + 63) / 64);
  std::vector<uint64_t> expected = mask;
  std::vector<int32_t> ids;
  for (int i = 0; i < 40'000; ++i) {
    ASSERT_TRUE(constraint.mask(mask)) << i;
    if (i % 40 == 0) {
      const auto fresh = constraint.clone();  // remembers nothing yet
      ASSERT_TRUE(fresh->mask(expected)) << i;
      ASSERT_EQ(mask, expected) << i;
    }
    ids = allowed_ids(mask);
    std::erase_if(ids, [&](int32_t id) {
      return trie->bytes(id).size() != 1 || trie->bytes(id).find_first_of("[\",ab01") != 0;
    });
    ASSERT_FALSE(ids.empty()) << i;
    constraint.accept(ids[rng() % ids.size()]);
  }
}

}  // namespace
}  // namespace dsv4
