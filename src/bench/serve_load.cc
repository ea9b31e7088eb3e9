#include "bench/serve_load.h"

#include "base/error.h"
#include "base/rng.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include <fmt/core.h>

namespace dsv4 {
namespace {

// Streams of random numbers; those of a conversation's turns follow its own number.
constexpr uint64_t kLength = 1;
constexpr uint64_t kThink = 2;
constexpr uint64_t kSystem = 3;
constexpr uint64_t kFirstTurn = 16;

constexpr std::array<const char*, 96> kWords = {
    "the",     "of",      "a",       "to",      "in",       "is",     "that",   "for",    "with",
    "as",      "on",      "file",    "by",      "from",     "this",   "which",  "an",     "line",
    "be",      "not",     "are",     "value",   "it",       "at",     "when",   "server", "test",
    "has",     "only",    "number",  "after",   "function", "each",   "error",  "one",    "list",
    "read",    "name",    "time",    "into",    "first",    "all",    "data",   "cache",  "or",
    "between", "result",  "can",     "write",   "second",   "system", "no",     "part",   "page",
    "through", "same",    "order",   "request", "state",    "before", "open",   "two",    "key",
    "model",   "then",    "table",   "should",  "word",     "other",  "start",  "small",  "end",
    "memory",  "build",   "long",    "change",  "point",    "call",   "answer", "check",  "there",
    "version", "both",    "without", "length",  "made",     "under",  "group",  "branch", "used",
    "text",    "process", "left",    "house",   "river",    "light"};

std::string draw_words(int64_t n, uint64_t seed, uint64_t stream) {
  std::string text;
  for (int64_t i = 0; i < n; ++i) {
    const uint64_t bits = random_bits(seed, stream, static_cast<uint64_t>(i));
    if (i > 0) text += bits >> 60 == 0 ? ". " : " ";
    text += kWords[bits % kWords.size()];
  }
  return text;
}

Json message(const char* role, std::string content) {
  return Json().set("role", role).set("content", std::move(content));
}

Json declared_tools() {
  Json properties = Json().set("command", Json().set("type", "string"));
  Json parameters = Json()
                        .set("type", "object")
                        .set("properties", std::move(properties))
                        .set("required", Json(Json::Array{"command"}));
  Json function = Json()
                      .set("name", "run")
                      .set("description", "Runs a command and returns what it prints.")
                      .set("parameters", std::move(parameters));
  return Json(Json::Array{Json().set("type", "function").set("function", std::move(function))});
}

TraceEntry parse_entry(std::string_view line, const std::string& where) {
  const Json json = Json::parse(line, where, Json::NonFinite::kReject);
  json.as_object(where);
  TraceEntry entry;
  const auto path = [&](const char* key) { return where + ": " + key; };
  if (const Json* at = json.find("at")) {
    entry.at_s = at->as_double(path("at"));
    if (!(*entry.at_s >= 0 && *entry.at_s < 1e7)) {
      throw Error(ErrorCode::kInvalidInput, path("at"), "expected seconds from 0 to 1e7");
    }
  }
  if (const Json* n = json.find("max_tokens")) entry.max_tokens = n->as_int(path("max_tokens"));
  if (entry.max_tokens < 0) {
    throw Error(ErrorCode::kInvalidInput, path("max_tokens"), "expected no less than 0");
  }
  if (const Json* messages = json.find("messages")) {
    messages->as_array(path("messages"));
    entry.messages = *messages;
  } else if (const Json* prompt = json.find("prompt")) {
    entry.messages = Json(Json::Array{message("user", prompt->as_string(path("prompt")))});
  } else if (const Json* words = json.find("prompt_words")) {
    entry.prompt_words = words->as_int(path("prompt_words"));
    if (entry.prompt_words < 1 || entry.prompt_words > 10'000'000) {
      throw Error(ErrorCode::kInvalidInput, path("prompt_words"), "expected 1 to 10000000");
    }
  } else {
    throw Error(ErrorCode::kInvalidInput, where, "expected messages, prompt or prompt_words");
  }
  return entry;
}

}  // namespace

int64_t LengthRange::draw(uint64_t seed, uint64_t stream, uint64_t index) const {
  if (low >= high || low <= 0) return std::max(low, high);
  const double share = random_uniform(seed, stream, index);
  const double ratio = static_cast<double>(high) / static_cast<double>(low);
  const auto drawn =
      static_cast<int64_t>(std::lround(static_cast<double>(low) * std::pow(ratio, share)));
  return std::clamp(drawn, low, high);
}

LengthRange parse_length_range(std::string_view text) {
  const auto number = [&](std::string_view part) {
    int64_t value = 0;
    const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), value);
    if (part.empty() || error != std::errc() || end != part.data() + part.size() || value < 0 ||
        value > 10'000'000) {
      throw Error(ErrorCode::kInvalidInput, std::string(text),
                  "expected a number up to 10000000 or LOW..HIGH");
    }
    return value;
  };
  const size_t dots = text.find("..");
  if (dots == text.npos) return {number(text), number(text)};
  const LengthRange range{number(text.substr(0, dots)), number(text.substr(dots + 2))};
  if (range.low > range.high || range.low == 0) {
    throw Error(ErrorCode::kInvalidInput, std::string(text), "expected LOW..HIGH, rising from 1");
  }
  return range;
}

std::vector<TraceEntry> parse_trace(std::string_view text, const std::string& where) {
  std::vector<TraceEntry> entries;
  for (int64_t line = 1; !text.empty(); ++line) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string_view content = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (content.find_first_not_of(" \t\r") == content.npos) continue;
    const std::string place = fmt::format("{}: line {}", where, line);
    entries.push_back(parse_entry(content, place));
    const TraceEntry& first = entries.front();
    const TraceEntry& last = entries.back();
    if (first.at_s.has_value() != last.at_s.has_value()) {
      throw Error(ErrorCode::kInvalidInput, place, "all lines or none must have \"at\"");
    }
    if (last.at_s && entries.size() > 1 && *last.at_s < *entries[entries.size() - 2].at_s) {
      throw Error(ErrorCode::kInvalidInput, place, "\"at\" is less than in the line before");
    }
  }
  if (entries.empty()) throw Error(ErrorCode::kInvalidInput, where, "there is no line in it");
  return entries;
}

Conversation::Conversation(const ServeLoad& load, int64_t number)
    : load_(load), number_(number), max_tokens_(load.max_tokens) {
  const auto index = static_cast<uint64_t>(number);
  int64_t n = load.prompt_words.draw(load.seed, kLength, index);
  if (!load.trace.empty()) {
    const TraceEntry& entry = load.trace[static_cast<size_t>(number) % load.trace.size()];
    if (entry.max_tokens > 0) max_tokens_ = entry.max_tokens;
    messages_ = entry.messages;
    n = entry.prompt_words;
  }
  if (!messages_.is_null()) return;
  if (const int64_t n_system = load.system_words.draw(load.seed, kSystem, 0); n_system > 0) {
    messages_.push_back(message("system", draw_words(n_system, load.seed, kSystem)));
  }
  messages_.push_back(message("user", words(n, 0)));
}

std::string Conversation::words(int64_t n, uint64_t purpose) const {
  const uint64_t stream = random_bits(load_.seed, kFirstTurn + static_cast<uint64_t>(turn_),
                                      static_cast<uint64_t>(number_));
  return draw_words(n, load_.seed, stream + purpose);
}

std::string Conversation::request() const {
  Json body = Json()
                  .set("model", load_.model)
                  .set("messages", messages_)
                  .set("max_tokens", max_tokens_)
                  .set("seed", static_cast<int64_t>(load_.seed & 0x7fffffff) + number_)
                  .set("stream", true)
                  .set("stream_options", Json().set("include_usage", true));
  if (!load_.effort.empty()) body.set("reasoning_effort", load_.effort);
  if (load_.temperature) body.set("temperature", *load_.temperature);
  if (!load_.tool_choice.empty()) {
    body.set("tools", declared_tools()).set("tool_choice", load_.tool_choice);
  }
  return body.print();
}

bool Conversation::next(const ChatReply& reply) {
  if (++turn_ >= load_.turns) return false;
  messages_.push_back(reply.message());
  const auto index = static_cast<uint64_t>(number_ * load_.turns + turn_);
  const std::vector<std::string> ids = reply.call_ids();
  for (size_t i = 0; i < ids.size(); ++i) {
    const int64_t n = load_.result_words.draw(load_.seed + i, kLength, index);
    messages_.push_back(message("tool", words(n, i)).set("tool_call_id", ids[i]));
  }
  if (ids.empty()) {
    messages_.push_back(
        message("user", words(load_.result_words.draw(load_.seed, kLength, index), 0)));
  }
  return true;
}

double Conversation::think_s() const {
  if (turn_ == 0 || load_.think_s <= 0) return 0;
  const auto index = static_cast<uint64_t>(number_ * load_.turns + turn_);
  return -load_.think_s * std::log1p(-random_uniform(load_.seed, kThink, index));
}

}  // namespace dsv4
