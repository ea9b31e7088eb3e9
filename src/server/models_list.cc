#include "server/models_list.h"

#include "base/error.h"
#include "server/reply_writers.h"

#include <fmt/core.h>

#include <algorithm>
#include <ctime>

namespace dsv4 {
namespace {

// RFC 3339, in UTC.
std::string time_text(int64_t seconds) {
  const std::time_t time = static_cast<std::time_t>(std::max<int64_t>(seconds, 0));
  std::tm utc = {};
  if (::gmtime_r(&time, &utc) == nullptr) return "1970-01-01T00:00:00Z";
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z", utc.tm_year + 1900, utc.tm_mon + 1,
                     utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec);
}

Json one_model(const std::string& name, const ModelInfo& info) {
  return Json()
      .set("id", name)
      .set("object", "model")
      .set("created", info.created)
      .set("owned_by", "dsv4")
      .set("type", "model")
      .set("display_name", name)
      .set("created_at", time_text(info.created))
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
