#include "server/http_access.h"

#include <arpa/inet.h>

#include <algorithm>

#include <fmt/core.h>

namespace dsv4 {
namespace {

// "[::1]:80" -> "::1"; "Name:80" -> "name".
std::string host_name(std::string_view host) {
  if (host.starts_with('[')) return lower_case(host.substr(1, host.find(']') - 1));
  return lower_case(host.substr(0, host.find(':')));
}

bool is_address(const std::string& host) {
  in6_addr address{};
  return ::inet_pton(AF_INET, host.c_str(), &address) == 1 ||
         ::inet_pton(AF_INET6, host.c_str(), &address) == 1;
}

bool contains(const std::vector<std::string>& list, std::string_view value) {
  return std::ranges::find(list, value) != list.end();
}

// The page was served by this server: its origin is the host that the request is for.
bool is_own_origin(const HttpRequest& request, std::string_view origin) {
  const std::string* host = request.header("host");
  const size_t scheme = origin.find("://");
  return host != nullptr && scheme != std::string_view::npos &&
         lower_case(origin.substr(scheme + 3)) == lower_case(*host);
}

// For messages: what a peer sent, not longer than a line.
std::string shortened(std::string_view text) { return std::string(text.substr(0, 100)); }

}  // namespace

bool is_loopback_host(std::string_view host) {
  in_addr v4{};
  const std::string name = lower_case(host);
  if (::inet_pton(AF_INET, name.c_str(), &v4) == 1) return (ntohl(v4.s_addr) >> 24) == 127;
  return name == "localhost" || name == "::1" || name.ends_with(".localhost");
}

AccessRules::AccessRules(const HttpOptions& options)
    : any_host_(contains(options.allowed_hosts, "*") ||
                (options.allowed_hosts.empty() && !is_loopback_host(options.host))),
      any_origin_(contains(options.cors_origins, "*")) {
  for (const std::string& host : options.allowed_hosts) hosts_.push_back(lower_case(host));
  for (const std::string& origin : options.cors_origins) origins_.push_back(lower_case(origin));
}

bool AccessRules::allows_host(std::string_view host) const {
  if (any_host_) return true;
  const std::string name = host_name(host);
  return is_address(name) || is_loopback_host(name) || contains(hosts_, name);
}

bool AccessRules::allows_origin(std::string_view origin) const {
  return any_origin_ || contains(origins_, lower_case(origin));
}

std::optional<HttpProblem> AccessRules::check(const HttpRequest& request) const {
  const std::string* host = request.header("host");
  if (host != nullptr && !allows_host(*host)) {
    return HttpProblem{421, "host_not_allowed",
                       fmt::format("this server is not called \"{}\"; allow the name with "
                                   "--allow-host",
                                   shortened(host_name(*host)))};
  }
  const std::string* origin = request.header("origin");
  if (origin == nullptr || allows_origin(*origin) || is_own_origin(request, *origin)) {
    return std::nullopt;
  }
  return HttpProblem{403, "origin_not_allowed",
                     fmt::format("pages of \"{}\" may not use this server; allow them with "
                                 "--cors-origin",
                                 shortened(*origin))};
}

std::optional<HttpReply> AccessRules::preflight(const HttpRequest& request) const {
  const std::string* origin = request.header("origin");
  if (request.method != "OPTIONS" || origin == nullptr ||
      request.header("access-control-request-method") == nullptr) {
    return std::nullopt;
  }
  HttpReply reply{.status = 204, .headers = response_headers(request)};
  reply.headers.push_back({"Access-Control-Allow-Methods", "GET, HEAD, POST, DELETE, OPTIONS"});
  const std::string* headers = request.header("access-control-request-headers");
  if (headers != nullptr) reply.headers.push_back({"Access-Control-Allow-Headers", *headers});
  reply.headers.push_back({"Access-Control-Max-Age", "600"});
  return reply;
}

HttpHeaders AccessRules::response_headers(const HttpRequest& request) const {
  const std::string* origin = request.header("origin");
  if (origin == nullptr || !allows_origin(*origin)) return {};
  return {{"Access-Control-Allow-Origin", any_origin_ ? "*" : *origin},
          {"Access-Control-Expose-Headers", "X-Request-Id, Retry-After"},
          {"Vary", "Origin"}};
}

}  // namespace dsv4
