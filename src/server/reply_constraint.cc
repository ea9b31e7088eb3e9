#include "server/reply_constraint.h"

#include "base/error.h"
#include "grammar/grammar_constraint.h"
#include "grammar/reply_grammar.h"

#include <utility>

namespace dsv4 {
namespace {

ReplyFormat format_of(ResponseFormat::Kind kind) {
  switch (kind) {
    case ResponseFormat::Kind::kText:
      return ReplyFormat::kText;
    case ResponseFormat::Kind::kJsonObject:
      return ReplyFormat::kJsonObject;
    case ResponseFormat::Kind::kJsonSchema:
      break;
  }
  return ReplyFormat::kJsonSchema;
}

CallRule rule_of(ToolChoice::Kind kind) {
  switch (kind) {
    case ToolChoice::Kind::kAuto:
      return CallRule::kAuto;
    case ToolChoice::Kind::kNone:
      return CallRule::kNone;
    case ToolChoice::Kind::kRequired:
      return CallRule::kRequired;
    case ToolChoice::Kind::kNamed:
      break;
  }
  return CallRule::kNamed;
}

}  // namespace

std::shared_ptr<const TokenConstraint> reply_constraint(
    const ApiRequest& request, ThinkingMode mode, const std::shared_ptr<const TokenTrie>& trie) {
  if (request.api == ApiKind::kCompletions) return nullptr;
  const ResponseFormat& format = request.response_format;
  ReplyRules rules{.mode = mode,
                   .format = format_of(format.kind),
                   .schema = &format.schema,
                   .is_strict = format.strict,
                   .schema_where = format.where,
                   .choice = rule_of(request.tool_choice.kind),
                   .named_tool = request.tool_choice.name};
  rules.parallel = request.parallel_tool_calls ? ParallelCalls::kYes : ParallelCalls::kNo;
  for (const ToolSpec& tool : request.tools) {
    rules.tools.push_back({.name = tool.name,
                           .parameters = tool.parameters.is_null() ? nullptr : &tool.parameters,
                           .is_strict = tool.strict,
                           .where = tool.where});
  }
  std::shared_ptr<const Grammar> grammar = compile_reply(rules);
  if (grammar == nullptr) return nullptr;
  if (trie == nullptr) {
    throw Error(ErrorCode::kUnsupported, "response_format",
                "the vocabulary of this model cannot be held to a grammar");
  }
  return std::make_shared<GrammarConstraint>(trie, std::move(grammar));
}

}  // namespace dsv4
