#include "server/api_error.h"

#include "base/check.h"
#include "text/unicode.h"

#include <iterator>

namespace dsv4 {
namespace {

struct KindRow {
  ApiError::Kind kind;
  int status;
  const char* openai_type;
  const char* openai_code;
  const char* anthropic_type;
};

constexpr const char* kInvalidRequest = "invalid_request_error";

// In the order of ApiError::Kind.
constexpr KindRow kRows[] = {
    {ApiError::Kind::kInvalid, 400, kInvalidRequest, nullptr, kInvalidRequest},
    {ApiError::Kind::kContextLength, 400, kInvalidRequest, "context_length_exceeded",
     kInvalidRequest},
    {ApiError::Kind::kAuthentication, 401, kInvalidRequest, "invalid_api_key",
     "authentication_error"},
    {ApiError::Kind::kPermission, 403, "permission_error", "origin_not_allowed",
     "permission_error"},
    {ApiError::Kind::kNotFound, 404, kInvalidRequest, "not_found", "not_found_error"},
    {ApiError::Kind::kModelNotFound, 404, kInvalidRequest, "model_not_found", "not_found_error"},
    {ApiError::Kind::kPreviousResponse, 404, kInvalidRequest, "previous_response_not_found",
     "not_found_error"},
    {ApiError::Kind::kThread, 400, kInvalidRequest, "thread_unsupported_request", kInvalidRequest},
    {ApiError::Kind::kMethod, 405, kInvalidRequest, "method_not_allowed", kInvalidRequest},
    {ApiError::Kind::kTimeout, 408, "timeout_error", "timeout", "timeout_error"},
    {ApiError::Kind::kTooLarge, 413, kInvalidRequest, "body_too_large", "request_too_large"},
    {ApiError::Kind::kRateLimit, 429, "rate_limit_error", "rate_limit_exceeded",
     "rate_limit_error"},
    {ApiError::Kind::kOverloaded, 503, "server_error", "overloaded", "overloaded_error"},
    {ApiError::Kind::kInternal, 500, "server_error", "internal_error", "api_error"},
};

const KindRow& row_of(ApiError::Kind kind) {
  const auto i = static_cast<size_t>(kind);
  CHECK(i < std::size(kRows) && kRows[i].kind == kind, i);
  return kRows[i];
}

}  // namespace

int ApiError::status() const { return row_of(kind).status; }
const char* ApiError::openai_type() const { return row_of(kind).openai_type; }
const char* ApiError::openai_code() const {
  return code.empty() ? row_of(kind).openai_code : code.c_str();
}
const char* ApiError::anthropic_type() const { return row_of(kind).anthropic_type; }

ApiError api_error_of(const Error& error) {
  std::string message = error.what();
  // what() is "where: message".
  if (!error.where().empty()) message.erase(0, error.where().size() + 2);
  switch (error.code()) {
    case ErrorCode::kUnsupported:
      if (error.where() == "thread") return {ApiError::Kind::kThread, message, "thread"};
      [[fallthrough]];
    case ErrorCode::kInvalidInput:
      return {ApiError::Kind::kInvalid, message, error.where()};
    case ErrorCode::kNotFound:
      if (error.where() == "model") return {ApiError::Kind::kModelNotFound, message, "model"};
      if (error.where() == "previous_response_id") {
        return {ApiError::Kind::kPreviousResponse, message, error.where()};
      }
      return {ApiError::Kind::kNotFound, message, error.where()};
    case ErrorCode::kOutOfRange:
      return {ApiError::Kind::kContextLength, message, error.where()};
    case ErrorCode::kIo:
      break;
  }
  // The place may name files of this machine, which are nobody's business outside.
  return {ApiError::Kind::kInternal, "the server could not do its work; its log says why"};
}

Json error_json(ApiKind api, const ApiError& error, const std::string& request_id) {
  Json inner;
  // They may repeat bytes of the request.
  const std::string message = replace_ill_formed_utf8(error.message);
  const std::string param = replace_ill_formed_utf8(error.param);
  if (api == ApiKind::kMessages) {
    // Clients know what is too long by how the message begins.
    const bool is_placed = !param.empty() && error.kind != ApiError::Kind::kContextLength;
    const std::string place = is_placed ? param + ": " : "";
    inner.set("type", error.anthropic_type()).set("message", place + message);
    if (error.kind == ApiError::Kind::kThread) {
      inner.set("details", Json()
                               .set("error_code", error.openai_code())
                               .set("unsupported", Json().push_back("thread")));
    }
    return Json().set("type", "error").set("error", inner).set("request_id", request_id);
  }
  inner.set("message", message).set("type", error.openai_type());
  inner.set("param", param.empty() ? Json() : Json(param));
  inner.set("code", error.openai_code() == nullptr ? Json() : Json(error.openai_code()));
  return Json().set("error", inner);
}

}  // namespace dsv4
