#include "server/openapi.h"

#include "server/request_fields.h"

#include <string>
#include <utility>

#include <fmt/core.h>

namespace dsv4 {
namespace {

Json type(const char* name) { return Json().set("type", name); }
Json text() { return type("string"); }
Json boolean() { return type("boolean"); }
Json any() { return Json(Json::Object()); }

Json integer(int64_t low, int64_t high) {
  return type("integer").set("minimum", low).set("maximum", high);
}
Json number(double low, double high) {
  return type("number").set("minimum", low).set("maximum", high);
}

Json list_of(Json items, int64_t most) {
  return type("array").set("items", std::move(items)).set("maxItems", most);
}
Json at_least_one(Json list) { return list.set("minItems", 1); }

Json one_of(std::initializer_list<const char*> names) {
  Json::Array values;
  for (const char* name : names) values.push_back(name);
  return type("string").set("enum", std::move(values));
}

Json either(Json::Array schemas) { return Json().set("anyOf", std::move(schemas)); }

// null counts as absent everywhere.
Json or_null(Json schema) { return either({std::move(schema), type("null")}); }

// An object of required members and optional ones.
class ObjectSchema {
 public:
  ObjectSchema& required(const char* name, Json schema) {
    required_.push_back(name);
    properties_.set(name, std::move(schema));
    return *this;
  }
  ObjectSchema& optional(const char* name, Json schema) {
    properties_.set(name, or_null(std::move(schema)));
    return *this;
  }
  // Without others: the parsers refuse unknown members of the body itself only.
  Json closed() const { return open().set("additionalProperties", false); }
  Json open() const {
    Json json = type("object").set("properties", properties_);
    if (!required_.empty()) json.set("required", required_);
    return json;
  }

 private:
  Json::Array required_;
  Json properties_ = Json::Object();
};

Json effort() { return one_of({"none", "minimal", "low", "medium", "high", "xhigh", "max"}); }

Json stops() { return either({text(), list_of(text(), kMaxStops)}); }

void add_sampling(ObjectSchema& body, double max_temperature) {
  body.optional("temperature", number(0, max_temperature))
      .optional("top_p", number(0, 1))
      .optional("top_k", integer(-1, kMaxTokens))
      .optional("min_p", number(0, 1))
      .optional("frequency_penalty", number(-2, 2))
      .optional("presence_penalty", number(-2, 2))
      .optional("repetition_penalty", number(0.01, 10))
      .optional("seed", type("integer"))
      .optional("logit_bias", type("object").set("additionalProperties", number(-100, 100)));
}

void add_reasoning(ObjectSchema& body) {
  const Json reasoning = ObjectSchema()
                             .optional("effort", effort())
                             .optional("max_tokens", integer(1, kMaxTokens))
                             .optional("enabled", boolean())
                             .optional("exclude", boolean())
                             .open();
  const Json thinking = ObjectSchema()
                            .optional("type", one_of({"enabled", "disabled", "adaptive"}))
                            .optional("budget_tokens", integer(1, kMaxTokens))
                            .open();
  const Json kwargs = ObjectSchema()
                          .optional("thinking", boolean())
                          .optional("enable_thinking", boolean())
                          .optional("reasoning_effort", effort())
                          .open();
  body.optional("reasoning_effort", effort())
      .optional("reasoning", reasoning)
      .optional("thinking", thinking)
      .optional("enable_thinking", boolean())
      .optional("thinking_budget", integer(1, kMaxTokens))
      .optional("chat_template_kwargs", kwargs);
}

void add_ignored(ObjectSchema& body, std::initializer_list<const char*> names) {
  for (const char* name : names) body.optional(name, any().set("description", "ignored"));
}

Json text_part(const char* type_name) {
  return ObjectSchema().required("type", one_of({type_name})).required("text", text()).open();
}
Json text_or_parts(const char* type_name) {
  return either({text(), list_of(text_part(type_name), kMaxTokens)});
}

Json tool_name() {
  return text().set("pattern", fmt::format("^[A-Za-z0-9_.:/-]{{1,{}}}$", kMaxToolName));
}

Json function_schema(const char* schema_key) {
  return ObjectSchema()
      .required("name", tool_name())
      .optional("description", text())
      .optional(schema_key, type("object"))
      .optional("strict", boolean())
      .open();
}

Json stream_options() { return ObjectSchema().optional("include_usage", boolean()).open(); }

Json chat_messages(const ApiSettings& settings) {
  const Json function = ObjectSchema()
                            .required("name", text())
                            .optional("arguments", either({text(), type("object")}))
                            .open();
  const Json call = ObjectSchema()
                        .required("id", text())
                        .optional("type", one_of({"function"}))
                        .required("function", function)
                        .open();
  const Json said = ObjectSchema()
                        .required("role", one_of({"system", "developer", "user"}))
                        .required("content", text_or_parts("text"))
                        .open();
  const Json reply = ObjectSchema()
                         .required("role", one_of({"assistant"}))
                         .optional("content", text_or_parts("text"))
                         .optional("reasoning_content", text())
                         .optional("tool_calls", list_of(call, kMaxTokens))
                         .open();
  const Json result = ObjectSchema()
                          .required("role", one_of({"tool"}))
                          .required("tool_call_id", text())
                          .required("content", text_or_parts("text"))
                          .open();
  return at_least_one(
      list_of(either({said, reply, result}), static_cast<int64_t>(settings.max_messages)));
}

Json chat_body(const ApiSettings& settings) {
  const Json tool = ObjectSchema()
                        .required("type", one_of({"function"}))
                        .required("function", function_schema("parameters"))
                        .open();
  const Json named = ObjectSchema()
                         .required("type", one_of({"function"}))
                         .required("function", ObjectSchema().required("name", text()).open())
                         .open();
  const Json schema = ObjectSchema()
                          .optional("name", text())
                          .optional("description", text())
                          .required("schema", type("object"))
                          .optional("strict", boolean())
                          .open();
  const Json format = ObjectSchema()
                          .required("type", one_of({"text", "json_object", "json_schema"}))
                          .optional("json_schema", schema)
                          .open();
  ObjectSchema body;
  body.required("model", text())
      .required("messages", chat_messages(settings))
      .optional("n", integer(1, settings.max_choices))
      .optional("max_tokens", integer(1, kMaxTokens))
      .optional("max_completion_tokens", integer(1, kMaxTokens))
      .optional("stop", stops())
      .optional("logprobs", boolean())
      .optional("top_logprobs", integer(0, 20))
      .optional("stream", boolean())
      .optional("stream_options", stream_options())
      .optional("tools", list_of(tool, static_cast<int64_t>(settings.max_tools)))
      .optional("tool_choice", either({one_of({"auto", "none", "required"}), named}))
      .optional("parallel_tool_calls", boolean())
      .optional("response_format", format)
      .optional("user", text())
      .optional("cache_salt", text());
  add_sampling(body, 2);
  add_reasoning(body);
  add_ignored(body, {"store", "metadata", "service_tier", "prompt_cache_key",
                     "prompt_cache_options", "verbosity", "moderation", "web_search_options"});
  return body.closed();
}

Json prompt_schema(const ApiSettings& settings) {
  const Json ids = at_least_one(list_of(integer(0, settings.vocab_size - 1), kMaxTokens));
  const auto most = static_cast<int64_t>(settings.max_prompts);
  return either(
      {text(), at_least_one(list_of(text(), most)), ids, at_least_one(list_of(ids, most))});
}

Json completions_body(const ApiSettings& settings) {
  ObjectSchema body;
  body.required("model", text())
      .required("prompt", prompt_schema(settings))
      .optional("n", integer(1, settings.max_choices))
      .optional("max_tokens", integer(1, kMaxTokens).set("default", 16))
      .optional("stop", stops())
      .optional("logprobs", integer(0, 20))
      .optional("echo", boolean())
      .optional("stream", boolean())
      .optional("stream_options", stream_options())
      .optional("user", text())
      .optional("cache_salt", text());
  add_sampling(body, 2);
  return body.closed();
}

Json response_items(const ApiSettings& settings) {
  const Json message = ObjectSchema()
                           .optional("type", one_of({"message"}))
                           .required("role", one_of({"system", "developer", "user"}))
                           .required("content", text_or_parts("input_text"))
                           .open();
  const Json reply = ObjectSchema()
                         .optional("type", one_of({"message"}))
                         .required("role", one_of({"assistant"}))
                         .required("content", text_or_parts("output_text"))
                         .open();
  const Json call = ObjectSchema()
                        .required("type", one_of({"function_call"}))
                        .required("call_id", text())
                        .required("name", text())
                        .required("arguments", text())
                        .open();
  const Json output = ObjectSchema()
                          .required("type", one_of({"function_call_output"}))
                          .required("call_id", text())
                          .required("output", text_or_parts("input_text"))
                          .open();
  const Json reasoning = ObjectSchema()
                             .required("type", one_of({"reasoning"}))
                             .optional("content", list_of(text_part("reasoning_text"), kMaxTokens))
                             .open();
  return list_of(either({message, reply, call, output, reasoning}),
                 static_cast<int64_t>(settings.max_messages));
}

Json response_tools(const ApiSettings& settings) {
  const auto most = static_cast<int64_t>(settings.max_tools);
  const Json tool = ObjectSchema()
                        .required("type", one_of({"function", "custom"}))
                        .required("name", tool_name())
                        .optional("description", text())
                        .optional("parameters", type("object"))
                        .optional("strict", boolean())
                        .open();
  const Json hosted_type = text().set("pattern", "^(web_search.*|image_generation)$");
  const Json hosted = ObjectSchema().required("type", hosted_type).open();
  const Json group = ObjectSchema()
                         .required("type", one_of({"namespace"}))
                         .required("name", tool_name())
                         .optional("description", text())
                         .required("tools", list_of(either({tool, hosted}), most))
                         .open();
  return list_of(either({tool, hosted, group}), most);
}

Json responses_body(const ApiSettings& settings) {
  const Json format = ObjectSchema()
                          .required("type", one_of({"text", "json_object", "json_schema"}))
                          .optional("name", text())
                          .optional("schema", type("object"))
                          .optional("strict", boolean())
                          .open();
  ObjectSchema body;
  body.required("model", text())
      .required("input", either({text(), response_items(settings)}))
      .optional("instructions", text())
      .optional("previous_response_id", text())
      .optional("max_output_tokens", integer(1, kMaxTokens))
      .optional("text", ObjectSchema().optional("format", format).open())
      .optional("tools", response_tools(settings))
      .optional("tool_choice", either({one_of({"auto", "none", "required"}), type("object")}))
      .optional("parallel_tool_calls", boolean())
      .optional("stop", stops())
      .optional("stream", boolean())
      .optional("store", boolean())
      .optional("metadata", type("object"))
      .optional("include", list_of(text(), kMaxTokens))
      .optional("top_logprobs", integer(0, 20))
      .optional("user", text())
      .optional("cache_salt", text());
  add_sampling(body, 2);
  add_reasoning(body);
  add_ignored(body, {"truncation", "service_tier", "prompt_cache_key", "prompt_cache_options",
                     "stream_options", "client_metadata", "context_management", "moderation"});
  return body.closed();
}

Json message_blocks() {
  const Json call = ObjectSchema()
                        .required("type", one_of({"tool_use"}))
                        .required("id", text())
                        .required("name", text())
                        .optional("input", type("object"))
                        .open();
  const Json thinking = ObjectSchema()
                            .required("type", one_of({"thinking"}))
                            .required("thinking", text())
                            .optional("signature", text())
                            .open();
  return list_of(either({text_part("text"), call, thinking}), kMaxTokens);
}

Json anthropic_messages(const ApiSettings& settings) {
  const Json result = ObjectSchema()
                          .required("type", one_of({"tool_result"}))
                          .required("tool_use_id", text())
                          .optional("content", text_or_parts("text"))
                          .optional("is_error", boolean())
                          .open();
  const Json blocks = list_of(either({text_part("text"), result}), kMaxTokens);
  const Json user = ObjectSchema()
                        .required("role", one_of({"user"}))
                        .required("content", either({text(), blocks}))
                        .open();
  const Json reply = ObjectSchema()
                         .required("role", one_of({"assistant"}))
                         .required("content", either({text(), message_blocks()}))
                         .open();
  return at_least_one(list_of(either({user, reply}), static_cast<int64_t>(settings.max_messages)));
}

Json messages_body(const ApiSettings& settings, bool needs_max_tokens) {
  const Json thinking =
      ObjectSchema()
          .required("type", one_of({"enabled", "disabled", "adaptive", "between_tools"}))
          .optional("budget_tokens", integer(1, kMaxTokens))
          .optional("display", one_of({"summarized", "omitted", "updates", "full"}))
          .open();
  const Json choice = ObjectSchema()
                          .required("type", one_of({"auto", "any", "tool", "none"}))
                          .optional("name", text())
                          .optional("disable_parallel_tool_use", boolean())
                          .open();
  Json tool = function_schema("input_schema");
  tool.set("required", Json().push_back("name").push_back("input_schema"));
  ObjectSchema body;
  body.required("model", text()).required("messages", anthropic_messages(settings));
  if (needs_max_tokens) {
    body.required("max_tokens", integer(1, kMaxTokens));
  } else {
    body.optional("max_tokens", integer(1, kMaxTokens));
  }
  body.optional("system", text_or_parts("text"))
      .optional("tools", list_of(std::move(tool), static_cast<int64_t>(settings.max_tools)))
      .optional("tool_choice", choice)
      .optional("thinking", thinking)
      .optional("output_config", ObjectSchema().optional("effort", effort()).open())
      .optional("temperature", number(0, 1))
      .optional("top_p", number(0, 1))
      .optional("top_k", integer(-1, kMaxTokens))
      .optional("stop_sequences", list_of(text(), kMaxStops))
      .optional("stream", boolean())
      .optional("metadata", ObjectSchema().optional("user_id", text()).open())
      .optional("cache_salt", text());
  add_ignored(body, {"betas", "service_tier", "container", "context_management", "cache_control",
                     "inference_geo", "speed", "diagnostics", "fallbacks"});
  return body.closed();
}

Json tokenize_body(const ApiSettings& settings) {
  ObjectSchema of_text;
  of_text.required("prompt", text())
      .optional("model", text())
      .optional("with_pieces", boolean())
      .optional("parse_special", boolean());
  return either({of_text.closed(), chat_body(settings)});
}

Json detokenize_body(const ApiSettings& settings) {
  return ObjectSchema()
      .required("tokens", list_of(integer(0, settings.vocab_size - 1), kMaxTokens))
      .optional("model", text())
      .closed();
}

Json content_of(const char* media_type, Json schema) {
  return Json().set(media_type, Json().set("schema", std::move(schema)));
}

Json responses_of(bool has_stream, const char* media_type) {
  Json content = content_of(media_type, any());
  if (has_stream) content.set("text/event-stream", Json().set("schema", text()));
  Json json;
  json.set("200", Json().set("description", "the answer").set("content", std::move(content)));
  const std::pair<const char*, const char*> kErrors[] = {
      {"400", "the request is not what the route takes; the error names the JSON path"},
      {"401", "no valid API key"},
      {"404", "no such model or stored response"},
      {"408", "the request came too slowly, or took longer than the server allows"},
      {"413", "the body is too large"},
      {"429", "the key's quota is spent; see Retry-After"},
      {"503", "the server is full or shutting down; see Retry-After"}};
  for (const auto& [status, description] : kErrors) {
    json.set(status, Json()
                         .set("description", description)
                         .set("content", content_of("application/json", type("object"))));
  }
  return json;
}

Json post(const char* summary, Json body, bool has_stream) {
  Json request = Json().set("required", true);
  request.set("content", content_of("application/json", std::move(body)));
  return Json().set("post", Json()
                                .set("summary", summary)
                                .set("requestBody", std::move(request))
                                .set("responses", responses_of(has_stream, "application/json")));
}

Json get(const char* summary, const char* media_type) {
  return Json().set(
      "get", Json().set("summary", summary).set("responses", responses_of(false, media_type)));
}

Json path_parameter(const char* name) {
  Json parameter = Json().set("name", name).set("in", "path").set("required", true);
  return Json().push_back(parameter.set("schema", text()));
}

Json with_parameter(Json operations, const char* name) {
  return operations.set("parameters", path_parameter(name));
}

Json stored_response() {
  Json path = get("A stored response", "application/json");
  Json remove = Json().set("summary", "Forget a stored response");
  path.set("delete", remove.set("responses", responses_of(false, "application/json")));
  return with_parameter(std::move(path), "response_id");
}

}  // namespace

Json openapi_description(const ApiSettings& settings) {
  Json paths;
  paths
      .set("/v1/chat/completions",
           post("A reply to a conversation (OpenAI chat completions)", chat_body(settings), true))
      .set("/v1/completions", post("Text that goes on from a prompt (OpenAI completions)",
                                   completions_body(settings), true))
      .set("/v1/responses",
           post("A reply as a list of items (OpenAI responses)", responses_body(settings), true))
      .set("/v1/responses/{response_id}", stored_response())
      .set("/v1/messages", post("A reply as a list of blocks (Anthropic messages)",
                                messages_body(settings, true), true))
      .set("/v1/messages/count_tokens",
           post("Tokens of a prompt (Anthropic)", messages_body(settings, false), false))
      .set("/v1/models", get("The models that are served", "application/json"))
      .set("/v1/models/{model}", with_parameter(get("One of them", "application/json"), "model"))
      .set("/tokenize", post("Tokens of a text or a conversation", tokenize_body(settings), false))
      .set("/detokenize", post("Text of tokens", detokenize_body(settings), false))
      .set("/health", get("Whether the process runs", "application/json"))
      .set("/ready", get("Whether requests are served", "application/json"))
      .set("/metrics", get("Counters and histograms for Prometheus", "text/plain"));
  Json schemes = Json().set("bearer", Json().set("type", "http").set("scheme", "bearer"));
  schemes.set("header", Json().set("type", "apiKey").set("in", "header").set("name", "x-api-key"));
  Json security;
  security.push_back(Json(Json::Object()))
      .push_back(Json().set("bearer", Json::Array()))
      .push_back(Json().set("header", Json::Array()));
  return Json()
      .set("openapi", "3.1.0")
      .set("info", Json().set("title", "dsv4").set("version", "1"))
      .set("security", std::move(security))
      .set("paths", std::move(paths))
      .set("components", Json().set("securitySchemes", std::move(schemes)));
}

}  // namespace dsv4
