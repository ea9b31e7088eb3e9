#include "server/request_fields.h"

#include "base/error.h"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <limits>
#include <set>

namespace dsv4 {
namespace {

constexpr std::string_view kFormats[] = {"text", "json_object", "json_schema"};
constexpr std::string_view kThinkingTypes[] = {"enabled", "disabled", "adaptive"};
constexpr size_t kMaxBiases = 1024;

constexpr std::pair<std::string_view, Effort> kEfforts[] = {
    {"none", Effort::kNone},     {"minimal", Effort::kLow}, {"low", Effort::kLow},
    {"medium", Effort::kMedium}, {"high", Effort::kHigh},   {"xhigh", Effort::kMax},
    {"max", Effort::kMax},
};

void read_logit_bias(const JsonFields& fields, int32_t vocab_size, SamplingParams& sampling) {
  const auto bias = fields.object("logit_bias");
  if (!bias) return;
  const Json::Object& members = fields.find("logit_bias")->as_object(bias->path());
  if (members.size() > kMaxBiases) {
    fields.fail("logit_bias", fmt::format("at most {} tokens may have a bias", kMaxBiases));
  }
  for (const Json::Member& member : members) {
    int32_t id = -1;
    const char* end = member.key.data() + member.key.size();
    const auto [rest, error] = std::from_chars(member.key.data(), end, id);
    if (error != std::errc() || rest != end || id < 0 || id >= vocab_size) {
      fields.fail("logit_bias",
                  fmt::format("expected token ids from 0 to {} as names", vocab_size - 1));
    }
    if (const auto value = bias->number(member.key, -100, 100)) {
      sampling.logit_bias[id] = static_cast<float>(*value);
    }
  }
}

// What a request says about reasoning, until all of it has been read.
struct ReasoningWish {
  std::optional<bool> is_on;
  std::optional<Effort> effort;

  void enable(std::optional<bool> on) {
    if (on) is_on = is_on.value_or(true) && *on;
  }
  void set(std::optional<Effort> wanted) {
    if (wanted) effort = wanted;
  }
};

bool is_name_character(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
         c == '-' || c == '.' || c == ':' || c == '/';
}

}  // namespace

std::optional<Effort> effort_of(std::string_view name) {
  for (const auto& [known, effort] : kEfforts) {
    if (known == name) return effort;
  }
  return std::nullopt;
}

std::string_view effort_name(Effort effort) {
  constexpr std::string_view kNames[] = {"none", "low", "medium", "high", "max"};
  return kNames[static_cast<size_t>(effort)];
}

bool ApiRequest::is_prefill() const {
  return !messages.empty() && messages.back().find("wo_eos") != nullptr;
}

void read_model(const JsonFields& fields, const ApiSettings& settings, ApiRequest& request) {
  request.model = fields.required_text("model");
  if (request.model.empty() || request.model.size() > 256) {
    fields.fail("model", "expected the name of a model, of at most 256 bytes");
  }
  if (settings.any_model || std::ranges::count(settings.models, request.model) > 0) return;
  throw Error(ErrorCode::kNotFound, "model",
              fmt::format("the model \"{}\" does not exist; GET /v1/models lists those that do",
                          request.model));
}

void read_sampling(const JsonFields& fields, const ApiSettings& settings, double max_temperature,
                   ApiRequest& request) {
  SamplingParams& sampling = request.sampling;
  sampling = settings.sampling;
  const auto read = [&](const char* key, double low, double high, float& out) {
    if (const auto value = fields.number(key, low, high)) out = static_cast<float>(*value);
  };
  read("temperature", 0, max_temperature, sampling.temperature);
  read("top_p", 0, 1, sampling.top_p);
  read("min_p", 0, 1, sampling.min_p);
  read("frequency_penalty", -2, 2, sampling.frequency_penalty);
  read("presence_penalty", -2, 2, sampling.presence_penalty);
  read("repetition_penalty", 0.01, 10, sampling.repetition_penalty);
  // Nothing but the most probable token is in a set of probability 0.
  if (sampling.top_p <= 0) sampling.top_p = std::numeric_limits<float>::min();
  if (const auto top_k = fields.integer("top_k", -1, kMaxTokens)) {
    sampling.top_k = std::max<int64_t>(*top_k, 0);  // -1 is how some clients write "all"
  }
  constexpr int64_t kAny = std::numeric_limits<int64_t>::max();
  if (const auto seed = fields.integer("seed", -kAny, kAny)) {
    sampling.seed = static_cast<uint64_t>(*seed);
    request.has_seed = true;
  }
  read_logit_bias(fields, settings.vocab_size, sampling);
}

void read_stops(const JsonFields& fields, std::string_view key, ApiRequest& request) {
  const Json* stops = fields.find(key);
  if (stops == nullptr) return;
  const std::string where = fields.path_of(key);
  if (stops->is_string()) {
    request.stop.push_back(stops->as_string(where));
  } else {
    const Json::Array& items = stops->as_array(where);
    if (items.size() > kMaxStops) {
      fields.fail(key, fmt::format("at most {} stop strings, found {}", kMaxStops, items.size()));
    }
    for (size_t i = 0; i < items.size(); ++i) {
      request.stop.push_back(items[i].as_string(path_of_element(where, i)));
    }
  }
  std::erase(request.stop, "");
  for (const std::string& stop : request.stop) {
    if (stop.size() > kMaxStopBytes) {
      fields.fail(key, fmt::format("a stop string has at most {} bytes", kMaxStopBytes));
    }
  }
}

std::optional<Effort> read_effort(const JsonFields& fields, std::string_view key) {
  const auto name = fields.text(key);
  if (!name) return std::nullopt;
  const auto effort = effort_of(*name);
  if (!effort) {
    fields.fail(key,
                "expected one of \"none\", \"minimal\", \"low\", \"medium\", \"high\", "
                "\"xhigh\" and \"max\"");
  }
  return effort;
}

void read_reasoning(const JsonFields& fields, const ApiSettings& settings, ApiRequest& request) {
  ReasoningWish wish;
  wish.set(read_effort(fields, "reasoning_effort"));
  wish.enable(fields.boolean("enable_thinking"));
  std::optional<int64_t> budget = fields.integer("thinking_budget", 1, kMaxTokens);
  if (const auto reasoning = fields.object("reasoning")) {
    wish.set(read_effort(*reasoning, "effort"));
    wish.enable(reasoning->boolean("enabled"));
    if (const auto n = reasoning->integer("max_tokens", 1, kMaxTokens)) budget = n;
    request.show_reasoning = !reasoning->boolean("exclude").value_or(false);
  }
  if (const auto thinking = fields.object("thinking")) {
    if (const auto type = thinking->name("type", kThinkingTypes)) wish.enable(type != "disabled");
    if (const auto n = thinking->integer("budget_tokens", 1, kMaxTokens)) budget = n;
  }
  if (const auto kwargs = fields.object("chat_template_kwargs")) {
    wish.set(read_effort(*kwargs, "reasoning_effort"));
    wish.enable(kwargs->boolean("thinking"));
    wish.enable(kwargs->boolean("enable_thinking"));
  }
  const Effort silent = effort_of(settings.effort).value_or(Effort::kNone);
  request.effort = wish.effort.value_or(silent);
  // Whoever switches reasoning on, or gives it tokens, wants some.
  const bool is_wanted = wish.is_on.value_or(false) || (budget && !wish.is_on);
  if (request.effort == Effort::kNone && is_wanted && !wish.effort) request.effort = Effort::kHigh;
  if (!wish.is_on.value_or(true)) request.effort = Effort::kNone;
  if (request.effort != Effort::kNone) request.thinking_budget = budget;
}

ResponseFormat read_response_format(const JsonFields& format, const char* schema_key) {
  ResponseFormat result;
  format.required("type");
  const std::string type = *format.name("type", kFormats);
  if (type == "text") return result;
  if (type == "json_object") {
    result.kind = ResponseFormat::Kind::kJsonObject;
    return result;
  }
  result.kind = ResponseFormat::Kind::kJsonSchema;
  const JsonFields schema =
      *schema_key == 0 ? format
                       : JsonFields(format.required(schema_key), format.path_of(schema_key));
  result.name = schema.text("name").value_or("response");
  result.description = schema.text("description").value_or("");
  result.strict = schema.boolean("strict").value_or(false);
  result.schema = schema.required("schema");
  result.where = schema.path_of("schema");
  schema.object("schema");  // throws for anything else
  return result;
}

void check_tool_name(std::string_view name, const JsonFields& fields, const char* key) {
  if (!name.empty() && name.size() <= kMaxToolName &&
      std::ranges::all_of(name, is_name_character)) {
    return;
  }
  fields.fail(key, fmt::format("expected 1 to {} letters, digits or _ - . : /", kMaxToolName));
}

void read_messages(const JsonFields& fields, const ApiSettings& settings, ChatTurns turns,
                   const std::function<void(const JsonFields& message, ChatTurns& turns)>& read_one,
                   ApiRequest& request) {
  fields.required("messages");
  const Json::Array& messages = *fields.array("messages", settings.max_messages);
  if (messages.empty()) fields.fail("messages", "expected at least one message");
  for (size_t i = 0; i < messages.size(); ++i) {
    read_one(JsonFields(messages[i], path_of_element("messages", i)), turns);
  }
  request.messages = turns.take();
  prepare_for_reply(request.messages, path_of_element("messages", messages.size() - 1));
}

void read_tools(const JsonFields& fields, const ApiSettings& settings,
                const std::function<void(const JsonFields& tool)>& read_one) {
  const Json::Array* tools = fields.array("tools", settings.max_tools);
  if (tools == nullptr) return;
  for (size_t i = 0; i < tools->size(); ++i) {
    read_one(JsonFields((*tools)[i], path_of_element("tools", i)));
  }
}

ToolSpec read_function(const JsonFields& fields, const char* schema_key) {
  ToolSpec tool;
  tool.name = fields.required_text("name");
  check_tool_name(tool.name, fields, "name");
  tool.description = fields.text("description").value_or("");
  tool.strict = fields.boolean("strict").value_or(false);
  tool.where = fields.path_of(schema_key);
  if (fields.object(schema_key)) {
    tool.parameters = *fields.find(schema_key);
  } else {
    tool.parameters = Json().set("type", "object").set("properties", Json(Json::Object()));
  }
  return tool;
}

void check_tools(const ApiRequest& request) {
  std::set<std::string_view> names;
  for (const ToolSpec& tool : request.tools) {
    if (names.insert(tool.name).second) continue;
    // The name stands beside the schema.
    throw Error(ErrorCode::kInvalidInput, tool.where.substr(0, tool.where.rfind('.')) + ".name",
                fmt::format("two tools have the name \"{}\"", tool.name));
  }
  const ToolChoice& choice = request.tool_choice;
  if (choice.kind == ToolChoice::Kind::kNamed && !names.contains(choice.name)) {
    throw Error(ErrorCode::kInvalidInput, "tool_choice", "the tool that it names is not declared");
  }
  if (choice.kind == ToolChoice::Kind::kRequired && names.empty()) {
    throw Error(ErrorCode::kInvalidInput, "tool_choice",
                "a call is required but there are no tools");
  }
}

std::string read_text(const Json& content, const std::string& where,
                      std::span<const std::string_view> text_types, std::string_view separator) {
  if (content.is_string()) return content.as_string(where);
  if (!content.is_array()) {
    throw Error(
        ErrorCode::kInvalidInput, where,
        fmt::format("expected a string or a list of parts, found {}", kind_name(content.kind())));
  }
  std::string text;
  const Json::Array& parts = content.as_array(where);
  for (size_t i = 0; i < parts.size(); ++i) {
    const JsonFields part(parts[i], path_of_element(where, i));
    const std::string type = part.required_text("type");
    if (std::ranges::find(text_types, type) == text_types.end()) {
      part.fail("type", fmt::format("this model reads text only, not \"{}\"", shortened(type)));
    }
    // A refusal of another model is what it said, too.
    if (i > 0) text += separator;
    text += part.required_text(type == "refusal" ? "refusal" : "text");
  }
  return text;
}

}  // namespace dsv4
