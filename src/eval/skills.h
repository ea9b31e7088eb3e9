// Answers the cases of a skill set greedily and counts the right ones: for models that were trained
// for known tasks, such as the bundled one (models/mini/README.md).
#pragma once

#include "engine/engine.h"
#include "text/chat_types.h"
#include "text/json.h"
#include "text/tokenizer.h"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace dsv4 {

// A conversation and what a right answer to it is: the exact content, the exact tool calls, or
// strings that the content contains. The answer must also end by itself.
struct SkillCase {
  std::string id;
  std::string skill;
  Json request;  // as dsv4 encode takes it
  ThinkingMode thinking_mode = ThinkingMode::kChat;
  Json expected;
};

struct SkillAnswer {
  std::vector<int32_t> ids;  // generated, up to and with the end of the sentence
  std::string text;
  bool right = false;
};

// Reads one case per line. Throws Error(kInvalidInput) naming the line.
std::vector<SkillCase> read_skill_cases(const std::string& jsonl, const std::string& where);

// Generates up to `max_tokens` tokens for each case, many at a time, and judges them. Calls
// `on_answer` with the index of the case, in order.
void answer_cases(const std::vector<SkillCase>& cases, Engine& engine, const Tokenizer& tokenizer,
                  int64_t max_tokens,
                  const std::function<void(size_t, const SkillAnswer&)>& on_answer);

}  // namespace dsv4
