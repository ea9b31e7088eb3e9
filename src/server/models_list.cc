#include "server/models_list.h"

#include "base/error.h"
#include "base/log.h"
#include "server/reply_writers.h"

#include <algorithm>

namespace dsv4 {
namespace {

Json one_model(const std::string& name, const ModelInfo& info) {
  return Json()
      .set("id", name)
      .set("object", "model")
      .set("created", info.created)
      .set("owned_by", "dsv4")
      .set("type", "model")
      .set("display_name", name)
      .set("created_at", log_time(info.created * 1000))
      .set("max_model_len", info.context);
}

}  // namespace

Json models_json(const ApiSettings& settings, const ModelInfo& info) {
  Json::Array models;
  for (const std::string& name : settings.models) models.push_back(one_model(name, info));
  const bool is_empty = models.empty();
  return Json()
      .set("object", "list")
      .set("data", std::move(models))
      .set("has_more", false)
      .set("first_id", is_empty ? Json() : Json(settings.models.front()))
      .set("last_id", is_empty ? Json() : Json(settings.models.back()));
}

Json model_json(const std::string& name, const ApiSettings& settings, const ModelInfo& info) {
  if (std::ranges::find(settings.models, name) != settings.models.end()) {
    return one_model(name, info);
  }
  throw Error(ErrorCode::kNotFound, "model",
              "the model does not exist; GET /v1/models lists those that do");
}

Json tokens_json(std::span<const int32_t> ids, const Tokenizer& tokenizer, bool with_pieces,
                 int64_t context) {
  Json::Array tokens;
  Json::Array pieces;
  for (const int32_t id : ids) {
    tokens.push_back(id);
    if (!with_pieces) continue;
    const std::string_view bytes = tokenizer.token_bytes(id);
    Json::Array numbers;
    for (const char c : bytes) numbers.push_back(static_cast<unsigned char>(c));
    pieces.push_back(
        Json().set("id", id).set("text", token_text(bytes)).set("bytes", std::move(numbers)));
  }
  Json body = Json().set("count", ids.size()).set("max_model_len", context);
  body.set("tokens", std::move(tokens));
  if (with_pieces) body.set("pieces", std::move(pieces));
  return body;
}

Json text_json(std::span<const int32_t> ids, const Tokenizer& tokenizer) {
  return Json().set("prompt", tokenizer.decode(ids, SkipSpecial::kNo));
}

Json count_json(int64_t n_tokens) { return Json().set("input_tokens", n_tokens); }

}  // namespace dsv4
