#include <fmt/core.h>
#include <gtest/gtest.h>
#include <chrono>
#include "grammar/grammar_testing.h"
#include "grammar/json_schema.h"
namespace dsv4 {
namespace {
TEST(Smoke, random) {
  for (
      const char* s :
      {R"({"type":"object","properties":{"a":{"type":"string"},"b":{"type":"integer","minimum":-12,"maximum":345},"c":{"enum":["x","yy",null,{"q":[1,2]}]}},"required":["a"],"additionalProperties":false})",
       R"({"type":"array","items":{"type":"number","minimum":-1.5,"exclusiveMaximum":2},"minItems":1,"maxItems":4})",
       R"({"type":"string","format":"date-time"})",
       R"({"type":"string","pattern":"^[a-z]{3}-\\d+$","maxLength":8})",
       R"({"type":"string","minLength":3,"maxLength":9})",
       R"({"$defs":{"n":{"type":"object","properties":{"v":{"type":"integer"},"kids":{"type":"array","items":{"$ref":"#/$defs/n"}}},"required":["v","kids"]}},"$ref":"#/$defs/n"})"}) {
    const Json schema = Json::parse(s, "s");
    auto g = compile_json_schema(schema, "schema");
    fmt::print("{} states\n", g->n_states());
    std::mt19937_64 rng(1);
    for (int i = 0; i < 3; ++i) {
      GrammarConstraint c(mini_trie(), g);
      auto r = random_reply(c, *mini_trie(), rng, 20, 400);
      fmt::print("{} {} {}\n", r.ended, r.n_tokens, r.text);
    }
  }
}
TEST(Smoke, timing) {
  auto tok = Tokenizer::load("/work/main/build/release/tests/text/tokenizer.json");
  auto t0 = std::chrono::steady_clock::now();
  auto ms = [&] {
    auto t = std::chrono::steady_clock::now();
    double d = std::chrono::duration<double, std::milli>(t - t0).count();
    t0 = std::chrono::steady_clock::now();
    return d;
  };
  auto trie = std::make_shared<const TokenTrie>(tok);
  fmt::print("trie {} ms, {} nodes\n", ms(), trie->nodes().size());
  auto g = compile_json_object();
  fmt::print("compile {} ms\n", ms());
  GrammarConstraint c(trie, g);
  std::vector<uint64_t> m(129280 / 64);
  for (const char* s :
       {"{", "\"a", "b\"", ": ", "[1", "1, \"", "long string ", "x", "\\u00", "e4", "\"]", "}"}) {
    c.mask(m);
    double a = ms();
    for (int32_t id : tok.encode(s, ParseSpecial::kNo)) c.accept(id);
    fmt::print("mask {:.3f} ms, then {} {}\n", a, s, c.is_over());
    ms();
  }
}
}  // namespace
}  // namespace dsv4
#include "grammar/reply_grammar.h"
namespace dsv4 {
namespace {
TEST(Smoke, reply) {
  const Json p = Json::parse(
      R"({"type":"object","properties":{"city":{"type":"string","minLength":2,"maxLength":10},"n":{"type":"integer"},"unit":{"type":["string","null"],"enum":["C","F",null]},"tags":{"type":"array","items":{"type":"string"}}},"required":["city","unit"]})",
      "p");
  for (bool strict : {true, false})
    for (auto choice : {CallRule::kRequired, CallRule::kAuto, CallRule::kNone}) {
      ReplyRules r;
      r.mode = ThinkingMode::kThinking;
      r.choice = choice;
      r.tools = {{"get_weather", &p, strict, "tools[0]"}, {"noargs", nullptr, strict, ""}};
      auto g = compile_reply(r);
      fmt::print("{} states\n", g->n_states());
      std::mt19937_64 rng(1);
      for (int i = 0; i < 3; ++i) {
        GrammarConstraint c(mini_trie(), g);
        for (int32_t id : mini_tokenizer().encode("I think</think>", ParseSpecial::kYes))
          c.accept(id);
        if (choice == CallRule::kAuto)
          for (int32_t id : mini_tokenizer().encode("Hm <｜DSML｜", ParseSpecial::kYes))
            c.accept(id);
        auto rr = random_reply(c, *mini_trie(), rng, 30, 400);
        fmt::print("{} {} {}\n", rr.ended, rr.n_tokens, rr.text);
      }
    }
}
}  // namespace
}  // namespace dsv4
