// What HTTP carries, without a connection: requests, replies, headers, problems, and the text of a
// response's head.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace dsv4 {

struct HttpHeader {
  std::string name;
  std::string value;
};

using HttpHeaders = std::vector<HttpHeader>;

// The value of the first header of that name in any case, or nullptr.
const std::string* find_header(const HttpHeaders& headers, std::string_view name);

// A complete request. Its syntax, limits and framing have been checked.
struct HttpRequest {
  std::string id;      // unique in this process; every response carries it as X-Request-Id
  std::string method;  // as sent: "GET", "POST", ...
  std::string path;    // decoded, begins with '/' (or is "*")
  std::string query;   // as sent, without '?'
  HttpHeaders headers;
  std::string body;
  std::string remote;      // address of the peer, without its port
  int minor_version = 1;   // of HTTP/1
  bool keep_alive = true;  // the peer wants to send more requests

  const std::string* header(std::string_view name) const { return find_header(headers, name); }
};

// A whole response. Content-Length, Connection, Date and X-Request-Id are added when it is sent.
struct HttpReply {
  int status = 200;
  HttpHeaders headers = {};
  std::string body = {};
};

// Why a request did not reach the handler, or that the handler did not answer it.
struct HttpProblem {
  int status = 400;
  std::string code;     // for programs: "body_too_large", "bad_request", ...
  std::string message;  // for people: what was expected, what was found
  int retry_after_s = 0;
  // Of the request, as far as it is known.
  std::string id = {};
  std::string method = {};
  std::string path = {};
};

// Empties a string and gives its memory back, which assigning an empty one does not.
inline void release(std::string& text) { std::string().swap(text); }

// "Not Found" for 404.
std::string_view http_status_text(int status);

// Time in the form of the Date header.
std::string http_date(int64_t unix_s);

// ASCII letters alone; others stay.
std::string lower_case(std::string_view text);
// -1 for what is no hexadecimal digit.
int hex_value(char c);
// "[::1]:80", "localhost:80".
std::string host_and_port(std::string_view host, int port);

// %XX decoded. Nothing where an escape is broken or the result has a NUL.
std::optional<std::string> percent_decode(std::string_view text);

// How the body of a response is delimited.
struct ResponseFraming {
  bool chunked = false;
  std::optional<uint64_t> content_length = {};
  bool close = false;  // "Connection: close"
  bool keep_alive_1_0 = false;
};

// The status line and headers with the empty line after them. Control characters in values are
// replaced, so that no value can add a header.
std::string response_head(int status, const HttpHeaders& headers, std::string_view request_id,
                          const ResponseFraming& framing);

// One chunk of a chunked body; nothing for empty data, which would end the body.
void append_chunk(std::string& out, std::string_view data);
inline constexpr std::string_view kLastChunk = "0\r\n\r\n";

// Responses that never have a body.
constexpr bool status_has_no_body(int status) {
  return status < 200 || status == 204 || status == 304;
}

}  // namespace dsv4
