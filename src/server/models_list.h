// Bodies of the small routes: the list of models, tokens and their counts.
#pragma once

#include "server/api_request.h"
#include "text/tokenizer.h"

#include <cstdint>
#include <span>
#include <string>

namespace dsv4 {

struct ModelInfo {
  int64_t created = 0;  // seconds since 1970
  int64_t context = 0;  // most tokens of prompt and reply
};

// GET /v1/models, in a shape that clients of OpenAI and of Anthropic both read.
Json models_json(const ApiSettings& settings, const ModelInfo& info);
// GET /v1/models/NAME. Throws Error(kNotFound, "model").
Json model_json(const std::string& name, const ApiSettings& settings, const ModelInfo& info);

// POST /tokenize: {"count", "max_model_len", "tokens"}, and with pieces [{"id", "text", "bytes"}].
Json tokens_json(std::span<const int32_t> ids, const Tokenizer& tokenizer, bool with_pieces,
                 int64_t context);
// POST /detokenize: {"prompt"}.
Json text_json(std::span<const int32_t> ids, const Tokenizer& tokenizer);
// POST /v1/messages/count_tokens: {"input_tokens"}.
Json count_json(int64_t n_tokens);

}  // namespace dsv4
