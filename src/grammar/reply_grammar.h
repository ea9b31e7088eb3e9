// The grammar of a whole reply: reasoning, then text, JSON or calls of tools, as a request asks.
#pragma once

#include "grammar/dsml_rules.h"
#include "grammar/grammar.h"
#include "text/chat_types.h"
#include "text/json.h"

#include <memory>
#include <string>
#include <vector>

namespace dsv4 {

enum class CallRule {
  kAuto,      // text or calls
  kNone,      // no calls
  kRequired,  // calls
  kNamed,     // calls of one tool
};
enum class ReplyFormat { kText, kJsonObject, kJsonSchema };

struct ReplyRules {
  // kThinking: the reply begins inside the reasoning, which ends with </think>.
  ThinkingMode mode = ThinkingMode::kChat;

  ReplyFormat format = ReplyFormat::kText;
  const Json* schema = nullptr;  // of kJsonSchema
  bool is_strict = false;        // objects have only declared properties where the schema is silent
  std::string schema_where = {};

  std::vector<ReplyTool> tools = {};  // those that the prompt declares
  CallRule choice = CallRule::kAuto;
  std::string named_tool = {};  // of kNamed
  std::string choice_where = "tool_choice";
  ParallelCalls parallel = ParallelCalls::kYes;
};

// The grammar of a reply without its end of the sentence, or nullptr when any reply will do. Text
// that may be anything stays so: reasoning, and content up to `<｜DSML｜`, with which a block
// begins. Errors as compile_json_schema; Error(kInvalidInput) for a choice without the tool.
// Schemas are not kept.
std::shared_ptr<const Grammar> compile_reply(const ReplyRules& rules);

}  // namespace dsv4
