// Requests that are damaged at random, or made at random from the published description, are
// answered: with a request, or with an error of the client that names a place.
#include "server/anthropic_messages.h"
#include "server/openai_chat.h"
#include "server/openai_completions.h"
#include "server/openapi.h"
#include "server/prompt.h"
#include "server/request_testing.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <random>

namespace dsv4 {
namespace {

using Random = std::mt19937;

const Tokenizer& tokenizer() {
  static const Tokenizer mini = Tokenizer::load(DSV4_SOURCE_DIR "/models/mini");
  return mini;
}

ApiRequest parse(ApiKind api, const Json& body, const ApiSettings& settings) {
  switch (api) {
    case ApiKind::kChat:
      return parse_chat_request(body, settings);
    case ApiKind::kCompletions:
      return parse_completions_request(body, settings);
    case ApiKind::kResponses:
      return parse_responses_request(body, settings, nothing_stored());
    case ApiKind::kMessages:
      return parse_messages_request(body, settings);
  }
  return {};
}

const char* path_of(ApiKind api) {
  switch (api) {
    case ApiKind::kChat:
      return "/v1/chat/completions";
    case ApiKind::kCompletions:
      return "/v1/completions";
    case ApiKind::kResponses:
      return "/v1/responses";
    case ApiKind::kMessages:
      return "/v1/messages";
  }
  return "";
}

constexpr ApiKind kApis[] = {ApiKind::kChat, ApiKind::kCompletions, ApiKind::kResponses,
                             ApiKind::kMessages};

// What an accepted request leads to must work, too: a prompt, and a reply in both forms.
void use(ApiRequest request) {
  const PromptBuilder builder(tokenizer(), ChatVariant::k0731, nullptr);
  if (request.api == ApiKind::kCompletions) {
    for (const RawPrompt& prompt : request.prompts) builder.raw(prompt);
  } else {
    EXPECT_FALSE(builder.chat(request, 0).ids.empty());
  }
  request.sampling.validate();
  for (const bool stream : {false, true}) {
    request.stream = stream;
    const auto writer = make_reply_writer(request, {&tokenizer(), IdMaker(1)});
    std::string out;
    const ParseEvent event{ParseEvent::Kind::kContent, "hello"};
    const SampledToken token{5, -1.0F, {{5, -1.0F}}};
    writer->start(1, 0, out);
    for (size_t i = 0; i < writer->n_choices(); ++i) {
      writer->add(i, {&event, 1}, &token, out);
      writer->end(i, {}, out);
    }
    writer->finish(out);
    if (stream) continue;
    EXPECT_NO_THROW(Json::parse(out, "body", Json::NonFinite::kReject)) << out;
  }
}

enum class Outcome { kAccepted, kRefused };

Outcome answer(ApiKind api, const Json& body) {
  try {
    use(parse(api, body, test_settings()));
    return Outcome::kAccepted;
  } catch (const Error& error) {
    const ApiError told = api_error_of(error);
    EXPECT_GE(told.status(), 400) << body.print();
    EXPECT_LT(told.status(), 500) << body.print();
    EXPECT_TRUE(!told.param.empty() || !body.is_object()) << told.message << "\n" << body.print();
    EXPECT_LT(told.message.size(), 600u) << body.print();
    Json::parse(error_json(api, told, "r").print(), "error");
    return Outcome::kRefused;
  }
}

Json random_value(Random& random, int depth) {
  const unsigned kind = static_cast<unsigned>(random()) % (depth > 0 ? 12 : 10);
  const Json scalars[] = {Json(), true, 0, -1, 1e300, "text", "", "user", "function", 7};
  if (kind < 10) return scalars[kind];
  Json value = kind == 10 ? Json(Json::Array()) : Json(Json::Object());
  for (unsigned n = static_cast<unsigned>(random()) % 4; n > 0; --n) {
    if (kind == 10) {
      value.push_back(random_value(random, depth - 1));
    } else {
      const char* keys[] = {"type", "role", "content", "text", "name", "x"};
      value.set(keys[random() % 6], random_value(random, depth - 1));
    }
  }
  return value;
}

// The value with one random place changed.
Json damaged(const Json& value, Random& random) {
  const bool is_here = random() % 3 == 0;
  if (value.is_array() && !is_here) {
    Json::Array items = value.as_array("");
    if (items.empty()) return random_value(random, 2);
    const size_t i = random() % items.size();
    if (random() % 6 == 0) {
      items.erase(items.begin() + static_cast<ptrdiff_t>(i));
    } else if (random() % 6 == 0) {
      items.push_back(items[i]);
    } else {
      items[i] = damaged(items[i], random);
    }
    return items;
  }
  if (value.is_object() && !is_here) {
    Json::Object members = value.as_object("");
    if (members.empty()) return random_value(random, 2);
    const size_t i = random() % members.size();
    if (random() % 6 == 0) {
      members.erase(members.begin() + static_cast<ptrdiff_t>(i));
    } else if (random() % 10 == 0) {
      members[i].key += "x";
    } else {
      members[i].value = damaged(members[i].value, random);
    }
    return members;
  }
  return random_value(random, 3);
}

const std::vector<std::string>& seeds(ApiKind api) {
  static const std::vector<std::string> kSeeds[] = {
      {R"({"model": "m", "messages": [{"role": "system", "content": "s"}, {"role": "user",
       "content": [{"type": "text", "text": "u"}]}, {"role": "assistant", "content": "a",
       "reasoning_content": "r", "tool_calls": [{"id": "1", "type": "function", "function":
       {"name": "f", "arguments": "{\"a\": 1}"}}]}, {"role": "tool", "tool_call_id": "1",
       "content": "t"}], "tools": [{"type": "function", "function": {"name": "f", "parameters":
       {"type": "object", "properties": {"a": {"type": "integer"}}}}}], "tool_choice": "auto",
       "n": 2, "max_tokens": 5, "temperature": 1, "stop": ["x"], "logit_bias": {"5": 1},
       "stream": true, "stream_options": {"include_usage": true}, "logprobs": true,
       "top_logprobs": 2, "reasoning": {"effort": "high"}, "thinking": {"type": "enabled"},
       "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {}}}})"},
      {R"({"model": "m", "prompt": ["a", "b"], "n": 2, "max_tokens": 3, "logprobs": 2,
       "stop": "x", "seed": 4})",
       R"({"model": "m", "prompt": [[1, 2], [3]], "echo": true})"},
      {R"({"model": "m", "instructions": "i", "input": [{"role": "user", "content": "u"},
       {"type": "reasoning", "content": [{"type": "reasoning_text", "text": "r"}]},
       {"type": "message", "role": "assistant", "content": [{"type": "output_text",
       "text": "a"}]}, {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
       {"type": "function_call_output", "call_id": "c", "output": "o"}], "tools": [
       {"type": "function", "name": "f", "parameters": {}}, {"type": "custom", "name": "g"}],
       "text": {"format": {"type": "json_object"}}, "include": ["a"], "store": false,
       "reasoning": {"effort": "low"}, "metadata": {"a": "b"}})"},
      {R"({"model": "m", "max_tokens": 50, "system": [{"type": "text", "text": "s"}],
       "messages": [{"role": "user", "content": "u"}, {"role": "assistant", "content": [
       {"type": "thinking", "thinking": "t", "signature": "s"}, {"type": "text", "text": "a"},
       {"type": "tool_use", "id": "1", "name": "f", "input": {"a": 1}}]}, {"role": "user",
       "content": [{"type": "tool_result", "tool_use_id": "1", "content": [{"type": "text",
       "text": "r"}], "is_error": true}]}], "tools": [{"name": "f", "input_schema": {}}],
       "tool_choice": {"type": "auto"}, "thinking": {"type": "enabled", "budget_tokens": 9},
       "metadata": {"user_id": "u"}, "stop_sequences": ["x"]})"}};
  return kSeeds[static_cast<size_t>(api)];
}

TEST(ApiProperties, damaged_requests_are_answered) {
  Random random(1);
  for (const ApiKind api : kApis) {
    size_t n_accepted = 0;
    size_t n_refused = 0;
    for (const std::string& seed : seeds(api)) {
      const Json valid = Json::parse(seed, "seed");
      ASSERT_EQ(answer(api, valid), Outcome::kAccepted) << seed;
      for (int round = 0; round < 1500; ++round) {
        Json body = valid;
        for (unsigned n = 1 + static_cast<unsigned>(random()) % 3; n > 0; --n) {
          body = damaged(body, random);
        }
        ++(answer(api, body) == Outcome::kAccepted ? n_accepted : n_refused);
        ASSERT_FALSE(HasFailure());
      }
    }
    EXPECT_GT(n_accepted, 50u) << path_of(api);
    EXPECT_GT(n_refused, 500u) << path_of(api);
  }
}

// A value of a schema of the description.
Json instance(const Json& schema, Random& random, int depth) {
  if (const Json* any = schema.find("anyOf")) {
    const Json::Array& branches = any->as_array("");
    // Deep down the last one, which is null or small.
    return instance(depth > 0 ? branches[random() % branches.size()] : branches.back(), random,
                    depth - 1);
  }
  if (const Json* names = schema.find("enum")) {
    return names->as_array("")[random() % names->as_array("").size()];
  }
  const Json* type = schema.find("type");
  const std::string name = type != nullptr ? type->as_string("") : "";
  if (name == "string") return schema.find("pattern") != nullptr ? "f" : "some text";
  if (name == "boolean") return random() % 2 == 0;
  if (name == "null" || name.empty()) return {};
  if (name == "integer" || name == "number") {
    const Json* low = schema.find("minimum");
    const Json* high = schema.find("maximum");
    return random() % 2 == 0 ? (low != nullptr ? *low : Json(3)) : (high != nullptr ? *high : 4);
  }
  if (name == "array") {
    Json::Array items;
    const int64_t least = schema.find("minItems") != nullptr ? 1 : 0;
    for (int64_t n = least + static_cast<int64_t>(random() % 2); n > 0; --n) {
      items.push_back(instance(schema.at("items", ""), random, depth - 1));
    }
    return items;
  }
  Json object = Json::Object();
  const Json* properties = schema.find("properties");
  if (properties == nullptr) return object;
  const Json* required = schema.find("required");
  for (const Json::Member& member : properties->as_object("")) {
    const bool is_required =
        required != nullptr && std::ranges::count(required->as_array(""), Json(member.key)) > 0;
    if (!is_required && random() % 4 != 0) continue;
    object.set(member.key,
               member.key == "model" ? Json("m") : instance(member.value, random, depth - 1));
  }
  return object;
}

const Json& body_schema(const Json& description, ApiKind api) {
  return description.at("paths", "")
      .at(path_of(api), "paths")
      .at("post", "")
      .at("requestBody", "")
      .at("content", "")
      .at("application/json", "")
      .at("schema", "");
}

TEST(ApiProperties, requests_made_from_the_description_are_answered) {
  const Json description = openapi_description(test_settings());
  Random random(2);
  for (const ApiKind api : kApis) {
    const Json& schema = body_schema(description, api);
    size_t n_accepted = 0;
    for (int round = 0; round < 1000; ++round) {
      n_accepted += answer(api, instance(schema, random, 12)) == Outcome::kAccepted;
      ASSERT_FALSE(HasFailure());
    }
    EXPECT_GT(n_accepted, 20u) << path_of(api);
  }
}

// Each member that the description names is known to the parser, and with its range.
TEST(ApiProperties, the_description_says_what_the_parsers_check) {
  const Json description = openapi_description(test_settings());
  EXPECT_EQ(description.at("openapi", "").print(), "\"3.1.0\"");
  for (const ApiKind api : kApis) {
    const Json base = Json::parse(seeds(api).front(), "seed");
    for (const Json::Member& member :
         body_schema(description, api).at("properties", "").as_object("")) {
      Json body = base;
      if (body.find(member.key) == nullptr) {
        EXPECT_EQ(answer(api, body.set(member.key, Json())), Outcome::kAccepted) << member.key;
      }
      const Json* either = member.value.find("anyOf");
      const Json& inner = either != nullptr ? either->as_array("")[0] : member.value;
      const Json* high = inner.find("maximum");
      if (high == nullptr) continue;
      const double above = high->as_double("") + 1;
      const bool is_integer = inner.at("type", "") == Json("integer");
      body.set(member.key, is_integer ? Json(static_cast<int64_t>(above)) : Json(above));
      EXPECT_EQ(answer(api, body), Outcome::kRefused) << member.key;
    }
  }
}

// Quadratic work would take hours.
TEST(ApiProperties, time_is_linear_in_the_body) {
  const auto repeated = [](const std::string& item, size_t n) {
    std::string text = item;
    text.reserve((item.size() + 1) * n);
    for (; n > 1; --n) text.append(",").append(item);
    return text;
  };
  ApiSettings settings = test_settings();
  settings.max_messages = 1 << 20;
  const std::string parts = repeated(R"({"type":"text","text":"x"})", 200'000);
  const std::string calls =
      repeated(R"({"id":"1","function":{"name":"f","arguments":"{}"}})", 100'000);
  const std::string messages = repeated(R"({"role":"user","content":"x"})", 200'000);
  const std::string systems = repeated(R"({"role":"system","content":"x"})", 200'000);
  const std::string items =
      repeated(R"({"type":"function_call","call_id":"1","name":"f","arguments":"{}"})", 100'000);
  const std::pair<ApiKind, std::string> bodies[] = {
      {ApiKind::kChat, R"("messages":[{"role":"user","content":[)" + parts + "]}]"},
      {ApiKind::kChat, R"("messages":[{"role":"assistant","tool_calls":[)" + calls +
                           R"(]},{"role":"user","content":"x"}])"},
      {ApiKind::kChat, R"("messages":[)" + messages + "]"},
      {ApiKind::kChat, R"("messages":[)" + systems + "]"},
      {ApiKind::kMessages,
       R"("max_tokens":5,"messages":[{"role":"assistant","content":[)" + parts + "]}]"},
      {ApiKind::kResponses,
       R"("input":[)" + items + R"(,{"type":"function_call_output","call_id":"1","output":"x"}])"},
  };
  const auto start = std::chrono::steady_clock::now();
  ReplayStore replays(1 << 20, 1);
  const PromptBuilder builder(tokenizer(), ChatVariant::kPreview, &replays);
  for (const auto& [api, members] : bodies) {
    const ApiRequest request =
        parse(api, Json::parse("{\"model\":\"m\"," + members + "}", "body"), settings);
    EXPECT_GT(builder.chat(request, 0).ids.size(), 50'000u);
  }
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(120));
}

}  // namespace
}  // namespace dsv4
