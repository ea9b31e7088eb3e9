#include "server/prompt.h"

#include "server/openai_chat.h"
#include "server/request_testing.h"
#include "text/special_tokens.h"
#include "text/text_stream.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace dsv4 {
namespace {

const Tokenizer& tokenizer() {
  static const Tokenizer mini = Tokenizer::load(DSV4_SOURCE_DIR "/models/mini");
  return mini;
}

constexpr const char* kTools = R"([{"type": "function", "function": {"name": "f", "parameters":
    {"type": "object", "properties": {"s": {"type": "string"}, "n": {"type": "number"}}}}}])";

ApiRequest request_of(const Json::Array& messages, bool has_tools, const char* effort) {
  Json body = Json().set("model", "m").set("messages", messages).set("reasoning_effort", effort);
  if (has_tools) body.set("tools", Json::parse(kTools, "tools"));
  return parse_chat_request(body, test_settings());
}

std::vector<int32_t> encoded(const std::string& text) {
  return tokenizer().encode(text, ParseSpecial::kYes);
}

// Tokens that no tokenizer would choose for their text.
void append_noise(std::vector<int32_t>& ids, size_t n, std::mt19937& random) {
  while (n > 0) {
    const auto id = static_cast<int32_t>(random() % static_cast<size_t>(tokenizer().vocab_size()));
    const std::string_view bytes = tokenizer().token_bytes(id);
    if (bytes.empty() || tokenizer().is_special(id) || bytes.find('<') != std::string_view::npos ||
        tokenizer().id_of(bytes)) {
      continue;
    }
    ids.push_back(id);
    --n;
  }
}

void append(std::vector<int32_t>& ids, const std::vector<int32_t>& more) {
  ids.insert(ids.end(), more.begin(), more.end());
}

// A call as a model may write it: numbers that other printers spell differently, extra spaces.
std::string call_text(std::mt19937& random) {
  const char* bodies[] = {
      "<｜DSML｜parameter name=\"s\" string=\"true\">a \"b\"\n</｜DSML｜parameter>",
      "<｜DSML｜parameter name=\"n\" string=\"false\"> 1.50 </｜DSML｜parameter>",
      "<｜DSML｜parameter name=\"n\" string=\"false\">1e3</｜DSML｜parameter>\n"
      "<｜DSML｜parameter name=\"s\" string=\"true\">é漢</｜DSML｜parameter>",
      ""};
  return std::string("\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke name=\"f\">\n") +
         bodies[random() % 4] + "\n</｜DSML｜invoke>\n</｜DSML｜tool_calls>";
}

struct Reply {
  std::vector<int32_t> ids;
  Json message;
  ReplyEnd end;
};

Reply random_reply(const ApiRequest& request, const Prompt& prompt, uint64_t seed) {
  std::mt19937 random(static_cast<unsigned>(seed));
  Reply reply;
  if (prompt.mode == ThinkingMode::kThinking) {
    append_noise(reply.ids, random() % 8, random);
    append(reply.ids, encoded(std::string(kThinkEnd)));
  }
  append_noise(reply.ids, random() % 8, random);
  if (request.has_tools() && random() % 3 != 0) append(reply.ids, encoded(call_text(random)));
  const bool is_cut = random() % 4 == 0;
  if (!is_cut) reply.ids.push_back(*tokenizer().eos_id());

  ReplyContext context{&tokenizer(), IdMaker(seed)};
  context.mode = prompt.mode;
  const auto writer = make_reply_writer(request, std::move(context));
  std::string out;
  writer->start(std::ssize(prompt.ids), 0, out);
  LenientParser parser(*prompt.parsing);
  TokenStream stream(tokenizer(), SkipSpecial::kNo);
  for (const int32_t id : reply.ids) {
    const SampledToken token{id, -1.0F, {}};
    writer->add(0, parser.feed(stream.push(id)), &token, out);
  }
  writer->add(0, parser.feed(stream.finish()), nullptr, out);
  writer->add(0, parser.finish(is_cut ? FinishReason::kLength : FinishReason::kStop), nullptr, out);
  reply.end = {parser.finish_reason()};
  writer->end(0, reply.end, out);
  writer->finish(out);
  reply.message = writer->message(0);
  return reply;
}

// What a client makes of it: other spacing of the arguments, perhaps without the reasoning.
Json as_client_sends(const Json& message, std::mt19937& random) {
  Json sent = Json().set("role", "assistant").set("content", message.at("content", ""));
  if (random() % 2 == 0) sent.set("reasoning_content", message.at("reasoning_content", ""));
  const Json* calls = message.find("tool_calls");
  if (calls == nullptr) return sent;
  Json::Array copies;
  for (const Json& call : calls->as_array("")) {
    const Json& function = call.at("function", "");
    const Json arguments =
        Json::parse(function.at("arguments", "").as_string(""), "", Json::NonFinite::kReject);
    Json inner = Json().set("name", function.at("name", "")).set("arguments", arguments.print());
    copies.push_back(Json()
                         .set("id", call.at("id", ""))
                         .set("type", "function")
                         .set("function", std::move(inner)));
  }
  return sent.set("tool_calls", std::move(copies));
}

bool begins_with(const std::vector<int32_t>& ids, const std::vector<int32_t>& prefix) {
  return ids.size() >= prefix.size() && std::equal(prefix.begin(), prefix.end(), ids.begin());
}

void append_next_turn(Json::Array& messages, const Json& sent) {
  messages.push_back(sent);
  if (const Json* calls = sent.find("tool_calls")) {
    for (const Json& call : calls->as_array("")) {
      messages.push_back(Json()
                             .set("role", "tool")
                             .set("tool_call_id", call.at("id", ""))
                             .set("content", "result"));
    }
  } else {
    messages.push_back(Json().set("role", "user").set("content", "go on"));
  }
}

TEST(Prompt, the_next_prompt_begins_with_this_one_and_the_sampled_tokens) {
  for (uint64_t seed = 0; seed < 300; ++seed) {
    std::mt19937 random(static_cast<unsigned>(seed));
    const bool has_tools = seed % 2 == 0;
    // Without tools the format drops the reasoning of earlier turns, so only chat mode keeps all.
    const char* effort = has_tools && seed % 4 == 0 ? "high" : "none";
    ReplayStore replays(1 << 20, seed);
    const PromptBuilder builder(tokenizer(), ChatVariant::kPreview, &replays);
    Json::Array messages = {Json().set("role", "user").set("content", "hello")};
    std::vector<int32_t> known;
    for (int turn = 0; turn < 4; ++turn) {
      const ApiRequest request = request_of(messages, has_tools, effort);
      const Prompt prompt = builder.chat(request, 7);
      ASSERT_TRUE(begins_with(prompt.ids, known)) << seed << " turn " << turn;
      ASSERT_EQ(prompt.n_replayed, turn) << seed;
      const Reply reply = random_reply(request, prompt, seed * 10 + static_cast<uint64_t>(turn));
      builder.remember(prompt, reply.message, reply.ids, reply.end);
      known = prompt.ids;
      append(known, reply.ids);
      append_next_turn(messages, as_client_sends(reply.message, random));
    }
    const Prompt other = builder.chat(request_of(messages, has_tools, effort), 8);
    EXPECT_EQ(other.n_replayed, 0) << "another salt";
  }
}

TEST(Prompt, dropped_reasoning_leaves_the_rest_of_the_turn) {
  ReplayStore replays(1 << 20, 1);
  const PromptBuilder builder(tokenizer(), ChatVariant::kPreview, &replays);
  Json::Array messages = {Json().set("role", "user").set("content", "hello")};
  const ApiRequest request = request_of(messages, false, "high");
  const Prompt prompt = builder.chat(request, 0);
  const Reply reply = random_reply(request, prompt, 3);
  builder.remember(prompt, reply.message, reply.ids, reply.end);
  append_next_turn(messages, reply.message);
  const Prompt next = builder.chat(request_of(messages, false, "high"), 0);
  EXPECT_EQ(next.n_replayed, 1);
  // All but the token that opened the reasoning, its end, and what followed.
  std::vector<int32_t> expected(prompt.ids.begin(), prompt.ids.end() - 1);
  const auto end = std::ranges::find(reply.ids, *tokenizer().id_of(kThinkEnd));
  ASSERT_NE(end, reply.ids.end());
  expected.insert(expected.end(), end, reply.ids.end());
  EXPECT_TRUE(begins_with(next.ids, expected));
  // The last boundary is where the two prompts part.
  EXPECT_EQ(prompt.boundaries.back(), std::ssize(prompt.ids) - 1);
}

TEST(Prompt, changed_replies_are_encoded_from_their_text) {
  ReplayStore replays(1 << 20, 1);
  const PromptBuilder builder(tokenizer(), ChatVariant::kPreview, &replays);
  const PromptBuilder plain(tokenizer(), ChatVariant::kPreview, nullptr);
  Json::Array messages = {Json().set("role", "user").set("content", "hello")};
  const ApiRequest request = request_of(messages, true, "high");
  const Prompt prompt = builder.chat(request, 0);
  const Reply reply = random_reply(request, prompt, 20);
  builder.remember(prompt, reply.message, reply.ids, reply.end);
  const auto n_replayed = [&](const Json& sent) {
    Json::Array changed = messages;
    append_next_turn(changed, sent);
    const ApiRequest next = request_of(changed, true, "high");
    const Prompt built = builder.chat(next, 0);
    if (built.n_replayed == 0) {
      EXPECT_EQ(built.ids, plain.chat(next, 0).ids);
    }
    return built.n_replayed;
  };
  EXPECT_EQ(n_replayed(reply.message), 1);
  Json changed = reply.message;
  EXPECT_EQ(n_replayed(changed.set("content", "something else")), 0);
  // The reasoning is the client's, the rest the model's.
  changed = reply.message;
  changed.set("reasoning_content", "other thoughts");
  Json::Array with_other = messages;
  append_next_turn(with_other, changed);
  const Prompt mixed = builder.chat(request_of(with_other, true, "high"), 0);
  EXPECT_EQ(mixed.n_replayed, 1);
  EXPECT_NE(tokenizer().decode(mixed.ids, SkipSpecial::kNo).find("other thoughts</think>"),
            std::string::npos);
}

TEST(Prompt, tokens_that_the_vocabulary_does_not_have_are_not_put_in) {
  for (const int32_t id : {-1, tokenizer().vocab_size(), INT32_MAX}) {
    ReplayStore replays(1 << 20, 1);
    const PromptBuilder builder(tokenizer(), ChatVariant::kPreview, &replays);
    Json::Array messages = {Json().set("role", "user").set("content", "hello")};
    const Json reply = Json().set("role", "assistant").set("content", "x");
    const Prompt first = builder.chat(request_of(messages, false, "none"), 0);
    replays.remember(first.conversation->keys_of(reply), {.reply_ids = {5, id}});
    append_next_turn(messages, reply);
    const Prompt next = builder.chat(request_of(messages, false, "none"), 0);
    EXPECT_EQ(next.n_replayed, 0);
    EXPECT_EQ(std::ranges::count(next.ids, id), 0);
  }
}

TEST(Prompt, what_is_not_the_message_is_not_remembered) {
  ReplayStore replays(1 << 20, 1);
  const PromptBuilder builder(tokenizer(), ChatVariant::kPreview, &replays);
  const Json::Array messages = {Json().set("role", "user").set("content", "hello")};
  const ApiRequest request = request_of(messages, false, "high");
  const Json message = Json().set("role", "assistant").set("content", "x");
  const auto remember = [&](const std::string& text, const ReplyEnd& end) {
    builder.remember(builder.chat(request, 0), message, encoded(text), end);
    return replays.size();
  };
  EXPECT_EQ(remember("thoughts without an end", {FinishReason::kLength}), 0u);
  EXPECT_EQ(remember("a</think>x", {FinishReason::kStop, "stop"}), 0u);
  EXPECT_EQ(remember("a</think>x", {FinishReason::kStop}), 1u);
}

TEST(Prompt, without_replays_it_is_what_the_encoder_says) {
  const PromptBuilder builder(tokenizer(), ChatVariant::kPreview, nullptr);
  const ApiRequest request = request_of({Json().set("role", "system").set("content", "s"),
                                         Json().set("role", "user").set("content", "u")},
                                        true, "max");
  const Prompt prompt = builder.chat(request, 0);
  const std::string text = tokenizer().decode(prompt.ids, SkipSpecial::kNo);
  EXPECT_TRUE(text.starts_with("<｜begin▁of▁sentence｜>Reasoning Effort: Absolute maximum"));
  EXPECT_NE(text.find("s\n\n## Tools"), std::string::npos);
  EXPECT_TRUE(text.ends_with("<｜User｜>u<｜Assistant｜><think>"));
  EXPECT_EQ(prompt.boundaries.size(), 2u);
  EXPECT_EQ(prompt.ids[static_cast<size_t>(prompt.boundaries[0])], *tokenizer().id_of(kUser));
  EXPECT_EQ(prompt.ids[static_cast<size_t>(prompt.boundaries[1] - 1)],
            *tokenizer().id_of(kAssistant));
}

TEST(Prompt, a_prefill_is_answered_as_content) {
  const PromptBuilder builder(tokenizer(), ChatVariant::kPreview, nullptr);
  const ApiRequest request = request_of({Json().set("role", "user").set("content", "u"),
                                         Json().set("role", "assistant").set("content", "Sure: ")},
                                        false, "high");
  const Prompt prompt = builder.chat(request, 0);
  EXPECT_EQ(prompt.mode, ThinkingMode::kChat);
  EXPECT_TRUE(tokenizer()
                  .decode(prompt.ids, SkipSpecial::kNo)
                  .ends_with("<｜Assistant｜><think></think>Sure: "));
}

TEST(Prompt, the_response_format_is_in_the_system_message) {
  const PromptBuilder builder(tokenizer(), ChatVariant::kPreview, nullptr);
  const ApiRequest request = parse_chat_request(
      Json::parse(R"({"model": "m", "messages": [{"role": "user", "content": "u"}],
          "response_format": {"type": "json_schema", "json_schema": {"name": "n", "strict": true,
          "schema": {"type": "object"}}}})",
                  "body"),
      test_settings());
  EXPECT_NE(tokenizer()
                .decode(builder.chat(request, 0).ids, SkipSpecial::kNo)
                .find("adhere to the following schema to reply:\n{\"type\": \"json_schema\", "
                      "\"json_schema\": {\"name\": \"n\", \"schema\": {\"type\": \"object\"}}}"),
            std::string::npos);
}

TEST(Prompt, efforts_by_release_of_the_format) {
  const auto effort = [](Effort asked, ChatVariant variant) {
    ApiRequest request;
    request.effort = asked;
    const ChatOptions options = chat_options_of(request, variant);
    if (options.thinking_mode == ThinkingMode::kChat) return std::string("chat");
    return options.reasoning_effort.value_or("");
  };
  EXPECT_EQ(effort(Effort::kNone, ChatVariant::k0731), "chat");
  EXPECT_EQ(effort(Effort::kLow, ChatVariant::kPreview), "high");
  EXPECT_EQ(effort(Effort::kMedium, ChatVariant::kPreview), "high");
  EXPECT_EQ(effort(Effort::kMax, ChatVariant::kPreview), "max");
  EXPECT_EQ(effort(Effort::kLow, ChatVariant::k0731), "low");
  EXPECT_EQ(effort(Effort::kMedium, ChatVariant::k0731), "low");
  EXPECT_EQ(effort(Effort::kHigh, ChatVariant::k0731), "high");
}

TEST(ReplayStore, is_bounded_and_drops_the_oldest) {
  ReplayStore store(10'000, 1);
  for (uint64_t i = 0; i < 100; ++i) {
    store.remember({{i, 0}, {i, 1}}, {"r", {1}, std::vector<int32_t>(100, 5)});
    ASSERT_LE(store.n_bytes(), 10'000u);
  }
  EXPECT_LT(store.size(), 25u);
  EXPECT_FALSE(store.find({{0, 0}}));
  EXPECT_TRUE(store.find({{99, 1}}));
  EXPECT_TRUE(store.find({{500, 0}, {99, 0}})) << "the second key counts if the first is unknown";
  store.remember({{99, 0}}, {"new", {}, {}});
  EXPECT_EQ(store.find({{99, 0}})->reasoning, "new");
  EXPECT_FALSE(store.find({{99, 1}}));
}

TEST(ReplayStore, keys_see_through_the_spelling_of_arguments) {
  const ReplayStore store(1 << 20, 5);
  const auto key = [&](const std::string& arguments, const char* id = "1") {
    Json function = Json().set("name", "f").set("arguments", arguments);
    Json call = Json().set("id", id).set("function", std::move(function));
    Json message = Json().set("role", "assistant").set("content", "c");
    message.set("tool_calls", Json().push_back(std::move(call)));
    return store.conversation(0).keys_of(message);
  };
  EXPECT_EQ(key(R"({"a": 1.0, "b": [2]})"), key(R"({"b":[2],"a":1})"));
  EXPECT_EQ(key(R"({"a": "\u00e9"})"), key(R"({"a":"é"})"));
  EXPECT_NE(key(R"({"a": 1})"), key(R"({"a": 2})"));
  EXPECT_NE(key(R"({"a": 1})"), key(R"({"a": "1"})"));
  EXPECT_NE(key("{}", "1").front(), key("{}", "2").front());
  EXPECT_EQ(key("{}", "1").back(), key("{}", "2").back());
}

}  // namespace
}  // namespace dsv4
