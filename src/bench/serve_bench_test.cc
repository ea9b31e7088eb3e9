#include "bench/serve_bench.h"

#include "base/error.h"
#include "bench/serve_testing.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>
#include <set>

namespace dsv4 {
namespace {

std::string json_answer(int status, const std::string& body) {
  return "HTTP/1.1 " + std::to_string(status) +
         " x\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
}

std::string events(const std::vector<std::string>& data) {
  std::string text = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";
  for (const std::string& d : data) text += "data: " + d + "\n\n";
  return text;
}

std::string delta(const std::string& members, const std::string& finish = "null") {
  return R"({"choices": [{"index": 0, "delta": {)" + members + R"(}, "finish_reason": )" + finish +
         "}]}";
}

std::string usage(int prompt, int cached, int completion) {
  return R"({"choices": [], "usage": {"prompt_tokens": )" + std::to_string(prompt) +
         R"(, "completion_tokens": )" + std::to_string(completion) +
         R"(, "prompt_tokens_details": {"cached_tokens": )" + std::to_string(cached) + "}}}";
}

std::string whole_reply(int prompt, int cached) {
  return events({delta(R"("role": "assistant", "content": "")"), delta(R"("content": "a")"),
                 delta(R"("content": "b")"), delta("", R"("stop")"), usage(prompt, cached, 3),
                 "[DONE]"});
}

bool never() { return false; }

std::vector<TurnResult> run_on(const AnsweringServer& server, ServeLoad load,
                               const ServeSchedule& schedule) {
  load.model = "m";
  const ServeTarget target{.address = parse_http_address(server.url()), .idle_s = 20};
  return run_serve_bench(target, load, schedule, never, {});
}

TEST(Distribution, has_quantiles_between_its_values) {
  EXPECT_EQ(Distribution({}).quantile(0.99), 0);
  EXPECT_EQ(Distribution({}).mean(), 0);
  EXPECT_EQ(Distribution({3}).quantile(0.99), 3);
  std::vector<float> values(101);
  std::iota(values.rbegin(), values.rend(), 0.0f);
  const Distribution sample(values);
  EXPECT_EQ(sample.quantile(0), 0);
  EXPECT_EQ(sample.quantile(0.5), 50);
  EXPECT_NEAR(sample.quantile(0.995), 99.5, 1e-9);
  EXPECT_EQ(sample.quantile(1), 100);
  EXPECT_EQ(sample.mean(), 50);
}

TEST(ServeBench, counts_whole_replies_and_their_tokens) {
  const AnsweringServer server([](auto, auto) { return whole_reply(10, 4); });
  const auto results = run_on(server, {}, {.concurrency = 3, .n_conversations = 7});
  ASSERT_EQ(results.size(), 7u);
  std::set<int64_t> numbers;
  for (const TurnResult& r : results) {
    EXPECT_EQ(r.failure, "") << r.message;
    EXPECT_EQ(r.gaps_s.size(), 1u);
    EXPECT_GT(r.first_s, 0);
    EXPECT_GE(r.total_s, r.first_s);
    numbers.insert(r.conversation);
  }
  EXPECT_EQ(numbers.size(), 7u);
  const ServeReport report = summarize(results);
  EXPECT_EQ(report.n_requests, 7);
  EXPECT_EQ(report.n_failed, 0);
  EXPECT_EQ(report.usage.prompt, 70);
  EXPECT_EQ(report.usage.cached, 28);
  EXPECT_EQ(report.usage.completion, 21);
  EXPECT_EQ(report.finishes.at("stop"), 7);
  EXPECT_EQ(report.first.size(), 7u);
  EXPECT_EQ(report.between.size(), 7u);
  EXPECT_GT(report.seconds, 0);
}

TEST(ServeBench, tells_failures_by_kind) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {json_answer(429, R"({"error": {"message": "slow down"}})"), "HTTP 429"},
      {json_answer(500, "no json"), "HTTP 500"},
      {"", "connection closed"},
      {"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\ndata: [DONE]\n\n", "connection closed"},
      {"SMTP\r\n", "malformed reply"},
      {events({"not json"}), "malformed reply"},
      {events({"[1]"}), "malformed reply"},
      {events({R"({"choices": 3})"}), "malformed reply"},
      {events({delta(R"("content": "a")")}), "reply cut off"},
      {events({delta(R"("content": "a")"), R"({"error": {"message": "broke"}})"}),
       "error while streaming"},
      {events({delta("", R"("stop")"), "[DONE]"}), "empty reply"},
  };
  for (const auto& [answer, kind] : cases) {
    const AnsweringServer server([&](auto, auto) { return answer; });
    const ServeReport report = summarize(run_on(server, {}, {.n_conversations = 1}));
    EXPECT_EQ(report.n_failed, 1) << kind;
    EXPECT_EQ(report.failures.count(kind), 1u) << kind << " " << report.failures.begin()->first;
    if (kind == "HTTP 429") {
      EXPECT_EQ(report.first_message.at(kind), "slow down");
    }
    if (kind == "HTTP 500") {
      EXPECT_EQ(report.first_message.at(kind), "no json");
    }
  }
}

TEST(ServeBench, counts_refused_connections) {
  std::string url;
  {
    const AnsweringServer server([](auto, auto) { return std::string(); });
    url = server.url();
  }
  const ServeTarget target{.address = parse_http_address(url), .idle_s = 20};
  const auto results = run_serve_bench(target, {.model = "m"}, {.n_conversations = 2}, never, {});
  EXPECT_EQ(summarize(results).failures.at("no connection"), 2);
  EXPECT_THROW(first_model(target), Error);
}

TEST(ServeBench, goes_on_with_replies_and_results_of_tools) {
  const AnsweringServer server([](auto, std::string_view body) {
    if (body.find("\"tool\"") != body.npos) return whole_reply(30, 20);
    return events({delta(R"("reasoning_content": "think")"),
                   delta(R"("tool_calls": [{"index": 0, "id": "c1", "function": {"name": "run", )"
                         R"("arguments": "{\"command\""}}])"),
                   delta(R"("tool_calls": [{"index": 0, "function": {"arguments": ": 1}"}}])"),
                   delta("", R"("tool_calls")"), usage(10, 0, 5), "[DONE]"});
  });
  ServeLoad load{.tool_choice = "auto", .turns = 3, .seed = 5};
  const auto results = run_on(server, load, {.n_conversations = 1});
  ASSERT_EQ(results.size(), 3u);
  EXPECT_EQ(results[1].reusable, 15);
  EXPECT_EQ(results[2].reusable, 30);  // no more than the prompt has
  const ServeReport report = summarize(results);
  EXPECT_EQ(report.reusable, 45);
  EXPECT_EQ(report.reusable_cached, 15 + 20);

  const std::vector<std::string> bodies = server.bodies();
  ASSERT_EQ(bodies.size(), 3u);
  const Json first = Json::parse(bodies[0], "first");
  const Json last = Json::parse(bodies[2], "last");
  const Json::Array& before = first.at("messages", "").as_array("");
  const Json::Array& messages = last.at("messages", "").as_array("");
  ASSERT_EQ(messages.size(), 5u);
  EXPECT_EQ(before[0], messages[0]);
  EXPECT_EQ(messages[1].print(),
            R"({"role": "assistant", "content": "", "reasoning_content": "think", "tool_calls": )"
            R"([{"id": "c1", "type": "function", "function": {"name": "run", "arguments": )"
            R"("{\"command\": 1}"}}]})");
  EXPECT_EQ(messages[2].at("tool_call_id", "").as_string(""), "c1");
  EXPECT_EQ(messages[3].at("content", "").as_string(""), "ab");
  EXPECT_EQ(messages[4].at("role", "").as_string(""), "user");
  EXPECT_EQ(last.at("tools", "").as_array("").size(), 1u);
}

TEST(ServeBench, begins_conversations_at_the_times_of_a_trace) {
  const AnsweringServer server([](auto, auto) { return whole_reply(1, 0); });
  ServeLoad load;
  load.trace = parse_trace(
      "{\"at\": 0, \"prompt\": \"one\"}\n\n{\"at\": 0.05, \"prompt_words\": 3, \"max_tokens\": "
      "9}\n",
      "trace");
  const auto results = run_on(server, load, {});
  ASSERT_EQ(results.size(), 2u);
  EXPECT_EQ(results[0].start_s, 0);
  EXPECT_EQ(results[1].start_s, 0.05);
  const std::vector<std::string> bodies = server.bodies();
  EXPECT_NE(bodies[0].find("[{\"role\": \"user\", \"content\": \"one\"}]"), std::string::npos);
  EXPECT_NE(bodies[1].find("\"max_tokens\": 9"), std::string::npos);
}

TEST(ServeBench, draws_the_same_arrivals_and_texts_for_a_seed) {
  const AnsweringServer server([](auto, auto) { return whole_reply(1, 0); });
  const ServeSchedule schedule{.rate = 500, .n_conversations = 40};
  std::vector<double> starts;
  for (int i = 0; i < 2; ++i) {
    double last = 0;
    for (const TurnResult& r : run_on(server, {.seed = 3}, schedule)) {
      last = std::max(last, r.start_s);
    }
    starts.push_back(last);
  }
  EXPECT_EQ(starts[0], starts[1]);
  // 40 distances of 2 ms in the mean: 80 ms, with a standard deviation of 2 ms * sqrt(40).
  EXPECT_NEAR(starts[0], 0.08, 4 * 0.002 * std::sqrt(40));
  const ServeLoad load{.seed = 3};
  EXPECT_EQ(Conversation(load, 1).request(), Conversation(load, 1).request());
  EXPECT_NE(Conversation(load, 1).request(), Conversation(load, 2).request());
}

TEST(ServeBench, stops_when_told_and_keeps_what_is_done) {
  const AnsweringServer server([](auto, auto) { return whole_reply(1, 0); });
  int64_t n = 0;
  const ServeTarget target{.address = parse_http_address(server.url()), .idle_s = 20};
  const auto results = run_serve_bench(
      target, {.model = "m"}, {.concurrency = 2}, [&] { return n >= 5; },
      [&](const TurnResult&) { ++n; });
  EXPECT_GE(results.size(), 5u);
  EXPECT_EQ(static_cast<int64_t>(results.size()), n);
  EXPECT_EQ(summarize(results).n_failed, 0);
}

TEST(ServeBench, begins_nothing_after_the_duration) {
  const AnsweringServer server([](auto, auto) { return whole_reply(1, 0); });
  const auto results = run_on(server, {.turns = 1000000}, {.duration_s = 0.05});
  ASSERT_GE(results.size(), 1u);
  for (const TurnResult& r : results) EXPECT_LT(r.start_s, 0.05);
}

TEST(ServeBench, asks_for_the_first_model) {
  const AnsweringServer server([](std::string_view line, auto) {
    EXPECT_EQ(line, "GET /base/v1/models HTTP/1.1");
    return json_answer(200, R"({"data": [{"id": "first"}, {"id": "second"}]})");
  });
  EXPECT_EQ(first_model({.address = parse_http_address(server.url() + "/base/")}), "first");
  const AnsweringServer refusing(
      [](auto, auto) { return json_answer(401, R"({"error": "who"})"); });
  EXPECT_THROW(first_model({.address = parse_http_address(refusing.url())}), Error);
}

TEST(ServeLoad, reads_ranges) {
  EXPECT_EQ(parse_length_range("7").high, 7);
  EXPECT_EQ(parse_length_range("7..90").low, 7);
  for (const char* bad : {"", "x", "3..", "..3", "9..3", "0..3", "-1", "1e3", "99999999"}) {
    EXPECT_THROW(parse_length_range(bad), Error) << bad;
  }
  const LengthRange range{10, 1000};
  int64_t n_short = 0;
  for (uint64_t i = 0; i < 1000; ++i) {
    const int64_t n = range.draw(1, 2, i);
    ASSERT_GE(n, 10);
    ASSERT_LE(n, 1000);
    if (n < 100) ++n_short;
  }
  EXPECT_NEAR(static_cast<double>(n_short), 500, 64);  // four standard deviations
}

TEST(ServeLoad, names_the_line_of_a_trace_that_is_wrong) {
  const auto failure_of = [](const char* text) {
    try {
      parse_trace(text, "t");
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string("none");
  };
  EXPECT_EQ(failure_of(""), "t: there is no line in it");
  EXPECT_EQ(failure_of("{\"prompt\": \"a\"}\n{}"),
            "t: line 2: expected messages, prompt or prompt_words");
  EXPECT_EQ(failure_of("{\"prompt\": \"a\"}\n{\"prompt\": \"a\", \"at\": 1}"),
            "t: line 2: all lines or none must have \"at\"");
  EXPECT_EQ(failure_of("{\"prompt\": \"a\", \"at\": 2}\n{\"prompt\": \"a\", \"at\": 1}"),
            "t: line 2: \"at\" is less than in the line before");
  EXPECT_EQ(failure_of("{\"prompt\": \"a\", \"at\": -1}"),
            "t: line 1: at: expected seconds from 0 to 1e7");
  EXPECT_NE(failure_of("{\"prompt\": 3}").find("t: line 1: prompt"), std::string::npos);
  EXPECT_NE(failure_of("[1]").find("t: line 1"), std::string::npos);
}

TEST(ChatReply, refuses_what_is_no_chunk) {
  for (const char* bad :
       {"", "1", "{", R"({"choices": [1], "usage": {"prompt_tokens": "x"}})",
        R"({"choices": [{"delta": {"tool_calls": [{"index": 1}]}}]})",
        R"({"choices": [{"delta": {"tool_calls": [{"index": -1}]}}]})",
        R"({"choices": [{"delta": {"content": 1}}]})", R"({"choices": [{"finish_reason": 1}]})"}) {
    ChatReply reply;
    EXPECT_THROW(reply.take(bad), Error) << bad;
  }
}

}  // namespace
}  // namespace dsv4
