#include "eval/skills.h"

#include "base/check.h"
#include "base/error.h"
#include "engine/reply.h"
#include "text/chat_request.h"
#include "text/parse_completion.h"

#include <algorithm>
#include <deque>
#include <memory>

#include <fmt/core.h>

namespace dsv4 {
namespace {

SkillCase read_case(const Json& json, const std::string& where) {
  SkillCase result{.id = json.at("id", where).as_string(where + ": id"),
                   .skill = json.at("skill", where).as_string(where + ": skill"),
                   .request = json,
                   .thinking_mode = ThinkingMode::kChat,
                   .expected = json.at("expected", where)};
  const std::string& mode = json.at("thinking_mode", where).as_string(where + ": thinking_mode");
  const auto thinking_mode = thinking_mode_of(mode);
  if (!thinking_mode) {
    throw Error(ErrorCode::kInvalidInput, where,
                fmt::format("thinking_mode: '{}' is not chat or thinking", mode));
  }
  result.thinking_mode = *thinking_mode;
  return result;
}

bool has_calls(const AssistantMessage& message, const Json::Array& expected) {
  if (message.tool_calls.size() != expected.size()) return false;
  for (size_t i = 0; i < expected.size(); ++i) {
    const ToolCall call{expected[i].at("name", "tool_calls").as_string("name"),
                        expected[i].at("arguments", "tool_calls").as_string("arguments")};
    if (message.tool_calls[i] != call) return false;
  }
  return true;
}

bool is_right(const AssistantMessage& message, const Json& expected) {
  if (const Json* content = expected.find("content")) {
    if (message.content != content->as_string("expected.content")) return false;
  }
  if (const Json* parts = expected.find("contains")) {
    for (const Json& part : parts->as_array("expected.contains")) {
      if (message.content.find(part.as_string("expected.contains")) == std::string::npos) {
        return false;
      }
    }
  }
  const Json* calls = expected.find("tool_calls");
  return has_calls(message, calls == nullptr ? Json::Array{} : calls->as_array("tool_calls"));
}

}  // namespace

std::vector<SkillCase> read_skill_cases(const std::string& jsonl, const std::string& where) {
  std::vector<SkillCase> cases;
  size_t begin = 0;
  for (int line = 1; begin < jsonl.size(); ++line) {
    const size_t end = std::min(jsonl.find('\n', begin), jsonl.size());
    const std::string place = fmt::format("{}: line {}", where, line);
    const std::string text = jsonl.substr(begin, end - begin);
    if (!text.empty()) cases.push_back(read_case(Json::parse(text, place), place));
    begin = end + 1;
  }
  if (cases.empty()) throw Error(ErrorCode::kInvalidInput, where, "has no cases");
  return cases;
}

namespace {

// Requests that wait for their turn in the engine: enough to keep its places taken.
constexpr size_t kMaxAhead = 256;

Request request_of(const SkillCase& skill_case, const Tokenizer& tokenizer, int64_t max_tokens) {
  ChatOptions options;
  options.thinking_mode = skill_case.thinking_mode;
  const ChatRequest chat = read_chat_request(skill_case.request, options, skill_case.id);
  Request request{.prompt = tokenizer.encode(encode_chat(chat.messages, chat.options)),
                  .sampling = {.temperature = 0, .n_logprobs = -1},
                  .max_tokens = max_tokens};
  if (const auto eos = tokenizer.eos_id()) request.stop_ids = {*eos};
  return request;
}

SkillAnswer judge(const SkillCase& skill_case, EventStream& stream, const Tokenizer& tokenizer) {
  Reply reply(std::nullopt);
  std::vector<StreamEvent> events;
  std::vector<ParseEvent> parsed;
  for (bool more = true; more;) {
    events.clear();
    more = stream.wait_and_take(events);
    for (StreamEvent& event : events) reply.take(std::move(event), parsed);
  }
  if (reply.reason() == EndReason::kError) {
    throw Error(ErrorCode::kInvalidInput, skill_case.id, reply.error());
  }
  SkillAnswer answer{.ids = reply.ids(), .text = tokenizer.decode(reply.ids(), SkipSpecial::kNo)};
  if (reply.reason() != EndReason::kStopId) return answer;
  try {
    answer.right =
        is_right(parse_completion(answer.text, skill_case.thinking_mode), skill_case.expected);
  } catch (const Error&) {
    answer.right = false;  // not a well-formed completion
  }
  return answer;
}

}  // namespace

void answer_cases(const std::vector<SkillCase>& cases, Engine& engine, const Tokenizer& tokenizer,
                  int64_t max_tokens,
                  const std::function<void(size_t, const SkillAnswer&)>& on_answer) {
  std::deque<std::shared_ptr<EventStream>> ahead;
  size_t n_submitted = 0;
  for (size_t i = 0; i < cases.size(); ++i) {
    while (n_submitted < cases.size() && ahead.size() < kMaxAhead) {
      const SkillCase& next = cases[n_submitted++];
      auto submission = engine.submit(request_of(next, tokenizer, max_tokens));
      CHECK(submission.stream != nullptr, next.id);
      ahead.push_back(std::move(submission.stream));
    }
    on_answer(i, judge(cases[i], *ahead.front(), tokenizer));
    ahead.pop_front();
  }
}

}  // namespace dsv4
