#include "server/openai_chat.h"

#include "server/request_testing.h"

#include <gtest/gtest.h>

namespace dsv4 {
namespace {

ApiRequest parse(std::string_view body) {
  return parse_chat_request(Json::parse(body, "body"), test_settings());
}

std::string messages_of(std::string_view messages) {
  return Json(parse(R"({"model": "m", "messages": )" + std::string(messages) + "}").messages)
      .print();
}

std::string error_of(std::string_view body) { return parse_error(parse_chat_request, body); }

// With a valid conversation and these members.
std::string error_with(const std::string& members) {
  return error_of(R"({"model": "m", "messages": [{"role": "user", "content": "x"}], )" + members +
                  "}");
}
ApiRequest with(const std::string& members) {
  return parse(R"({"model": "m", "messages": [{"role": "user", "content": "x"}], )" + members +
               "}");
}

TEST(OpenAiChat, defaults_come_from_the_settings) {
  const ApiRequest request = parse(R"({"model":"m","messages":[{"role":"user","content":"hi"}]})");
  EXPECT_EQ(Json(request.messages).print(), R"([{"role": "user", "content": "hi"}])");
  EXPECT_EQ(request.n, 1);
  EXPECT_EQ(request.max_tokens, 0);
  EXPECT_FLOAT_EQ(request.sampling.temperature, 0.6F);
  EXPECT_EQ(request.effort, Effort::kNone);
  EXPECT_FALSE(request.stream);
  EXPECT_FALSE(request.logprobs.has_value());
  EXPECT_FALSE(request.has_seed);
}

TEST(OpenAiChat, reads_every_setting) {
  const ApiRequest request = with(R"("n": 3, "max_tokens": 5, "max_completion_tokens": 7,
      "temperature": 0, "top_p": 0.5, "top_k": -1, "min_p": 0.1, "frequency_penalty": -2,
      "presence_penalty": 1.5, "repetition_penalty": 1.1, "seed": -1,
      "logit_bias": {"5": -100, "999": 1.5}, "stop": ["a", "", "b"], "logprobs": true,
      "top_logprobs": 4, "stream": true, "stream_options": {"include_usage": true},
      "reasoning_effort": "high", "user": "u", "cache_salt": "s", "store": false,
      "service_tier": "auto", "parallel_tool_calls": false)");
  EXPECT_EQ(request.n, 3);
  EXPECT_EQ(request.max_tokens, 7);
  EXPECT_EQ(request.sampling.temperature, 0);
  EXPECT_FLOAT_EQ(request.sampling.top_p, 0.5F);
  EXPECT_EQ(request.sampling.top_k, 0);
  EXPECT_EQ(request.sampling.seed, ~uint64_t{0});
  EXPECT_TRUE(request.has_seed);
  EXPECT_EQ(request.sampling.logit_bias, (std::map<int32_t, float>{{5, -100.0F}, {999, 1.5F}}));
  EXPECT_EQ(request.stop, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(request.logprobs, 4);
  EXPECT_TRUE(request.stream && request.include_usage);
  EXPECT_EQ(request.effort, Effort::kHigh);
  EXPECT_EQ(request.cache_salt, "s");
  EXPECT_FALSE(request.parallel_tool_calls);
  EXPECT_NO_THROW(request.sampling.validate());
}

TEST(OpenAiChat, messages_become_the_encoders) {
  EXPECT_EQ(messages_of(R"([{"role": "developer", "content": "a"},
                            {"role": "system", "content": [{"type": "text", "text": "b"}]},
                            {"role": "user", "name": "bob", "content":
                              [{"type": "text", "text": "c"}, {"type": "text", "text": "d"}]},
                            {"role": "assistant", "content": null, "refusal": null,
                             "reasoning_content": "r", "tool_calls": [{"id": "1",
                             "type": "function", "function": {"name": "f", "arguments": ""}}]},
                            {"role": "tool", "tool_call_id": "1", "content": "ok"}])"),
            R"([{"role": "system", "content": "a\n\nb"}, {"role": "user", "content": "c\n\nd"}, )"
            R"({"role": "assistant", "content": "", "reasoning_content": "r", "tool_calls": )"
            R"([{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]}, )"
            R"({"role": "tool", "content": "ok", "tool_call_id": "1"}])");
}

TEST(OpenAiChat, a_last_message_of_the_assistant_stays_open) {
  const ApiRequest request = parse(R"({"model": "m", "messages": [
      {"role": "user", "content": "x"}, {"role": "assistant", "content": "yes, "}]})");
  EXPECT_TRUE(request.is_prefill());
  EXPECT_FALSE(with("\"n\": 1").is_prefill());
}

// The format begins no reply behind a system message.
TEST(OpenAiChat, late_system_messages_become_the_users) {
  EXPECT_EQ(messages_of(R"([{"role": "system", "content": "s"}])"),
            R"([{"role": "system", "content": "s"}, {"role": "user", "content": ""}])");
  EXPECT_EQ(
      messages_of(R"([{"role": "user", "content": "u"}, {"role": "system", "content": "s"}])"),
      R"([{"role": "user", "content": "u"}, {"role": "user", "content": "s"}])");
}

TEST(OpenAiChat, arguments_are_objects_or_what_a_model_wrote) {
  const auto arguments = [](const std::string& json) {
    const std::string body =
        R"({"model": "m", "messages": [{"role": "assistant", "tool_calls": [{"id": "1", )"
        R"("function": {"name": "f", "arguments": )" +
        json + R"(}}]}, {"role": "user", "content": "x"}]})";
    const std::string error = error_of(body);
    if (error != "no error") return error;
    return parse(body)
        .messages[0]
        .at("tool_calls", "")
        .as_array("")[0]
        .at("function", "")
        .at("arguments", "")
        .as_string("");
  };
  EXPECT_EQ(arguments(R"("{\"a\":1}")"), R"({"a":1})");
  EXPECT_EQ(arguments(R"({"a": 1})"), R"({"a": 1})");
  EXPECT_EQ(arguments(R"("null")"), "{}");
  EXPECT_EQ(arguments(R"("{\"a\":")"), R"({"a":)");
  EXPECT_EQ(arguments(R"("[1]")"),
            "400 messages[0].tool_calls[0].function.arguments | expected the JSON text of an "
            "object, found an array");
}

TEST(OpenAiChat, tools_and_choice) {
  const std::string tools = R"("tools": [{"type": "function", "function": {"name": "f",
      "description": "d", "parameters": {"type": "object"}, "strict": true}},
      {"type": "function", "function": {"name": "g"}}])";
  const ApiRequest request =
      with(tools + R"(, "tool_choice": {"type": "function", "function": {"name": "g"}})");
  ASSERT_EQ(request.tools.size(), 2u);
  EXPECT_TRUE(request.tools[0].strict);
  EXPECT_EQ(request.tools[0].where, "tools[0].function.parameters");
  EXPECT_EQ(request.tools[1].parameters.print(), R"({"type": "object", "properties": {}})");
  EXPECT_EQ(request.tool_choice.kind, ToolChoice::Kind::kNamed);
  EXPECT_EQ(with(tools + R"(, "tool_choice": "required")").tool_choice.kind,
            ToolChoice::Kind::kRequired);
  EXPECT_EQ(error_with(tools + R"(, "tool_choice": {"type": "function", "function":
                                      {"name": "h"}})"),
            "400 tool_choice | the tool that it names is not declared");
  EXPECT_EQ(error_with(R"("tool_choice": "required")"),
            "400 tool_choice | a call is required but there are no tools");
}

TEST(OpenAiChat, response_formats) {
  const ApiRequest request = with(R"("response_format": {"type": "json_schema", "json_schema":
      {"name": "n", "strict": true, "schema": {"type": "object"}}})");
  EXPECT_EQ(request.response_format.kind, ResponseFormat::Kind::kJsonSchema);
  EXPECT_TRUE(request.response_format.strict);
  EXPECT_EQ(request.response_format.where, "response_format.json_schema.schema");
  EXPECT_EQ(error_with(R"("response_format": {"type": "json_schema", "json_schema": {}})"),
            "400 response_format.json_schema.schema | this member is required");
  EXPECT_EQ(error_with(R"("response_format": {"type": "xml"})"),
            "400 response_format.type | expected one of \"text\", \"json_object\", "
            "\"json_schema\", found \"xml\"");
}

TEST(OpenAiChat, every_way_to_ask_for_reasoning) {
  const auto effort = [](const std::string& members) {
    const ApiRequest request = with(members);
    return std::string(effort_name(request.effort)) +
           (request.thinking_budget ? std::to_string(*request.thinking_budget) : "");
  };
  EXPECT_EQ(effort(R"("reasoning_effort": "xhigh")"), "max");
  EXPECT_EQ(effort(R"("reasoning_effort": "minimal")"), "low");
  EXPECT_EQ(effort(R"("reasoning_effort": "none")"), "none");
  EXPECT_EQ(effort(R"("reasoning": {"effort": "medium", "max_tokens": 9})"), "medium9");
  EXPECT_EQ(effort(R"("reasoning": {"enabled": true})"), "high");
  EXPECT_EQ(effort(R"("reasoning_effort": "high", "thinking": {"type": "disabled"})"), "none");
  EXPECT_EQ(effort(R"("thinking": {"type": "enabled", "budget_tokens": 100})"), "high100");
  EXPECT_EQ(effort(R"("chat_template_kwargs": {"thinking": true})"), "high");
  EXPECT_EQ(effort(R"("chat_template_kwargs": {"enable_thinking": false}, "thinking_budget": 5)"),
            "none");
  EXPECT_EQ(effort(R"("enable_thinking": true, "reasoning_effort": "low")"), "low");
  EXPECT_FALSE(with(R"("reasoning": {"effort": "low", "exclude": true})").show_reasoning);
}

TEST(OpenAiChat, errors_name_the_path) {
  const std::string cases[][2] = {
      {R"([])", "400  | expected an object, found an array"},
      {R"({"messages": []})", "400 model | this member is required"},
      {R"({"model": "other", "messages": []})",
       "404 model | the model \"other\" does not exist; GET /v1/models lists those that do"},
      {R"({"model": "m", "messages": []})", "400 messages | expected at least one message"},
      {R"({"model": "m", "messages": [], "foo": 1})",
       "400 foo | Unrecognized request argument supplied: foo"},
      {R"({"model": "m", "messages": [{"content": "x"}]})",
       "400 messages[0].role | this member is required"},
      {R"({"model": "m", "messages": [{"role": "user"}]})",
       "400 messages[0].content | this member is required"},
      {R"({"model": "m", "messages": [{"role": "user", "content": [{"type": "text", "text": "x"},
          {"type": "image_url", "image_url": {"url": "x"}}]}]})",
       "400 messages[0].content[1].type | this model reads text only, not \"image_url\""},
      {R"({"model": "m", "messages": [{"role": "user", "content": [{"type": "input_audio"}]}]})",
       "400 messages[0].content[0].type | this model reads text only, not \"input_audio\""},
      {R"({"model": "m", "messages": [{"role": "tool", "content": "x"}]})",
       "400 messages[0].tool_call_id | this member is required"},
      {R"({"model": "m", "messages": [{"role": "assistant", "tool_calls": [{"id": "1",
          "function": {"name": "f"}}]}]})",
       "400 messages[0] | the last message calls tools; the results of the calls must follow it"},
  };
  for (const auto& [body, error] : cases) EXPECT_EQ(error_of(body), error) << body;
  const std::string members[][2] = {
      {R"("temperature": 2.5)", "400 temperature | expected a number from 0 to 2, found 2.5"},
      {R"("temperature": "1")", "400 temperature | expected a number from 0 to 2, found \"1\""},
      {R"("temperature": NaN)", "400 temperature | expected a number from 0 to 2, found NaN"},
      {R"("n": 9)", "400 n | expected an integer from 1 to 8, found 9"},
      {R"("n": 1.0)", "400 n | expected an integer from 1 to 8, found 1.0"},
      {R"("max_tokens": 0)", "400 max_tokens | expected an integer from 1 to 1073741824, found 0"},
      {R"("n": 99999999999999999999)",
       "400 n | expected an integer from 1 to 8, found 99999999999999999999"},
      {R"("logit_bias": {"1000": 1})",
       "400 logit_bias | expected token ids from 0 to 999 as names"},
      {R"("logit_bias": {"1": 101})",
       "400 logit_bias.1 | expected a number from -100 to 100, found 101"},
      {R"("top_logprobs": 1)", "400 top_logprobs | needs \"logprobs\": true"},
      {R"("stream_options": {})", "400 stream_options | is allowed only with \"stream\": true"},
      {R"("stop": [1])", "400 stop[0] | expected a string, found an integer"},
      {R"("tools": [{"type": "web_search"}])", "400 tools[0].type | expected \"function\""},
      {R"("tools": [{"type": "function", "function": {"name": "a b"}}])",
       "400 tools[0].function.name | expected 1 to 128 letters, digits or _ - . : /"},
      {R"("tools": [{"type": "function", "function": {"name": "a"}},
                    {"type": "function", "function": {"name": "a"}}])",
       "400 tools[1].function.name | two tools have the name \"a\""},
  };
  for (const auto& [member, error] : members) EXPECT_EQ(error_with(member), error) << member;
}

TEST(OpenAiChat, the_error_body_has_the_services_shape) {
  const ApiError error{ApiError::Kind::kModelNotFound, "no such model", "model"};
  EXPECT_EQ(error_json(ApiKind::kChat, error, "req_1").print(),
            R"({"error": {"message": "no such model", "type": "invalid_request_error", )"
            R"("param": "model", "code": "model_not_found"}})");
  EXPECT_EQ(error_json(ApiKind::kMessages, error, "req_1").print(),
            R"({"type": "error", "error": {"type": "not_found_error", )"
            R"("message": "model: no such model"}, "request_id": "req_1"})");
  EXPECT_EQ(error_json(ApiKind::kChat, {ApiError::Kind::kInternal, "x"}, "").print(),
            R"({"error": {"message": "x", "type": "server_error", "param": null, )"
            R"("code": "internal_error"}})");
  // Clients look for this beginning before they shorten the conversation and try again.
  const ApiError too_long{ApiError::Kind::kContextLength,
                          "prompt is too long: 9 tokens > 7 maximum", "prompt"};
  EXPECT_EQ(error_json(ApiKind::kMessages, too_long, "req_1").print(),
            R"({"type": "error", "error": {"type": "invalid_request_error", )"
            R"("message": "prompt is too long: 9 tokens > 7 maximum"}, "request_id": "req_1"})");
}

}  // namespace
}  // namespace dsv4
