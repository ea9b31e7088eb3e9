#include "bench/chat_reply.h"

#include "base/error.h"

namespace dsv4 {
namespace {

constexpr const char* kWhere = "chunk";
constexpr int64_t kMaxCalls = 256;

// The member, if it is there and not null.
const Json* member(const Json& json, std::string_view key) {
  const Json* value = json.find(key);
  return value != nullptr && !value->is_null() ? value : nullptr;
}

std::string text(const Json& json, std::string_view key) {
  const Json* value = member(json, key);
  return value != nullptr ? value->as_string(key) : std::string();
}

int64_t count(const Json& json, std::string_view key) {
  const Json* value = member(json, key);
  return value != nullptr ? value->as_int(key) : 0;
}

}  // namespace

bool ChatReply::take(const std::string& data) {
  if (data == "[DONE]") {
    done_ = true;
    return false;
  }
  const Json json = Json::parse(data, kWhere, Json::NonFinite::kReject);
  if (!json.is_object()) throw Error(ErrorCode::kInvalidInput, kWhere, "expected an object");
  if (const Json* error = member(json, "error")) {
    const Json* message = error->find("message");
    error_ =
        message != nullptr && message->is_string() ? message->as_string(kWhere) : error->print();
    return false;
  }
  if (const Json* usage = member(json, "usage")) take_usage(*usage);
  const Json* choices = member(json, "choices");
  if (choices == nullptr || choices->as_array("choices").empty()) return false;
  const Json& choice = choices->as_array("choices").front();
  if (const std::string finish = text(choice, "finish_reason"); !finish.empty()) finish_ = finish;
  const Json* delta = member(choice, "delta");
  return delta != nullptr && take_delta(*delta);
}

bool ChatReply::take_delta(const Json& delta) {
  const std::string content = text(delta, "content");
  const std::string reasoning = text(delta, "reasoning_content");
  content_ += content;
  reasoning_ += reasoning;
  const Json* calls = member(delta, "tool_calls");
  if (calls == nullptr) return !content.empty() || !reasoning.empty();
  const Json::Array& list = calls->as_array("tool_calls");
  for (size_t i = 0; i < list.size(); ++i) take_call(list[i], i);
  return !list.empty();
}

void ChatReply::take_call(const Json& call, size_t position) {
  const Json* given = member(call, "index");
  const int64_t index = given != nullptr ? given->as_int("index") : static_cast<int64_t>(position);
  if (index < 0 || index > std::ssize(calls_) || index >= kMaxCalls) {
    throw Error(ErrorCode::kInvalidInput, "tool_calls.index", "expected the next index");
  }
  if (index == std::ssize(calls_)) calls_.emplace_back();
  Call& known = calls_[static_cast<size_t>(index)];
  if (known.id.empty()) known.id = text(call, "id");
  if (const Json* function = member(call, "function")) {
    known.name += text(*function, "name");
    known.arguments += text(*function, "arguments");
  }
}

void ChatReply::take_usage(const Json& usage) {
  ChatUsage taken{.prompt = count(usage, "prompt_tokens"),
                  .completion = count(usage, "completion_tokens")};
  if (const Json* details = member(usage, "prompt_tokens_details")) {
    taken.cached = count(*details, "cached_tokens");
  }
  if (const Json* details = member(usage, "completion_tokens_details")) {
    taken.reasoning = count(*details, "reasoning_tokens");
  }
  usage_ = taken;
}

Json ChatReply::message() const {
  Json message = Json().set("role", "assistant").set("content", content_);
  if (!reasoning_.empty()) message.set("reasoning_content", reasoning_);
  if (calls_.empty()) return message;
  Json calls = Json(Json::Array());
  for (const Call& call : calls_) {
    Json function = Json().set("name", call.name).set("arguments", call.arguments);
    calls.push_back(
        Json().set("id", call.id).set("type", "function").set("function", std::move(function)));
  }
  return message.set("tool_calls", std::move(calls));
}

std::vector<std::string> ChatReply::call_ids() const {
  std::vector<std::string> ids;
  for (const Call& call : calls_) ids.push_back(call.id);
  return ids;
}

}  // namespace dsv4
