// What a caller asks the engine: a prompt in tokens and how to go on from it.
#pragma once

#include "engine/sampler.h"
#include "grammar/token_constraint.h"

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace dsv4 {

// Tokens of reasoning that a reply may have. When they are spent, `closing` is put in place of the
// next tokens, so that an answer follows.
struct ThinkingBudget {
  int64_t tokens = 0;
  std::vector<int32_t> closing = {};  // the last one, </think>, ends reasoning wherever it comes
};

// Immutable once submitted.
struct Request {
  std::vector<int32_t> prompt;
  // Positions in the prompt up to which a later prompt is likely to be the same (ends of messages),
  // rising. The engine keeps a checkpoint there, and one before the last token in any case.
  std::vector<int64_t> boundaries = {};

  SamplingParams sampling = {};
  int64_t n_choices = 1;                       // replies; choice i draws with seed + i
  int64_t max_tokens = 0;                      // of a reply; 0: as many as the context holds
  std::vector<int32_t> stop_ids = {};          // end a reply; not part of its text
  std::vector<std::string> stop_strings = {};  // end a reply before their first occurrence
  std::optional<ThinkingBudget> thinking = {};
  std::shared_ptr<const TokenConstraint> constraint = {};  // each choice begins with a clone

  std::string tenant = {};  // whose share of the machine the work counts against
  uint64_t salt = 0;        // prefixes are shared among requests of the same salt only
  int priority = 0;         // higher goes first
  std::optional<std::chrono::steady_clock::time_point> deadline = {};
};

}  // namespace dsv4
