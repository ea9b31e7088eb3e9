#include "server/openai_completions.h"

#include "base/error.h"
#include "server/openai_chat.h"
#include "server/request_fields.h"

#include <fmt/core.h>

#include <algorithm>

namespace dsv4 {
namespace {

// Those of the last line change nothing here.
constexpr std::string_view kKnown[] = {"model",
                                       "prompt",
                                       "n",
                                       "best_of",
                                       "max_tokens",
                                       "temperature",
                                       "top_p",
                                       "top_k",
                                       "min_p",
                                       "frequency_penalty",
                                       "presence_penalty",
                                       "repetition_penalty",
                                       "seed",
                                       "logit_bias",
                                       "stop",
                                       "logprobs",
                                       "echo",
                                       "suffix",
                                       "stream",
                                       "stream_options",
                                       "user",
                                       "cache_salt",
                                       "store",
                                       "metadata",
                                       "service_tier",
                                       "safety_identifier",
                                       "skip_special_tokens"};
constexpr std::string_view kTokenizeText[] = {
    "model", "prompt", "text", "content", "add_special_tokens", "parse_special", "with_pieces"};
constexpr std::string_view kDetokenize[] = {"model", "tokens"};

bool is_integer(const Json& value) { return value.kind() == Json::Kind::kInteger; }

std::vector<int32_t> read_ids(const Json& list, const std::string& where, int32_t vocab_size) {
  std::vector<int32_t> ids;
  const Json::Array& items = list.as_array(where);
  ids.reserve(items.size());
  for (size_t i = 0; i < items.size(); ++i) {
    const std::string place = path_of_element(where, i);
    const int64_t id = items[i].as_int(place);
    if (id < 0 || id >= vocab_size) {
      throw Error(ErrorCode::kInvalidInput, place,
                  fmt::format("expected a token id from 0 to {}, found {}", vocab_size - 1, id));
    }
    ids.push_back(static_cast<int32_t>(id));
  }
  return ids;
}

// A text, a list of ids, or a list of either.
void read_prompts(const JsonFields& fields, const ApiSettings& settings, ApiRequest& request) {
  const Json& prompt = fields.required("prompt");
  if (prompt.is_string()) {
    request.prompts.push_back(prompt.as_string("prompt"));
    return;
  }
  const Json::Array& items = prompt.as_array("prompt");
  if (items.empty()) fields.fail("prompt", "expected at least one prompt");
  if (is_integer(items.front())) {
    request.prompts.push_back(read_ids(prompt, "prompt", settings.vocab_size));
    return;
  }
  if (items.size() > settings.max_prompts) {
    fields.fail("prompt", fmt::format("at most {} prompts", settings.max_prompts));
  }
  for (size_t i = 0; i < items.size(); ++i) {
    const std::string where = path_of_element("prompt", i);
    if (items[i].is_array()) {
      request.prompts.push_back(read_ids(items[i], where, settings.vocab_size));
    } else {
      request.prompts.push_back(items[i].as_string(where));
    }
  }
}

}  // namespace

ApiRequest parse_completions_request(const Json& body, const ApiSettings& settings) {
  const JsonFields fields(body, "");
  fields.refuse_others(kKnown, "Unrecognized request argument supplied");
  ApiRequest request;
  request.api = ApiKind::kCompletions;
  read_model(fields, settings, request);
  read_sampling(fields, settings, 2, request);
  read_stops(fields, "stop", request);
  request.n = fields.integer("n", 1, settings.max_choices).value_or(1);
  const auto best_of = fields.integer("best_of", 1, 20);
  if (best_of && *best_of != request.n) {
    fields.fail("best_of", "replies are not compared here: expected the value of n");
  }
  // The default of this API is short, because a plain text has no natural end.
  request.max_tokens = fields.integer("max_tokens", 1, kMaxTokens).value_or(16);
  request.logprobs = fields.integer("logprobs", 0, 20);
  request.echo = fields.boolean("echo").value_or(false);
  if (request.echo && request.logprobs) {
    fields.fail("echo", "cannot be had together with logprobs: prompts have none here");
  }
  if (!fields.text("suffix").value_or("").empty()) {
    fields.fail("suffix", "this model does not fill in between two texts");
  }
  request.stream = fields.boolean("stream").value_or(false);
  if (const auto options = fields.object("stream_options")) {
    if (!request.stream) fields.fail("stream_options", "is allowed only with \"stream\": true");
    request.include_usage = options->boolean("include_usage").value_or(false);
  }
  fields.text("user");
  request.cache_salt = fields.text("cache_salt").value_or("");
  read_prompts(fields, settings, request);
  return request;
}

TokenizeRequest parse_tokenize_request(const Json& body, const ApiSettings& settings) {
  const JsonFields fields(body, "");
  TokenizeRequest request;
  if (fields.find("messages") != nullptr) {
    request.is_chat = true;
    Json chat = body;
    if (fields.find("model") == nullptr && !settings.models.empty()) {
      chat.set("model", settings.models.front());
    }
    request.chat = parse_chat_request(chat, settings);
    return request;
  }
  fields.refuse_others(kTokenizeText, "Unrecognized request argument supplied");
  for (const char* key : {"prompt", "text", "content"}) {
    if (fields.find(key) == nullptr) continue;
    request.text = fields.required_text(key);
    request.with_pieces = fields.boolean("with_pieces").value_or(false);
    request.parse_special = fields.boolean("parse_special").value_or(true);
    fields.boolean("add_special_tokens");
    return request;
  }
  fields.fail("prompt", "expected a text to tokenize, or messages");
}

std::vector<int32_t> parse_detokenize_request(const Json& body, const ApiSettings& settings) {
  const JsonFields fields(body, "");
  fields.refuse_others(kDetokenize, "Unrecognized request argument supplied");
  return read_ids(fields.required("tokens"), "tokens", settings.vocab_size);
}

}  // namespace dsv4
