#include "server/page.h"

#include <algorithm>
#include <string>
#include <utility>

namespace dsv4 {
namespace {

constexpr std::string_view kContentSecurityPolicy =
    "default-src 'self'; style-src 'self'; script-src 'self'; img-src 'self' data:; "
    "object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

std::string_view content_type(std::string_view path) {
  constexpr std::pair<std::string_view, std::string_view> kTypes[] = {
      {".html", "text/html; charset=utf-8"},
      {".css", "text/css; charset=utf-8"},
      {".js", "text/javascript; charset=utf-8"},
      {".svg", "image/svg+xml"},
      {".png", "image/png"},
      {".ico", "image/x-icon"},
      {".woff2", "font/woff2"},
      {".webmanifest", "application/manifest+json"}};
  for (const auto& [ending, type] : kTypes) {
    if (path.ends_with(ending)) return type;
  }
  return "application/octet-stream";
}

// Whether a list of entity tags (or "*") names this one.
bool names_tag(std::string_view list, std::string_view tag) {
  return list == "*" || list.find(tag) != std::string_view::npos;
}

}  // namespace

std::optional<HttpReply> page_reply(const HttpRequest& request) {
  if (request.method != "GET" && request.method != "HEAD") return std::nullopt;
  std::string_view path = request.path;
  if (path == "/") path = "/index.html";
  const auto files = embedded_page_files();
  const auto file = std::ranges::find(files, path, &EmbeddedFile::path);
  if (file == files.end()) return std::nullopt;
  const std::string tag = '"' + std::string(file->sha256.substr(0, 32)) + '"';
  HttpReply reply{.status = 200,
                  .headers = {{"ETag", tag},
                              // Asked for again each time, so that page and server always match.
                              {"Cache-Control", "no-cache"},
                              {"Content-Security-Policy", std::string(kContentSecurityPolicy)},
                              {"Referrer-Policy", "no-referrer"}}};
  const std::string* known = request.header("if-none-match");
  if (known != nullptr && names_tag(*known, tag)) {
    reply.status = 304;
    return reply;
  }
  reply.headers.push_back({"Content-Type", std::string(content_type(path))});
  reply.body = file->bytes;
  return reply;
}

}  // namespace dsv4
