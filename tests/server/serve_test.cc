// The server as a whole: the same answers whatever else happens, prefixes that hit, over restarts
// too.
#include "base/rng.h"
#include "server/http_socket_testing.h"
#include "server/reply_shape.h"
#include "test_server.h"

#include <fmt/core.h>

#include <algorithm>
#include <fstream>
#include <random>
#include <set>

namespace dsv4 {
namespace {

namespace fs = std::filesystem;

class ServeTest : public testing::Test {
 protected:
  ServeTest() : folder_(fs::path(testing::TempDir()) / fmt::format("dsv4-serve-{}", ::getpid())) {
    fs::remove_all(folder_);
  }
  ~ServeTest() override { fs::remove_all(folder_); }

  fs::path folder_;
};

// Made-up words.
std::string words(uint64_t stream, int64_t n) {
  std::string text;
  for (int64_t i = 0; i < n; ++i) {
    const uint64_t bits = random_bits(11, stream, static_cast<uint64_t>(i));
    if (i > 0) text += ' ';
    for (uint64_t k = 0; k < 2 + bits % 3; ++k) {
      text += "bcdfglmnprst"[(bits >> (8 * k + 8)) % 12];
      text += "aeiou"[(bits >> (8 * k + 12)) % 5];
    }
  }
  return text;
}

Json message(const char* role, const std::string& content) {
  return Json().set("role", role).set("content", content);
}

Json chat(Json::Array messages, int64_t max_tokens = 24) {
  return Json()
      .set("model", "mini")
      .set("messages", std::move(messages))
      .set("max_tokens", max_tokens)
      .set("temperature", 0);
}

// A sampled question of the n-th kind.
Question question(uint64_t n, bool stream = false) {
  Json body = chat({message("user", words(n, 5 + static_cast<int64_t>(n * 7 % 90)))});
  body.set("temperature", n % 3 == 0 ? 0.0 : 1.3).set("seed", static_cast<int64_t>(n));
  if (n % 4 == 1) body.set("reasoning_effort", "high");
  if (n % 5 == 2) body.set("n", 2);
  if (stream) body.set("stream", true);
  return {.body = body.print()};
}

// What the answer says, without ids and times.
std::string said(const Answer& answer) {
  if (answer.status != 200) return fmt::format("status {}: {}", answer.status, answer.body);
  std::string text;
  const Json json = answer.json();
  for (const Json& choice : json.at("choices", "").as_array("")) {
    text += choice.at("message", "").print() + choice.at("finish_reason", "").print() + "\n";
  }
  return text;
}

std::vector<std::string> said(const std::vector<Answer>& answers) {
  std::vector<std::string> texts;
  for (const Answer& answer : answers) texts.push_back(said(answer));
  return texts;
}

TEST_F(ServeTest, answers_are_the_same_alone_together_cached_and_after_a_restart) {
  std::vector<Question> questions;
  for (uint64_t i = 0; i < 64; ++i) questions.push_back(question(i));
  std::vector<std::string> expected;
  {
    TestServer server({.n_threads = 1, .chunk = 512});
    for (const Question& q : questions) expected.push_back(said(ask(server.address(), {q}))[0]);
  }
  const auto shuffled = [&](double spread_s) {
    std::vector<Question> later = questions;
    std::mt19937 random(3);
    for (Question& q : later) q.at_s = spread_s * static_cast<double>(random() % 1000) / 1000;
    return later;
  };
  for (const int n_threads : {2, 3}) {
    TestServer server(
        {.n_threads = n_threads, .chunk = n_threads == 2 ? 64 : 200, .cache_folder = folder_});
    EXPECT_EQ(said(ask(server.address(), questions)), expected) << "cold, all at once";
    EXPECT_EQ(said(ask(server.address(), shuffled(0.3))), expected) << "cached, one by one";
  }
  TestServer tight({.chunk = 96, .max_running = 7, .state_bytes = 6 << 20});
  EXPECT_EQ(said(ask(tight.address(), shuffled(0.1))), expected) << "with little memory";
}

int64_t cached_tokens(const Answer& answer) {
  const Json usage = answer.json().at("usage", "");
  return usage.at("prompt_tokens_details", "").at("cached_tokens", "").as_int("");
}

int64_t prompt_tokens(const Answer& answer) {
  return answer.json().at("usage", "").at("prompt_tokens", "").as_int("");
}

const char* const kTools = R"([{"type": "function", "function": {"name": "look_up",
  "description": "Finds out about something", "parameters": {"type": "object",
  "properties": {"name": {"type": "string"}, "depth": {"type": "integer"}}, "required": ["name"]}}}])";

// A conversation of an agent: each turn has the reply to the last one, and what its call gave.
class Agent {
 public:
  explicit Agent(uint64_t number) : number_(number) {
    messages_.push_back(message("system", words(1, 60)));
    messages_.push_back(message("user", words(100 + number, 20)));
  }

  Question turn(uint64_t i) const {
    Json body = chat(messages_, 48);
    body.set("tools", Json::parse(kTools, "tools"));
    body.set("temperature", 1.2).set("seed", static_cast<int64_t>(number_ * 100 + i));
    if (i % 2 == 0) body.set("tool_choice", "required");
    if (number_ % 3 == 0) body.set("reasoning_effort", "high");
    return {.body = body.print()};
  }

  // Of the prompt's tokens, those that the last turn had in its prompt or reply.
  int64_t reusable() const { return reusable_; }

  void take(const Answer& answer, uint64_t i) {
    ASSERT_EQ(answer.status, 200) << answer.body;
    const Json json = answer.json();
    const Json reply = json.at("choices", "").as_array("")[0].at("message", "");
    reusable_ = json.at("usage", "").at("total_tokens", "").as_int("");
    messages_.push_back(reply);
    const Json* calls = reply.find("tool_calls");
    if (calls == nullptr) {
      messages_.push_back(message("user", words(1000 * number_ + i, 10)));
      return;
    }
    for (const Json& call : calls->as_array("")) {
      messages_.push_back(
          message("tool", words(1000 * number_ + i, 15)).set("tool_call_id", call.at("id", "")));
    }
  }

 private:
  uint64_t number_;
  Json::Array messages_;
  int64_t reusable_ = 0;
};

// Turns of all agents, one turn after the other; the share of reusable tokens that were cached.
double run_agents(const TestServer& server, std::vector<Agent>& agents, uint64_t first_turn,
                  uint64_t end_turn) {
  int64_t n_cached = 0;
  int64_t n_reusable = 0;
  for (uint64_t turn = first_turn; turn < end_turn; ++turn) {
    std::vector<Question> questions;
    for (const Agent& agent : agents) questions.push_back(agent.turn(turn));
    const std::vector<Answer> answers = ask(server.address(), questions);
    for (size_t i = 0; i < agents.size(); ++i) {
      if (turn > 0) {
        // The last token of a reply was never computed.
        n_reusable += agents[i].reusable() - 1;
        n_cached += std::min(cached_tokens(answers[i]), agents[i].reusable() - 1);
      }
      agents[i].take(answers[i], turn);
    }
  }
  return static_cast<double>(n_cached) / static_cast<double>(n_reusable);
}

TEST_F(ServeTest, agents_keep_their_prefixes_with_memory_for_a_third_of_them) {
  const uint64_t n_agents = test_all() ? 50 : 12;
  const uint64_t n_turns = test_all() ? 20 : 8;
  std::vector<Agent> agents;
  for (uint64_t i = 0; i < n_agents; ++i) agents.emplace_back(i);
  const int64_t n_tokens = 250 + 75 * static_cast<int64_t>(n_turns);
  int64_t one = 0;
  {
    const TestServer probe;
    one = state_bytes(probe.model().state_layout(), n_tokens).total();
  }
  const auto memory = one * static_cast<int64_t>(n_agents) / 3;
  {
    TestServer server({.max_running = 4, .state_bytes = memory, .cache_folder = folder_});
    EXPECT_GE(run_agents(server, agents, 0, n_turns), 0.98);
  }
  TestServer after({.max_running = 4, .state_bytes = memory, .cache_folder = folder_});
  EXPECT_GE(run_agents(after, agents, n_turns, n_turns + 1), 0.95);
}

TEST_F(ServeTest, an_edit_in_the_last_message_computes_little_again) {
  TestServer server;
  const std::string first = words(1, 500);
  const std::string last = words(2, 300);
  Json::Array messages = {message("user", first)};
  const Answer one = ask(server.address(), "/v1/chat/completions", chat(messages));
  messages.push_back(one.json().at("choices", "").as_array("")[0].at("message", ""));
  messages.push_back(message("user", last));
  const Answer two = ask(server.address(), "/v1/chat/completions", chat(messages));
  const int64_t n_prompt = prompt_tokens(two);
  std::string edited = last;
  edited.replace(edited.size() - 20, 6, "Zebra!");
  messages.back() = message("user", edited);
  const Answer three = ask(server.address(), "/v1/chat/completions", chat(messages));
  EXPECT_GE(cached_tokens(three), n_prompt - 512 - 20);
}

TEST_F(ServeTest, a_long_prompt_does_not_keep_short_ones_waiting) {
  TestServer server({.chunk = 32});
  const Json long_body = chat({message("user", words(5, 900))}, 1);
  const Json count =
      ask(server.address(), "/tokenize", Json().set("messages", long_body.at("messages", "")))
          .json();
  const int64_t n_long = count.at("count", "").as_int("");
  ASSERT_GT(n_long, 3000);
  TestClient long_one(server.port());
  long_one.send(post("/v1/chat/completions", long_body.print()));
  ASSERT_TRUE(becomes_true([&] { return server.engine().stats().n_steps > 0; }));
  for (uint64_t i = 0; i < 5; ++i) {
    const Answer answer =
        ask(server.address(), "/v1/chat/completions", chat({message("user", words(20 + i, 2))}, 1));
    ASSERT_EQ(answer.status, 200) << answer.body;
  }
  // Who waited for the long one would have been answered after all of it.
  EXPECT_LT(server.engine().stats().n_prompt_tokens, n_long);
  long_one.read_until("\"usage\"");
}

TEST_F(ServeTest, each_request_is_logged_once_with_its_key) {
  fs::create_directories(folder_);
  const NewApiKey key = make_api_key("alice");
  std::ofstream(folder_ / "keys") << key.line << "\n";
  const std::string bearer = "Authorization: Bearer " + key.key + "\r\n";
  const std::string body = chat({message("user", "Hello")}, 2).print();
  {
    TestServer server(
        {.n_workers = 1, .api_keys = folder_ / "keys", .access_log = folder_ / "access"});
    const auto n_answering = [&] { return server.counters().responses_running; };
    // The one worker reads a long text while somebody leaves whose request waits for it.
    TestClient busy(server.port());
    busy.send(post("/tokenize", Json().set("prompt", words(1, 300'000)).print(), bearer));
    ASSERT_TRUE(becomes_true([&] { return n_answering() == 1; }));
    TestClient gone(server.port());
    gone.send(post("/v1/chat/completions", body, bearer));
    ASSERT_TRUE(becomes_true([&] { return n_answering() == 2; }));
    gone.close(true);
    ASSERT_TRUE(becomes_true([&] { return n_answering() == 1; }));
    busy.read_until("\r\n\r\n");
    for (const std::string& request :
         {post("/v1/chat/completions", body, bearer), post("/v1/chat/completions", "{", bearer),
          post("/v1/chat/completions", body)}) {
      TestClient client(server.port());
      client.send(request);
      client.read_until("}");
    }
    EXPECT_EQ(server.engine().stats().n_requests, 1);
  }
  std::multiset<std::string> seen;
  std::ifstream file(folder_ / "access");
  for (std::string line; std::getline(file, line);) {
    const Json json = Json::parse(line, "line");
    const Json* name = json.find("key");
    seen.insert(fmt::format("{} {} {}", json.at("path", "").as_string(""),
                            json.at("status", "").as_int(""),
                            name == nullptr ? "-" : name->as_string("")));
  }
  // Who has left is told no status.
  const std::multiset<std::string> expected = {
      "/tokenize 200 alice", "/v1/chat/completions 0 alice", "/v1/chat/completions 200 alice",
      "/v1/chat/completions 400 alice", "/v1/chat/completions 401 "};
  EXPECT_EQ(seen, expected);
}

TEST_F(ServeTest, reasoning_ends_when_its_budget_is_spent_and_an_answer_follows) {
  TestServer server;
  Json body = Json()
                  .set("model", "mini")
                  .set("max_tokens", 400)
                  .set("messages", Json::Array{message("user", "What is 27 + 5 + 31?")});
  body.set("thinking", Json().set("type", "enabled").set("budget_tokens", 1024));
  const Answer free = ask(server.address(), "/v1/messages", body);
  ASSERT_EQ(free.status, 400) << "the budget is not below max_tokens: " << free.body;
  Json tight = chat({message("user", "What is 27 + 5 + 31?")}, 60);
  tight.set("reasoning_effort", "high").set("thinking_budget", 4);
  const Answer answer = ask(server.address(), "/v1/chat/completions", tight);
  ASSERT_EQ(answer.status, 200) << answer.body;
  const Json reply = answer.json().at("choices", "").as_array("")[0].at("message", "");
  EXPECT_FALSE(reply.at("content", "").as_string("").empty()) << answer.body;
  const Json details = answer.json().at("usage", "").at("completion_tokens_details", "");
  EXPECT_LE(details.at("reasoning_tokens", "").as_int(""), 5) << answer.body;
}

TEST_F(ServeTest, replies_without_a_seed_differ_and_their_ids_cannot_be_guessed) {
  TestServer server;
  Json body = chat({message("user", "Tell me a story")}, 20);
  body.set("temperature", 2.0).set("n", 4);
  std::set<std::string> texts;
  for (int i = 0; i < 2; ++i) {
    const Json answer = ask(server.address(), "/v1/chat/completions", body).json();
    for (const Json& choice : answer.at("choices", "").as_array("")) {
      EXPECT_TRUE(texts.insert(choice.at("message", "").print()).second) << choice.print();
    }
    const std::string id = answer.at("id", "").as_string("");
    for (uint64_t seed = 0; seed < 20; ++seed) {  // the server's is 7
      EXPECT_NE(id, IdMaker(seed).next("chatcmpl-"));
    }
  }
}

}  // namespace
}  // namespace dsv4
