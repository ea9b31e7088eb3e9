#include "server/anthropic_messages.h"

#include "server/request_testing.h"

#include <gtest/gtest.h>

namespace dsv4 {
namespace {

ApiRequest parse(std::string_view body) {
  return parse_messages_request(Json::parse(body, "body"), test_settings());
}

std::string error_of(std::string_view body) {
  return parse_error(
      [](const Json& json, const ApiSettings& settings) { parse_messages_request(json, settings); },
      body);
}

std::string with_messages(const std::string& messages, const std::string& members = "") {
  return R"({"model": "m", "max_tokens": 100, )" + members + R"("messages": )" + messages + "}";
}

constexpr const char* kHi = R"([{"role": "user", "content": "hi"}])";

TEST(AnthropicMessages, an_agents_conversation_becomes_the_encoders) {
  const ApiRequest request = parse(with_messages(R"([
      {"role": "user", "content": [
        {"type": "text", "text": "<system-reminder>", "cache_control": {"type": "ephemeral"}},
        {"type": "text", "text": "go"}]},
      {"role": "assistant", "content": [
        {"type": "thinking", "thinking": "hm", "signature": "s"},
        {"type": "redacted_thinking", "data": "x"},
        {"type": "text", "text": "I will."},
        {"type": "tool_use", "id": "t1", "name": "ls", "input": {"path": "/"}},
        {"type": "tool_use", "id": "t2", "name": "rm", "input": {}}]},
      {"role": "user", "content": [
        {"type": "tool_result", "tool_use_id": "t1", "content": [
           {"type": "text", "text": "a"}, {"type": "image", "source": {}}]},
        {"type": "tool_result", "tool_use_id": "t2", "content": "denied", "is_error": true},
        {"type": "text", "text": "next"}]}])",
                                                 R"("system": [{"type": "text", "text": "S1"},
        {"type": "text", "text": "S2"}], )"));
  EXPECT_EQ(
      Json(request.messages).print(),
      R"([{"role": "system", "content": "S1\n\nS2"}, )"
      R"({"role": "user", "content": "<system-reminder>"}, {"role": "user", "content": "go"}, )"
      R"({"role": "assistant", "content": "I will.", "reasoning_content": "hm", "tool_calls": [)"
      R"({"id": "t1", "type": "function", "function": {"name": "ls", )"
      R"("arguments": "{\"path\": \"/\"}"}}, )"
      R"({"id": "t2", "type": "function", "function": {"name": "rm", "arguments": "{}"}}]}, )"
      R"({"role": "tool", "content": [{"type": "text", "text": "a"}, {"type": "image"}], )"
      R"("tool_call_id": "t1"}, )"
      R"({"role": "tool", "content": "Error: denied", "tool_call_id": "t2"}, )"
      R"({"role": "user", "content": "next"}])");
}

TEST(AnthropicMessages, neighbours_of_one_role_join) {
  const ApiRequest request = parse(with_messages(R"([{"role": "user", "content": "a"},
      {"role": "assistant", "content": "b"}, {"role": "assistant", "content": "c"}])"));
  EXPECT_EQ(Json(request.messages).print(),
            R"([{"role": "user", "content": "a"}, {"role": "assistant", "content": "bc", )"
            R"("reasoning_content": "", "wo_eos": true}])");
  EXPECT_TRUE(request.is_prefill());
}

TEST(AnthropicMessages, thinking) {
  EXPECT_EQ(parse(with_messages(kHi)).effort, Effort::kNone);
  const ApiRequest request =
      parse(with_messages(kHi, R"("thinking": {"type": "enabled", "budget_tokens": 50}, )"));
  EXPECT_EQ(request.effort, Effort::kHigh);
  EXPECT_EQ(request.thinking_budget, 50);
  const ApiRequest adaptive =
      parse(with_messages(kHi, R"("thinking": {"type": "adaptive", "display": "omitted"},
              "output_config": {"effort": "max"}, )"));
  EXPECT_EQ(adaptive.effort, Effort::kMax);
  EXPECT_FALSE(adaptive.show_reasoning);
  EXPECT_EQ(error_of(with_messages(kHi, R"("thinking": {"type": "enabled"}, )")),
            "400 thinking.budget_tokens | this member is required");
  EXPECT_EQ(
      error_of(with_messages(kHi, R"("thinking": {"type": "enabled", "budget_tokens": 100}, )")),
      "400 thinking.budget_tokens | must be less than max_tokens");
}

TEST(AnthropicMessages, reads_what_coding_agents_send) {
  const auto body = [](std::string_view version) {
    return parse(R"({"model": "m", "max_tokens": 2000, "stream": true,
        "system": [{"type": "text", "text": "x-anthropic-billing-header: version=)" +
                 std::string(version) + R"("},
                   {"type": "text", "text": "I", "cache_control": {"type": "ephemeral"}},
                   {"type": "text", "text": "J", "cache_control": {"type": "ephemeral"}}],
        "messages": [{"role": "user", "content": [
                        {"type": "text", "text": "reminder"},
                        {"type": "text", "text": "hi", "cache_control": {"type": "ephemeral"}}]},
                     {"role": "system", "content": "agents"}],
        "tools": [{"name": "Read", "description": "d", "input_schema": {"type": "object"}}],
        "metadata": {"user_id": "{}"}, "thinking": {"type": "adaptive"},
        "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
        "output_config": {"effort": "high"}})");
  };
  const ApiRequest request = body("1.2.3.abc");
  EXPECT_EQ(Json(request.messages).print(),
            R"([{"role": "system", "content": "I\n\nJ"}, {"role": "user", "content": "reminder"}, )"
            R"({"role": "user", "content": "hi"}, {"role": "user", "content": "agents"}])");
  EXPECT_EQ(request.effort, Effort::kHigh);
  EXPECT_EQ(Json(request.messages).print(), Json(body("1.2.3.def").messages).print());
}

// Only as the first block, where a program puts it: elsewhere it is text of a user.
TEST(AnthropicMessages, keeps_other_blocks_about_billing) {
  const auto system = [](const std::string& blocks) {
    return parse(with_messages(kHi, R"("system": )" + blocks + ", "))
        .messages.front()
        .at("content", "")
        .print();
  };
  EXPECT_EQ(system(R"([{"type": "text", "text": "I"},
                       {"type": "text", "text": "x-anthropic-billing-header: v"}])"),
            R"("I\n\nx-anthropic-billing-header: v")");
  EXPECT_EQ(system(R"("x-anthropic-billing-header: v")"), R"("x-anthropic-billing-header: v")");
  EXPECT_EQ(system(R"([{"type": "text", "text": "x-anthropic-billing-header: v"}])"), R"("")");
  EXPECT_EQ(error_of(with_messages(kHi, R"("system": [1], )")),
            "400 system[0] | expected an object, found an integer");
}

TEST(AnthropicMessages, tools_and_choice) {
  const std::string tools = R"("tools": [{"name": "f", "input_schema": {"type": "object"},
      "cache_control": {}, "strict": true}, {"type": "custom", "name": "g", "input_schema": {}}], )";
  const ApiRequest request = parse(with_messages(
      kHi, tools + R"("tool_choice": {"type": "any", "disable_parallel_tool_use": true}, )"));
  EXPECT_EQ(request.tools.size(), 2u);
  EXPECT_TRUE(request.tools[0].strict);
  EXPECT_EQ(request.tool_choice.kind, ToolChoice::Kind::kRequired);
  EXPECT_FALSE(request.parallel_tool_calls);
  EXPECT_EQ(parse(with_messages(kHi, tools + R"("tool_choice": {"type": "tool", "name": "g"}, )"))
                .tool_choice.name,
            "g");
  EXPECT_EQ(error_of(with_messages(
                kHi, R"("tools": [{"type": "web_search_20250305", "name": "web_search"}], )")),
            "400 tools[0].type | this server runs no tools of its own: \"web_search_20250305\"");
}

// A client's library sends the whole conversation once it has seen the details.
TEST(AnthropicMessages, threads_are_refused_as_clients_expect) {
  try {
    parse(with_messages(kHi, R"("thread": {"type": "create"}, )"));
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error_json(ApiKind::kMessages, api_error_of(error), "req_1").print(),
              R"({"type": "error", "error": {"type": "invalid_request_error", "message": "thread: )"
              R"(conversations are not kept here; send all messages with each request", )"
              R"("details": {"error_code": "thread_unsupported_request", "unsupported": )"
              R"(["thread"]}}, "request_id": "req_1"})");
  }
  EXPECT_EQ(error_of(with_messages(kHi, R"("thread": null, "diagnostics": {}, "fallbacks": [], )")),
            "no error");
}

TEST(AnthropicMessages, errors_name_the_path) {
  EXPECT_EQ(error_of(R"({"model": "m", "messages": []})"),
            "400 max_tokens | this member is required");
  EXPECT_EQ(error_of(with_messages(kHi, R"("foo": 1, )")),
            "400 foo | Extra inputs are not permitted: foo");
  EXPECT_EQ(error_of(with_messages(kHi, R"("temperature": 1.5, )")),
            "400 temperature | expected a number from 0 to 1, found 1.5");
  EXPECT_EQ(error_of(with_messages(R"([{"role": "user", "content": [{"type": "image",
                "source": {"type": "base64"}}]}])")),
            "400 messages[0].content[0].type | this model reads text only, not \"image\"");
  EXPECT_EQ(error_of(with_messages(R"([{"role": "user", "content": [{"type": "tool_result"}]}])")),
            "400 messages[0].content[0].tool_use_id | this member is required");
  EXPECT_EQ(error_of(with_messages(R"([{"role": "assistant", "content": [{"type": "tool_use",
                "id": "1", "name": "f", "input": [1]}]}])")),
            "400 messages[0].content[0].input | expected a string, found an array");
  EXPECT_EQ(error_of(with_messages(R"([{"role": "user", "content": [{"type": "document",
                "source": {"type": "url"}}]}])")),
            "400 messages[0].content[0].source.type | this model reads text only: expected "
            "\"text\"");
}

TEST(AnthropicMessages, counting_needs_no_max_tokens) {
  const Json body =
      Json::parse(R"({"model": "m", "messages": [{"role": "user", "content": "x"}]})", "body");
  EXPECT_NO_THROW(parse_messages_request(body, test_settings(), MessagesPurpose::kCountTokens));
  EXPECT_EQ(reasoning_signature("a"), reasoning_signature("a"));
  EXPECT_NE(reasoning_signature("a"), reasoning_signature("b"));
}

}  // namespace
}  // namespace dsv4
