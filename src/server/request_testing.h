// What tests of the request parsers share.
#pragma once

#include "server/api_request.h"
#include "server/openai_responses.h"

#include <string>
#include <string_view>

namespace dsv4 {

inline ApiSettings test_settings() {
  ApiSettings settings;
  settings.models = {"m", "alias"};
  settings.vocab_size = 1000;
  settings.sampling.temperature = 0.6F;
  settings.max_choices = 8;
  settings.max_messages = 50;
  settings.max_tools = 20;
  return settings;
}

inline StoredConversation nothing_stored() {
  return [](const std::string&) { return std::optional<Json::Array>(); };
}

// "path | message" of the Error that parsing throws, or "no error".
template <typename Parse>
std::string parse_error(const Parse& parse, std::string_view body) {
  try {
    parse(Json::parse(body, "body"), test_settings());
  } catch (const Error& error) {
    const ApiError api = api_error_of(error);
    return std::to_string(api.status()) + " " + api.param + " | " + api.message;
  }
  return "no error";
}

}  // namespace dsv4
