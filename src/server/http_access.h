// Which pages may talk to the server from a browser (CORS), and by which names it may be called.
#pragma once

#include "server/http_message.h"
#include "server/http_options.h"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace dsv4 {

// True for addresses of this machine alone ("127.0.0.1", "::1") and for "localhost".
bool is_loopback_host(std::string_view host);

// Immutable; used from any thread.
class AccessRules {
 public:
  AccessRules(const HttpOptions& options);

  // A problem when the request's Host or Origin is not allowed.
  std::optional<HttpProblem> check(const HttpRequest& request) const;
  // The answer to a browser that asks whether it may send a request, or nothing for others.
  std::optional<HttpReply> preflight(const HttpRequest& request) const;
  // What lets the page of an allowed origin read the response.
  HttpHeaders response_headers(const HttpRequest& request) const;

 private:
  bool allows_host(std::string_view host) const;
  bool allows_origin(std::string_view origin) const;

  bool any_host_ = false;
  bool any_origin_ = false;
  std::vector<std::string> hosts_;
  std::vector<std::string> origins_;
};

}  // namespace dsv4
