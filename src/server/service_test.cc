#include "server/service.h"

#include <gtest/gtest.h>

namespace dsv4 {
namespace {

Json error_of(const HttpProblem& problem) {
  const HttpReply reply = Service::shape_problem(problem);
  EXPECT_EQ(reply.status, problem.status);
  return Json::parse(reply.body, "body").at("error", "");
}

TEST(Service, shapes_problems_with_their_codes) {
  const std::pair<HttpProblem, const char*> kCases[] = {
      {{400, "malformed_request", "m"}, "invalid_request_error"},
      {{403, "origin_not_allowed", "m"}, "permission_error"},
      {{408, "request_timeout", "m"}, "timeout_error"},
      {{413, "body_too_large", "m"}, "invalid_request_error"},
      {{421, "host_not_allowed", "m"}, "invalid_request_error"},
      {{431, "headers_too_large", "m"}, "invalid_request_error"},
      {{500, "internal_error", "m"}, "server_error"},
      {{501, "unsupported_transfer_encoding", "m"}, "invalid_request_error"},
      {{503, "too_many_connections", "m"}, "server_error"}};
  for (const auto& [problem, type] : kCases) {
    const Json error = error_of(problem);
    EXPECT_EQ(error.at("code", ""), Json(problem.code));
    EXPECT_EQ(error.at("type", ""), Json(type)) << problem.code;
  }
  HttpProblem problem{403, "origin_not_allowed", "m"};
  problem.path = "/v1/messages";
  EXPECT_EQ(error_of(problem).at("type", ""), Json("permission_error"));
}

TEST(Service, answers_in_utf_8_whatever_was_asked) {
  for (const ApiKind api : {ApiKind::kChat, ApiKind::kMessages}) {
    const ApiError error{ApiError::Kind::kInvalid, "no \xff here", "a\xc3"};
    const std::string body = error_json(api, error, "req_1").print();
    EXPECT_EQ(Json::parse(body, "body").print(), body);
    EXPECT_NE(body.find("\xEF\xBF\xBD here"), std::string::npos);
    EXPECT_EQ(body.find('\xff'), std::string::npos);
  }
}

}  // namespace
}  // namespace dsv4
