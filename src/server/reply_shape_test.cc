// Bodies and frames as the services' public documentation shows them, written by hand.
#include "server/reply_shape.h"

#include "server/anthropic_messages.h"
#include "text/special_tokens.h"

#include <gtest/gtest.h>

namespace dsv4 {
namespace {

using Kind = ParseEvent::Kind;

const Tokenizer& tokenizer() {
  static const Tokenizer mini = Tokenizer::load(DSV4_SOURCE_DIR "/models/mini");
  return mini;
}

ApiRequest request_for(ApiKind api, bool stream) {
  ApiRequest request;
  request.api = api;
  request.model = "m";
  request.stream = stream;
  request.prompts.resize(api == ApiKind::kCompletions ? 1 : 0);
  return request;
}

// One token with its events; ids in the output become <ID0>, <ID1>, ... in order of appearance.
class Play {
 public:
  explicit Play(const ApiRequest& request, ThinkingMode mode = ThinkingMode::kChat) {
    ReplyContext context{&tokenizer(), IdMaker(1)};
    context.created = 99;
    context.mode = mode;
    context.prompt_texts = {"once "};
    writer_ = make_reply_writer(request, std::move(context));
    writer_->start(10, 4, out_);
  }

  Play& token(std::vector<ParseEvent> events, std::string_view text = "a", size_t choice = 0) {
    const int32_t id = tokenizer().encode(text, ParseSpecial::kYes).front();
    const SampledToken token{id, -0.5F, {{id, -0.5F}, {id + 1, -2.0F}}};
    writer_->add(choice, events, &token, out_);
    return *this;
  }

  std::string finish(FinishReason reason, std::optional<std::string> stop = {}) {
    for (size_t i = 0; i < writer_->n_choices(); ++i) writer_->end(i, {reason, stop}, out_);
    writer_->finish(out_);
    return with_short_ids();
  }

  std::string fail() {
    writer_->fail({ApiError::Kind::kInternal, "broken"}, out_);
    return with_short_ids();
  }

  ReplyWriter& writer() { return *writer_; }

  std::string with_short_ids() const {
    std::string text = out_;
    for (const char* prefix :
         {"chatcmpl-", "cmpl-", "resp_", "msg_", "rs_", "fc_", "ctc_", "call_", "toolu_"}) {
      const std::string start = std::string("\"") + prefix;
      for (size_t at = text.find(start); at != std::string::npos; at = text.find(start, at + 1)) {
        const size_t end = text.find('"', at + 1);
        if (end - at == start.size() + 24) text.replace(at + start.size(), 24, "0");
      }
    }
    const std::string signature = reasoning_signature("hm");
    for (size_t at = text.find(signature); at != std::string::npos; at = text.find(signature)) {
      text.replace(at, signature.size(), "SIGNATURE");
    }
    return text;
  }

 private:
  std::unique_ptr<ReplyWriter> writer_;
  std::string out_;
};

// A reply with reasoning, text and a call.
Play& play_all(Play& play) {
  return play.token({{Kind::kReasoning, "hm"}})
      .token({}, kThinkEnd)
      .token({{Kind::kContent, "I \"will\""}})
      .token({{Kind::kToolCallBegin, "f", 0}, {Kind::kArguments, "{\"a\":", 0}})
      .token({{Kind::kArguments, " 1}", 0}, {Kind::kToolCallEnd, "", 0}});
}

std::string frames(std::initializer_list<const char*> datas) {
  std::string out;
  for (const char* data : datas) out += std::string("data: ") + data + "\n\n";
  return out;
}

// Frames with the name of the event, which is the type inside.
std::string named_frames(std::initializer_list<const char*> datas) {
  std::string out;
  for (const char* data : datas) {
    const Json json = Json::parse(data, "expected");
    out += "event: " + json.at("type", "").as_string("") + "\ndata: " + data + "\n\n";
  }
  return out;
}

TEST(ReplyShape, chat_body) {
  Play play(request_for(ApiKind::kChat, false), ThinkingMode::kThinking);
  EXPECT_EQ(play_all(play).finish(FinishReason::kToolCalls),
            R"({"id": "chatcmpl-0", "object": "chat.completion", "created": 99, "model": "m", )"
            R"("choices": [{"index": 0, "message": {"role": "assistant", "content": "I \"will\"", )"
            R"("refusal": null, "reasoning_content": "hm", "tool_calls": [{"id": "call_0", )"
            R"("type": "function", "function": {"name": "f", "arguments": "{\"a\": 1}"}}]}, )"
            R"("logprobs": null, "finish_reason": "tool_calls"}], "usage": {"prompt_tokens": 10, )"
            R"("completion_tokens": 5, "total_tokens": 15, "prompt_tokens_details": )"
            R"({"cached_tokens": 4}, "completion_tokens_details": {"reasoning_tokens": 2}, )"
            R"("prompt_cache_hit_tokens": 4, "prompt_cache_miss_tokens": 6}})");
}

TEST(ReplyShape, chat_stream) {
  ApiRequest request = request_for(ApiKind::kChat, true);
  request.include_usage = true;
  Play play(request, ThinkingMode::kThinking);
  const auto chunk = [](const std::string& delta, const char* finish = "null") {
    return R"({"id": "chatcmpl-0", "object": "chat.completion.chunk", "created": 99, "model": "m", )"
           R"("choices": [{"index": 0, "delta": )" +
           delta + R"(, "logprobs": null, "finish_reason": )" + finish + R"(}], "usage": null})";
  };
  const std::string call = R"({"tool_calls": [{"index": 0, )";
  EXPECT_EQ(
      play_all(play).finish(FinishReason::kToolCalls),
      frames({chunk(R"({"role": "assistant", "content": ""})").c_str(),
              chunk(R"({"reasoning_content": "hm"})").c_str(),
              chunk(R"({"content": "I \"will\""})").c_str(),
              chunk(call + R"("id": "call_0", "type": "function", "function": {"name": "f", )"
                           R"("arguments": ""}}]})")
                  .c_str(),
              chunk(call + R"("function": {"arguments": "{\"a\":"}}]})").c_str(),
              chunk(call + R"("function": {"arguments": " 1}"}}]})").c_str(),
              chunk("{}", "\"tool_calls\"").c_str(),
              R"({"id": "chatcmpl-0", "object": "chat.completion.chunk", "created": 99, )"
              R"("model": "m", "choices": [], "usage": {"prompt_tokens": 10, )"
              R"("completion_tokens": 5, "total_tokens": 15, "prompt_tokens_details": )"
              R"({"cached_tokens": 4}, "completion_tokens_details": {"reasoning_tokens": 2}, )"
              R"("prompt_cache_hit_tokens": 4, "prompt_cache_miss_tokens": 6}})",
              "[DONE]"}));
}

TEST(ReplyShape, chat_logprobs_are_those_of_the_new_tokens) {
  ApiRequest request = request_for(ApiKind::kChat, false);
  request.logprobs = 1;
  Play play(request, ThinkingMode::kThinking);
  play.token({{Kind::kReasoning, "b"}}, "b").token({}, kThinkEnd);
  play.token({{Kind::kContent, "a"}}).token({}, kEos);
  const Json body = Json::parse(play.finish(FinishReason::kStop), "body");
  const Json& logprobs = body.at("choices", "").as_array("")[0].at("logprobs", "");
  EXPECT_EQ(logprobs.at("content", "").print(),
            R"([{"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": )"
            R"([{"token": "a", "logprob": -0.5, "bytes": [97]}]}])");
  EXPECT_EQ(logprobs.at("reasoning_content", "").as_array("").size(), 2u);
}

TEST(ReplyShape, chat_of_several_choices) {
  ApiRequest request = request_for(ApiKind::kChat, false);
  request.n = 2;
  Play play(request);
  play.token({{Kind::kContent, "one"}}, "a", 0).token({{Kind::kContent, "two"}}, "a", 1);
  const Json body = Json::parse(play.finish(FinishReason::kStop), "body");
  const Json::Array& choices = body.at("choices", "").as_array("");
  ASSERT_EQ(choices.size(), 2u);
  EXPECT_EQ(choices[1].at("message", "").at("content", "").print(), "\"two\"");
  EXPECT_EQ(choices[1].at("index", "").print(), "1");
  EXPECT_EQ(play.writer().usage().n_completion, 2);
}

TEST(ReplyShape, completions_body_and_stream) {
  ApiRequest request = request_for(ApiKind::kCompletions, false);
  request.logprobs = 2;
  Play plain(request);
  plain.token({{Kind::kContent, "a"}}).token({{Kind::kContent, "é"}}, "b");
  const Json body = Json::parse(plain.finish(FinishReason::kLength), "body");
  EXPECT_EQ(body.at("object", "").print(), "\"text_completion\"");
  const Json& choice = body.at("choices", "").as_array("")[0];
  EXPECT_EQ(choice.at("text", "").print(), "\"aé\"");
  EXPECT_EQ(choice.at("finish_reason", "").print(), "\"length\"");
  const Json& logprobs = choice.at("logprobs", "");
  EXPECT_EQ(logprobs.at("tokens", "").print(), R"(["a", "b"])");
  EXPECT_EQ(logprobs.at("token_logprobs", "").print(), "[-0.5, -0.5]");
  EXPECT_EQ(logprobs.at("text_offset", "").print(), "[0, 1]");
  EXPECT_EQ(logprobs.at("top_logprobs", "").as_array("")[0].find("a")->print(), "-0.5");

  request = request_for(ApiKind::kCompletions, true);
  request.echo = true;
  Play stream(request);
  stream.token({{Kind::kContent, "a"}});
  const auto chunk = [](const std::string& text, const char* finish = "null") {
    return R"({"id": "cmpl-0", "object": "text_completion", "created": 99, "model": "m", )"
           R"("choices": [{"text": ")" +
           text + R"(", "index": 0, "logprobs": null, "finish_reason": )" + finish + "}]}";
  };
  EXPECT_EQ(stream.finish(FinishReason::kStop), frames({chunk("once ").c_str(), chunk("a").c_str(),
                                                        chunk("", "\"stop\"").c_str(), "[DONE]"}));
}

TEST(ReplyShape, messages_body) {
  Play play(request_for(ApiKind::kMessages, false), ThinkingMode::kThinking);
  EXPECT_EQ(play_all(play).finish(FinishReason::kToolCalls),
            R"({"id": "msg_0", "type": "message", "role": "assistant", "model": "m", )"
            R"("content": [{"type": "thinking", "thinking": "hm", "signature": )"
            R"("SIGNATURE"}, {"type": "text", "text": "I \"will\""}, )"
            R"({"type": "tool_use", "id": "toolu_0", "name": "f", "input": {"a": 1}}], )"
            R"("stop_reason": "tool_use", "stop_sequence": null, "usage": {"input_tokens": 6, )"
            R"("cache_creation_input_tokens": 0, "cache_read_input_tokens": 4, )"
            R"("output_tokens": 5}})");
}

TEST(ReplyShape, messages_stream) {
  Play play(request_for(ApiKind::kMessages, true), ThinkingMode::kThinking);
  EXPECT_EQ(
      play_all(play).finish(FinishReason::kToolCalls),
      named_frames(
          {R"({"type": "message_start", "message": {"id": "msg_0", "type": "message", )"
           R"("role": "assistant", "model": "m", "content": [], "stop_reason": null, )"
           R"("stop_sequence": null, "usage": {"input_tokens": 6, )"
           R"("cache_creation_input_tokens": 0, "cache_read_input_tokens": 4, )"
           R"("output_tokens": 0}}})",
           R"({"type": "content_block_start", "index": 0, "content_block": )"
           R"({"type": "thinking", "thinking": "", "signature": ""}})",
           R"({"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", )"
           R"("thinking": "hm"}})",
           R"({"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", )"
           R"("signature": "SIGNATURE"}})",
           R"({"type": "content_block_stop", "index": 0})",
           R"({"type": "content_block_start", "index": 1, "content_block": )"
           R"({"type": "text", "text": ""}})",
           R"({"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", )"
           R"("text": "I \"will\""}})",
           R"({"type": "content_block_stop", "index": 1})",
           R"({"type": "content_block_start", "index": 2, "content_block": {"type": "tool_use", )"
           R"("id": "toolu_0", "name": "f", "input": {}}})",
           R"({"type": "content_block_delta", "index": 2, "delta": {"type": "input_json_delta", )"
           R"("partial_json": "{\"a\":"}})",
           R"({"type": "content_block_delta", "index": 2, "delta": {"type": "input_json_delta", )"
           R"("partial_json": " 1}"}})",
           R"({"type": "content_block_stop", "index": 2})",
           R"({"type": "message_delta", "delta": {"stop_reason": "tool_use", )"
           R"("stop_sequence": null}, "usage": {"input_tokens": 6, )"
           R"("cache_creation_input_tokens": 0, "cache_read_input_tokens": 4, )"
           R"("output_tokens": 5}})",
           R"({"type": "message_stop"})"}));
}

TEST(ReplyShape, messages_name_the_stop_sequence) {
  Play play(request_for(ApiKind::kMessages, false));
  const Json body =
      Json::parse(play.token({{Kind::kContent, "a"}}).finish(FinishReason::kStop, "END"), "body");
  EXPECT_EQ(body.at("stop_reason", "").print(), "\"stop_sequence\"");
  EXPECT_EQ(body.at("stop_sequence", "").print(), "\"END\"");
}

TEST(ReplyShape, omitted_thinking_has_a_signature_only) {
  ApiRequest request = request_for(ApiKind::kMessages, false);
  request.show_reasoning = false;
  Play play(request, ThinkingMode::kThinking);
  const std::string body = play_all(play).finish(FinishReason::kToolCalls);
  EXPECT_NE(body.find(R"("thinking": "", "signature": "SIGNATURE")"), std::string::npos);
  EXPECT_EQ(play.writer().message(0).at("reasoning_content", "").print(), "\"\"");
  EXPECT_EQ(play.writer().usage().n_reasoning, 2);
}

ApiRequest responses_request(bool stream) {
  ApiRequest request = request_for(ApiKind::kResponses, stream);
  request.echoed = Json().set("model", "m");
  return request;
}

constexpr const char* kReasoningItem =
    R"({"id": "rs_0", "type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", )"
    R"("text": "hm"}], "encrypted_content": null, "status": "completed"})";
constexpr const char* kMessageItem =
    R"({"id": "msg_0", "type": "message", "status": "completed", "role": "assistant", )"
    R"("content": [{"type": "output_text", "text": "I \"will\"", "annotations": [], )"
    R"("logprobs": []}]})";
constexpr const char* kCallItem =
    R"({"id": "fc_0", "type": "function_call", "status": "completed", "call_id": "call_0", )"
    R"("name": "f", "arguments": "{\"a\": 1}"})";

std::string response_json(const std::string& status, const std::string& output,
                          const std::string& usage) {
  return R"({"id": "resp_0", "object": "response", "created_at": 99, "status": ")" + status +
         R"(", "background": false, "error": null, "incomplete_details": null, "output": [)" +
         output + R"(], "model": "m", "usage": )" + usage + "}";
}

const std::string kResponsesUsage =
    R"({"input_tokens": 10, "input_tokens_details": {"cached_tokens": 4, )"
    R"("cache_write_tokens": 0}, "output_tokens": 5, )"
    R"("output_tokens_details": {"reasoning_tokens": 2}, "total_tokens": 15})";

TEST(ReplyShape, responses_body) {
  Play play(responses_request(false), ThinkingMode::kThinking);
  EXPECT_EQ(play_all(play).finish(FinishReason::kToolCalls),
            response_json("completed",
                          std::string(kReasoningItem) + ", " + kMessageItem + ", " + kCallItem,
                          kResponsesUsage));
}

TEST(ReplyShape, responses_stream) {
  Play play(responses_request(true), ThinkingMode::kThinking);
  const std::string begun = response_json("in_progress", "", "null");
  const std::string done = response_json(
      "completed", std::string(kReasoningItem) + ", " + kMessageItem + ", " + kCallItem,
      kResponsesUsage);
  const std::string events[] = {
      R"("response.created", "sequence_number": 0, "response": )" + begun,
      R"("response.in_progress", "sequence_number": 1, "response": )" + begun,
      R"("response.output_item.added", "sequence_number": 2, "output_index": 0, "item": )"
      R"({"id": "rs_0", "type": "reasoning", "summary": [], "content": [], )"
      R"("encrypted_content": null, "status": "in_progress"})",
      R"("response.reasoning_text.delta", "sequence_number": 3, "item_id": "rs_0", )"
      R"("output_index": 0, "content_index": 0, "delta": "hm")",
      R"("response.reasoning_text.done", "sequence_number": 4, "item_id": "rs_0", )"
      R"("output_index": 0, "content_index": 0, "text": "hm")",
      R"("response.output_item.done", "sequence_number": 5, "output_index": 0, "item": )" +
          std::string(kReasoningItem),
      R"("response.output_item.added", "sequence_number": 6, "output_index": 1, "item": )"
      R"({"id": "msg_0", "type": "message", "status": "in_progress", "role": "assistant", )"
      R"("content": []})",
      R"("response.content_part.added", "sequence_number": 7, "item_id": "msg_0", )"
      R"("output_index": 1, "content_index": 0, "part": {"type": "output_text", "text": "", )"
      R"("annotations": [], "logprobs": []})",
      R"("response.output_text.delta", "sequence_number": 8, "item_id": "msg_0", )"
      R"("output_index": 1, "content_index": 0, "delta": "I \"will\"", "logprobs": [])",
      R"("response.output_text.done", "sequence_number": 9, "item_id": "msg_0", )"
      R"("output_index": 1, "content_index": 0, "text": "I \"will\"", "logprobs": [])",
      R"("response.content_part.done", "sequence_number": 10, "item_id": "msg_0", )"
      R"("output_index": 1, "content_index": 0, "part": {"type": "output_text", )"
      R"("text": "I \"will\"", "annotations": [], "logprobs": []})",
      R"("response.output_item.done", "sequence_number": 11, "output_index": 1, "item": )" +
          std::string(kMessageItem),
      R"("response.output_item.added", "sequence_number": 12, "output_index": 2, "item": )"
      R"({"id": "fc_0", "type": "function_call", "status": "in_progress", "call_id": "call_0", )"
      R"("name": "f", "arguments": ""})",
      R"("response.function_call_arguments.delta", "sequence_number": 13, "item_id": "fc_0", )"
      R"("output_index": 2, "delta": "{\"a\":")",
      R"("response.function_call_arguments.delta", "sequence_number": 14, "item_id": "fc_0", )"
      R"("output_index": 2, "delta": " 1}")",
      R"("response.function_call_arguments.done", "sequence_number": 15, "item_id": "fc_0", )"
      R"("output_index": 2, "name": "f", "arguments": "{\"a\": 1}")",
      R"("response.output_item.done", "sequence_number": 16, "output_index": 2, "item": )" +
          std::string(kCallItem),
      R"("response.completed", "sequence_number": 17, "response": )" + done,
  };
  std::string expected;
  for (const std::string& event : events) {
    expected += named_frames({(R"({"type": )" + event + "}").c_str()});
  }
  EXPECT_EQ(play_all(play).finish(FinishReason::kToolCalls), expected);
}

TEST(ReplyShape, custom_tools_take_one_text) {
  ApiRequest request = responses_request(false);
  request.tools.push_back({.name = "patch", .is_custom = true});
  Play play(request);
  play.token({{Kind::kToolCallBegin, "patch", 0},
              {Kind::kArguments, R"({"input": "a\nb"})", 0},
              {Kind::kToolCallEnd, "", 0}});
  const Json body = Json::parse(play.finish(FinishReason::kToolCalls), "body");
  EXPECT_EQ(body.at("output", "").print(),
            R"([{"id": "ctc_0", "type": "custom_tool_call", "status": "completed", )"
            R"("call_id": "call_0", "name": "patch", "input": "a\nb"}])");
}

// The client gets back the two members that it declared.
TEST(ReplyShape, calls_of_a_namespace) {
  for (const bool stream : {false, true}) {
    ApiRequest request = responses_request(stream);
    request.tools.push_back({.name = "n__f", .space = "n", .short_name = "f"});
    Play play(request);
    play.token({{Kind::kToolCallBegin, "n__f", 0},
                {Kind::kArguments, "{}", 0},
                {Kind::kToolCallEnd, "", 0}});
    const std::string out = play.finish(FinishReason::kToolCalls);
    const std::string item = R"("call_id": "call_0", "name": "f", "namespace": "n", "arguments": )";
    EXPECT_NE(out.find(item + R"("{}")"), std::string::npos) << out;
    EXPECT_EQ(stream, out.find(item + R"("")") != std::string::npos) << out;
    EXPECT_EQ(out.find("n__f"), std::string::npos) << out;
  }
}

// Half a call is never told as a whole one, in any API.
TEST(ReplyShape, aborted_calls) {
  const auto play = [](ApiKind api, bool stream) {
    ApiRequest request = request_for(api, stream);
    if (api == ApiKind::kResponses) request.echoed = Json().set("model", "m");
    Play half(request);
    half.token({{Kind::kToolCallBegin, "f", 0}, {Kind::kArguments, "{\"a\":", 0}});
    half.token({{Kind::kToolCallAborted, "", 0}, {Kind::kRawText, "raw"}});
    const std::string out = half.finish(FinishReason::kLength);
    EXPECT_EQ(half.writer().message(0).find("tool_calls"), nullptr);
    return out;
  };
  const std::string chat = play(ApiKind::kChat, false);
  EXPECT_EQ(chat.find("tool_calls"), std::string::npos);
  EXPECT_NE(chat.find(R"("content": "raw")"), std::string::npos);
  EXPECT_NE(play(ApiKind::kChat, true).find(R"("finish_reason": "length")"), std::string::npos);
  const std::string messages = play(ApiKind::kMessages, true);
  EXPECT_EQ(messages.find(R"("type": "content_block_stop", "index": 0)"), std::string::npos);
  EXPECT_NE(messages.find(R"("type": "content_block_stop", "index": 1)"), std::string::npos);
  EXPECT_NE(messages.find(R"("stop_reason": "max_tokens")"), std::string::npos);
  const std::string responses = play(ApiKind::kResponses, true);
  EXPECT_EQ(responses.find(R"("response.output_item.done", "sequence_number": 4)"),
            std::string::npos);
  EXPECT_NE(responses.find(R"("type": "response.incomplete")"), std::string::npos);
  EXPECT_NE(responses.find(R"("incomplete_details": {"reason": "max_output_tokens"})"),
            std::string::npos);
}

TEST(ReplyShape, failures_within_a_stream) {
  const std::string chat = Play(request_for(ApiKind::kChat, true)).fail();
  EXPECT_TRUE(chat.ends_with(R"(data: {"error": {"message": "broken", "type": "server_error", )"
                             R"("param": null, "code": "internal_error"}})"
                             "\n\ndata: [DONE]\n\n"));
  const std::string messages = Play(request_for(ApiKind::kMessages, true)).fail();
  EXPECT_TRUE(
      messages.ends_with("event: error\ndata: {\"type\": \"error\", \"error\": {\"type\": "
                         "\"api_error\", \"message\": \"broken\"}, \"request_id\": "
                         "\"msg_0\"}\n\n"));
  const std::string responses = Play(responses_request(true)).fail();
  EXPECT_NE(responses.find(R"("error": {"code": "internal_error", "message": "broken"})"),
            std::string::npos);
}

TEST(IdMaker, ids_differ_and_repeat_by_seed) {
  IdMaker a(1);
  IdMaker b(1);
  const std::string first = a.next("x_");
  EXPECT_EQ(first, b.next("x_"));
  EXPECT_NE(first, a.next("x_"));
  EXPECT_EQ(first.size(), 26u);
  EXPECT_NE(first, IdMaker(2).next("x_"));
}

}  // namespace
}  // namespace dsv4
