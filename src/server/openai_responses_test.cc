#include "server/openai_responses.h"

#include "server/request_testing.h"
#include "server/response_store.h"

#include <gtest/gtest.h>

namespace dsv4 {
namespace {

ApiRequest parse(std::string_view body, const StoredConversation& stored = nothing_stored()) {
  return parse_responses_request(Json::parse(body, "body"), test_settings(), stored);
}

std::string error_of(std::string_view body) {
  return parse_error(
      [](const Json& json, const ApiSettings& settings) {
        parse_responses_request(json, settings, nothing_stored());
      },
      body);
}

TEST(OpenAiResponses, a_text_is_a_user_message) {
  const ApiRequest request = parse(R"({"model": "m", "input": "hi", "instructions": "be brief"})");
  EXPECT_EQ(Json(request.messages).print(),
            R"([{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"}])");
  EXPECT_EQ(Json(request.new_messages).print(), R"([{"role": "user", "content": "hi"}])");
  EXPECT_TRUE(request.store);
  EXPECT_EQ(request.echoed.at("instructions", "").print(), "\"be brief\"");
  EXPECT_EQ(request.echoed.at("tool_choice", "").print(), "\"auto\"");
}

TEST(OpenAiResponses, items_become_the_encoders_messages) {
  const ApiRequest request = parse(R"({"model": "m", "instructions": "I", "input": [
      {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "D"}]},
      {"role": "user", "content": "go"},
      {"type": "reasoning", "id": "rs_1", "summary": [],
       "content": [{"type": "reasoning_text", "text": "hm"}]},
      {"type": "message", "role": "assistant", "id": "msg_1", "status": "completed",
       "content": [{"type": "output_text", "text": "I will.", "annotations": []}]},
      {"type": "function_call", "call_id": "c1", "name": "ls", "arguments": "{\"p\": 1}"},
      {"type": "custom_tool_call", "call_id": "c2", "name": "patch", "input": "*** x"},
      {"type": "function_call_output", "call_id": "c1", "output": "a"},
      {"type": "custom_tool_call_output", "call_id": "c2", "output": [
        {"type": "input_text", "text": "b"}, {"type": "input_image"}]}]})");
  EXPECT_EQ(Json(request.messages).print(),
            R"([{"role": "system", "content": "I\n\nD"}, {"role": "user", "content": "go"}, )"
            R"({"role": "assistant", "content": "I will.", "reasoning_content": "hm", )"
            R"("tool_calls": [{"id": "c1", "type": "function", "function": {"name": "ls", )"
            R"("arguments": "{\"p\": 1}"}}, {"id": "c2", "type": "function", "function": )"
            R"({"name": "patch", "arguments": "{\"input\": \"*** x\"}"}}]}, )"
            R"({"role": "tool", "content": "a", "tool_call_id": "c1"}, )"
            R"({"role": "tool", "content": [{"type": "text", "text": "b"}, )"
            R"({"type": "input_image"}], "tool_call_id": "c2"}])");
}

TEST(OpenAiResponses, goes_on_from_a_stored_reply) {
  ResponseStore store(1 << 20);
  const StoredConversation stored = [&](const std::string& id) {
    return store.conversation("key", id);
  };
  const ApiRequest first = parse(R"({"model": "m", "input": "one", "instructions": "I"})");
  const Json reply = Json().set("role", "assistant").set("content", "1");
  store.put("key", "resp_1", "", messages_to_store(first.new_messages, false, reply), "{}");
  const ApiRequest second =
      parse(R"({"model": "m", "input": "two", "previous_response_id": "resp_1"})", stored);
  EXPECT_EQ(Json(second.messages).print(),
            R"([{"role": "user", "content": "one"}, {"role": "assistant", "content": "1"}, )"
            R"({"role": "user", "content": "two"}])");
  store.put("key", "resp_2", "resp_1", messages_to_store(second.new_messages, false, reply), "{}");
  EXPECT_EQ(store.conversation("key", "resp_2")->size(), 4u);
  EXPECT_EQ(store.conversation("other key", "resp_2"), std::nullopt);
  EXPECT_EQ(error_of(R"({"model": "m", "input": "x", "previous_response_id": "resp_9"})"),
            "404 previous_response_id | Previous response with id 'resp_9' not found.");
}

TEST(OpenAiResponses, stores_a_prefilled_reply_as_one_message) {
  const ApiRequest request = parse(R"({"model": "m", "input": [
      {"role": "user", "content": "Tell me"}, {"role": "assistant", "content": "Once"}]})");
  ASSERT_TRUE(request.is_prefill());
  const Json reply = Json().set("role", "assistant").set("content", " upon");
  const Json::Array stored = messages_to_store(request.new_messages, request.is_prefill(), reply);
  ASSERT_EQ(stored.size(), 2u);
  EXPECT_EQ(stored[1].at("content", ""), Json("Once upon"));
}

TEST(OpenAiResponses, errors_name_the_path) {
  const std::string cases[][2] = {
      {R"({"model": "m"})", "400 input | this member is required"},
      {R"({"model": "m", "input": []})", "400 input | expected at least one item"},
      {R"({"model": "m", "input": "x", "messages": []})",
       "400 messages | Unrecognized request argument supplied: messages"},
      {R"({"model": "m", "input": [{"type": "item_reference", "id": "x"}]})",
       "400 input[0].type | items of this type are not supported: \"item_reference\""},
      {R"({"model": "m", "input": [{"role": "user", "content": [{"type": "input_image"}]}]})",
       "400 input[0].content[0].type | this model reads text only, not \"input_image\""},
      {R"({"model": "m", "input": [{"type": "function_call", "call_id": "c", "name": "f",
          "arguments": "{}"}]})",
       "400 input | the last message calls tools; the results of the calls must follow it"},
      {R"({"model": "m", "input": "x", "tools": [{"type": "mcp"}]})",
       "400 tools[0].type | this server runs no tools of its own: \"mcp\""},
      {R"({"model": "m", "input": "x", "background": true})",
       "400 background | replies are not made in the background here"},
      {R"({"model": "m", "input": "x", "reasoning": {"effort": "huge"}})",
       "400 reasoning.effort | expected one of \"none\", \"minimal\", \"low\", \"medium\", "
       "\"high\", \"xhigh\" and \"max\""},
  };
  for (const auto& [body, error] : cases) EXPECT_EQ(error_of(body), error) << body;
}

TEST(OpenAiResponses, reads_what_coding_agents_send) {
  const ApiRequest request = parse(R"({"model": "m", "instructions": "I", "input": "x",
      "tools": [{"type": "function", "name": "shell", "description": "d", "strict": false,
                 "parameters": {"type": "object"}},
                {"type": "custom", "name": "apply_patch", "format": {"type": "grammar"}},
                {"type": "web_search", "external_web_access": false}],
      "tool_choice": "auto", "parallel_tool_calls": false, "store": false, "stream": true,
      "reasoning": {"effort": "medium", "summary": "auto"}, "prompt_cache_key": "k",
      "include": ["reasoning.encrypted_content"], "text": {"verbosity": "low"},
      "client_metadata": {"a": "b"}, "service_tier": "auto"})");
  ASSERT_EQ(request.tools.size(), 2u);
  EXPECT_TRUE(request.tools[1].is_custom);
  EXPECT_EQ(request.effort, Effort::kMedium);
  EXPECT_FALSE(request.store);
  EXPECT_FALSE(request.logprobs.has_value());
}

TEST(OpenAiResponses, namespaces_become_parts_of_names) {
  const std::string tools = R"("tools": [
      {"type": "function", "name": "wait", "parameters": {"type": "object"}},
      {"type": "namespace", "name": "agents", "description": "Other agents.", "tools": [
        {"type": "function", "name": "wait", "description": "Wait.", "strict": false,
         "parameters": {"type": "object"}},
        {"type": "custom", "name": "tell"}, {"type": "web_search"}]},
      {"type": "namespace", "name": "mcp__files__", "tools": [
        {"type": "function", "name": "read", "parameters": {"type": "object"}}]}])";
  const ApiRequest request = parse(R"({"model": "m", "input": [
      {"role": "user", "content": "go"},
      {"type": "function_call", "call_id": "c1", "namespace": "agents", "name": "wait",
       "arguments": "{}"},
      {"type": "custom_tool_call", "call_id": "c2", "namespace": "agents", "name": "tell",
       "input": "x"},
      {"type": "function_call", "call_id": "c3", "name": "wait", "arguments": "{}"},
      {"type": "function_call_output", "call_id": "c1", "output": "a"}],
      "tool_choice": {"type": "function", "namespace": "mcp__files__", "name": "read"}, )" +
                                   tools + "}");
  std::vector<std::string> names;
  for (const ToolSpec& tool : request.tools) names.push_back(tool.name);
  EXPECT_EQ(names,
            (std::vector<std::string>{"wait", "agents__wait", "agents__tell", "mcp__files__read"}));
  EXPECT_EQ(request.tools[1].space, "agents");
  EXPECT_EQ(request.tools[1].short_name, "wait");
  EXPECT_EQ(request.tools[1].description, "agents: Other agents.\n\nWait.");
  EXPECT_EQ(request.tools[1].where, "tools[1].tools[0].parameters");
  EXPECT_TRUE(request.tools[2].is_custom);
  EXPECT_EQ(request.tools[2].description, "");
  EXPECT_EQ(request.tool_choice.name, "mcp__files__read");
  const Json calls = request.messages[1].at("tool_calls", "");
  std::vector<std::string> called;
  for (const Json& call : calls.as_array("")) {
    called.push_back(call.at("function", "").at("name", "").as_string(""));
  }
  EXPECT_EQ(called, (std::vector<std::string>{"agents__wait", "agents__tell", "wait"}));
}

TEST(OpenAiResponses, wrong_namespaces_name_the_path) {
  const auto error = [](const std::string& tools) {
    return error_of(R"({"model": "m", "input": "x", "tools": [)" + tools + "]}");
  };
  const std::string f = R"({"type": "function", "name": "f"})";
  EXPECT_EQ(error(R"({"type": "namespace", "name": "n"})"),
            "400 tools[0].tools | this member is required");
  EXPECT_EQ(error(R"({"type": "namespace", "tools": []})"),
            "400 tools[0].name | this member is required");
  EXPECT_EQ(error(R"({"type": "namespace", "name": "a b", "tools": [)" + f + "]}"),
            "400 tools[0].name | expected 1 to 128 letters, digits or _ - . : /");
  EXPECT_EQ(error(R"({"type": "namespace", "name": "n", "tools": [
                     {"type": "namespace", "name": "m", "tools": []}]})"),
            "400 tools[0].tools[0].type | this server runs no tools of its own: \"namespace\"");
  EXPECT_EQ(error(R"({"type": "function", "name": "n__f"},
                     {"type": "namespace", "name": "n", "tools": [)" +
                  f + "]}"),
            "400 tools[1].tools[0].name | two tools have the name \"n__f\"");
  std::string many = f;
  for (int i = 0; i < 20; ++i) many += ", " + f;
  EXPECT_EQ(error(R"({"type": "namespace", "name": "n", "tools": [)" + many + "]}"),
            "400 tools[0].tools | at most 20 tools");
}

TEST(ResponseStore, is_bounded_and_drops_the_oldest) {
  ResponseStore store(20'000);
  const Json::Array messages = {Json().set("role", "user").set("content", std::string(1000, 'x'))};
  for (int i = 0; i < 100; ++i) {
    store.put("", std::to_string(i), "", messages, "body");
    ASSERT_LE(store.n_bytes(), 20'000u);
    ASSERT_TRUE(store.conversation("", "0")) << "used just before every other";
  }
  EXPECT_LT(store.size(), 20u);
  EXPECT_FALSE(store.conversation("", "50"));
  EXPECT_TRUE(store.conversation("", "99"));
  EXPECT_EQ(store.body("", "99"), "body");
  EXPECT_TRUE(store.erase("", "99"));
  EXPECT_FALSE(store.erase("", "99"));
  store.put("", "huge", "", messages, std::string(30'000, 'x'));
  EXPECT_FALSE(store.conversation("", "huge"));
}

// The end of a conversation goes first: what is before it is of use without it.
TEST(ResponseStore, drops_conversations_from_their_ends) {
  ResponseStore store(12'000);
  const Json::Array messages = {Json().set("role", "user").set("content", std::string(1000, 'x'))};
  store.put("", "a", "", messages, "");
  store.put("", "b", "a", messages, "");
  store.put("", "c", "b", messages, "");
  EXPECT_TRUE(store.conversation("", "c"));
  for (int i = 0; i < 20 && store.conversation("", "b"); ++i) {
    EXPECT_TRUE(store.conversation("", "a"));
    store.put("", "x" + std::to_string(i), "", messages, "");
  }
  EXPECT_FALSE(store.conversation("", "c"));
  store.put("", "p", "q", messages, "");
  store.put("", "q", "p", messages, "");
  EXPECT_FALSE(store.conversation("", "p")) << "a circle has no beginning";
}

}  // namespace
}  // namespace dsv4
