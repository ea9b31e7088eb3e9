#include "server/http_parser.h"

#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <vector>

namespace dsv4 {
namespace {

using Status = RequestParser::Status;

struct Parsed {
  Status status = Status::kNeedMore;
  HttpRequest request;
  HttpProblem problem;
  std::string rest;
};

// Feeds pieces of `size` bytes.
Parsed parse(std::string_view text, size_t size = 1 << 20, const HttpLimits& limits = {}) {
  RequestParser parser(limits);
  Parsed parsed;
  std::string input;
  for (size_t i = 0; i < text.size(); i += size) {
    input += text.substr(i, size);
    do {
      parsed.status = parser.advance(input);
    } while (parsed.status == Status::kHeader);
    if (parsed.status != Status::kNeedMore) {
      parsed.rest = input + std::string(text.substr(std::min(text.size(), i + size)));
      break;
    }
  }
  if (parsed.status == Status::kComplete) parsed.request = parser.request();
  parsed.problem = parser.problem();
  return parsed;
}

const char* const kGood[] = {
    "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /a%20b/%C3%A4?x=1&y=%26 HTTP/1.1\r\nHost: a\r\nAccept:  two words \r\n\r\n",
    "POST /v1 HTTP/1.1\r\nhost: a\r\nContent-Length: 5\r\n\r\nhello",
    "POST /v1 HTTP/1.1\r\nhost: a\r\ntransfer-encoding: Chunked\r\n\r\n"
    "1\r\nh\r\n3;ext=\"x\"\r\nell\r\n1\r\no\r\n0\r\nTrailer: x\r\n\r\n",
    "POST /v1 HTTP/1.0\r\nContent-Length: 0\r\n\r\n",
    "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET http://host:80/path?q HTTP/1.1\r\nHost: host\r\n\r\n",
    "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0 ;x=1\r\n\r\n",
    "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    "0B ;x\r\nhello world\r\n000\t ; x = \"y\"\r\nTrailer: x\r\n\r\n",
};

TEST(RequestParser, gives_the_same_request_for_every_split) {
  for (const std::string text : kGood) {
    const Parsed whole = parse(text + "NEXT");
    ASSERT_EQ(whole.status, Status::kComplete) << text << whole.problem.message;
    EXPECT_EQ(whole.rest, "NEXT");
    for (size_t size = 1; size <= text.size(); ++size) {
      const Parsed split = parse(text + "NEXT", size);
      ASSERT_EQ(split.status, Status::kComplete) << text << size;
      EXPECT_EQ(split.rest, "NEXT") << size;
      EXPECT_EQ(split.request.path, whole.request.path);
      EXPECT_EQ(split.request.query, whole.request.query);
      EXPECT_EQ(split.request.body, whole.request.body);
      EXPECT_EQ(split.request.headers.size(), whole.request.headers.size());
    }
    // No part of it is a request.
    for (size_t length = 0; length < text.size(); ++length) {
      EXPECT_EQ(parse(text.substr(0, length)).status, Status::kNeedMore) << text << length;
    }
  }
}

TEST(RequestParser, reads_the_parts_of_a_request) {
  const HttpRequest request = parse(kGood[1]).request;
  EXPECT_EQ(request.method, "GET");
  EXPECT_EQ(request.path, "/a b/\xC3\xA4");
  EXPECT_EQ(request.query, "x=1&y=%26");
  EXPECT_EQ(*request.header("ACCEPT"), "two words");
  EXPECT_TRUE(request.keep_alive);
  EXPECT_EQ(parse(kGood[3]).request.body, "hello");
  EXPECT_EQ(parse(kGood[3]).request.headers.size(), 2u);  // trailers are not headers
  EXPECT_FALSE(parse(kGood[4]).request.keep_alive);
  EXPECT_EQ(parse(kGood[6]).request.path, "/path");
  EXPECT_EQ(parse(kGood[6]).request.query, "q");
}

TEST(RequestParser, refuses_what_could_hide_a_request) {
  const std::string post = "POST / HTTP/1.1\r\nHost: a\r\n";
  const std::pair<std::string, int> kBad[] = {
      {post + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
      {post + "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", 400},
      {post + "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", 400},
      {post + "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello", 400},
      {post + "Content-Length: 5, 5\r\n\r\nhello", 400},
      {post + "Content-Length: +5\r\n\r\nhello", 400},
      {post + "Content-Length: 0x5\r\n\r\nhello", 400},
      {post + "Content-Length: \r\n\r\n", 400},
      {post + "Content-Length: 99999999999999999999\r\n\r\nhello", 400},
      {post + "Transfer-Encoding: gzip\r\n\r\n", 501},
      {post + "Transfer-Encoding: chunked, gzip\r\n\r\n", 501},
      {post + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501},
      {post + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
      {post + "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 400},
      {post + "Transfer-Encoding: chunked\r\n\r\n5x\r\nhello\r\n0\r\n\r\n", 400},
      {post + "Transfer-Encoding: chunked\r\n\r\n-1\r\nhello\r\n0\r\n\r\n", 400},
      {post + "Transfer-Encoding: chunked\r\n\r\n5\r\nhelloX0\r\n\r\n", 400},
      {post + "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nh", 400},
      {post + "Transfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 5\r\n\r\n", 400},
      {post + "Bad header\r\n\r\n", 400},
      {post + "Nul: a" + std::string(1, '\0') + "b\r\n\r\n", 400},
      {post + "Host: b\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\nHost: a\r\nExpect: magic\r\n\r\n", 417},
      {"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505},
      {"GET / HTTP/1.2\r\nHost: a\r\n\r\n", 505},
      {"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"GET /%00 HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"GET relative HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"CONNECT host:80 HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
      {"G\x01T / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
  };
  for (const auto& [text, status] : kBad) {
    for (const size_t size : {size_t{1} << 20, size_t{1}, size_t{7}}) {
      const Parsed parsed = parse(text, size);
      EXPECT_EQ(parsed.status, Status::kProblem) << text;
      EXPECT_EQ(parsed.problem.status, status) << text << parsed.problem.message;
      EXPECT_FALSE(parsed.problem.message.empty());
    }
  }
}

TEST(RequestParser, refuses_sizes_of_chunks_that_are_none) {
  const std::string head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
  for (const std::string before : {"", "3\r\nabc\r\n"}) {
    for (const std::string line :
         {"0x", "0 ", "0\t", "00 x", "0 x;y", "0;", "0\r", "", " ", " 0", ";x", "x", "3 ", "3x"}) {
      const std::string text = head + before + line + "\r\n\r\nX";
      for (size_t size = 1; size <= text.size(); ++size) {
        const Parsed parsed = parse(text, size);
        EXPECT_EQ(parsed.status, Status::kProblem) << before << line << size;
        EXPECT_EQ(parsed.problem.code, "malformed_request") << before << line << size;
      }
    }
  }
}

TEST(RequestParser, refuses_extensions_that_do_not_end_with_their_line) {
  const std::string head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
  for (const char* line : {"3;x=\"a", "3;x=\"a\\\"", "3;x=a\"", "0;x=\""}) {
    EXPECT_EQ(parse(head + line + "\r\nabc\r\n0\r\n\r\n").status, Status::kProblem) << line;
  }
  EXPECT_EQ(parse(head + "3;x=\"a\"\r\nabc\r\n0;y=\"\"\r\n\r\n").request.body, "abc");
}

TEST(RequestParser, limits_lines_and_trailers_of_chunked_bodies_to_the_byte) {
  HttpLimits limits;
  limits.header_bytes = 100;
  const std::string head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
  for (const auto& [text, fixed] :
       {std::pair("0\r\nX: *\r\n\r\n", 10), {"3;x=*\r\nabc\r\n0\r\n\r\n", 6}}) {
    for (const int more : {0, 1, 2, 5, 300}) {
      std::string body = text;
      body.replace(body.find('*'), 1, std::string(static_cast<size_t>(100 - fixed + more), 'x'));
      const Status expected = more == 0 ? Status::kComplete : Status::kProblem;
      for (size_t size = 1; size < 500; size += size < 20 ? 1 : 37) {
        EXPECT_EQ(parse(head + body, size, limits).status, expected) << body << size;
      }
    }
  }
}

TEST(RequestParser, finds_at_once_that_a_peer_does_not_speak_http) {
  const Parsed parsed = parse("\x16\x03\x01");
  EXPECT_EQ(parsed.problem.status, 400);
  EXPECT_NE(parsed.problem.message.find("TLS"), std::string::npos);
  // What has no end yet is not judged, however it came.
  for (const size_t size : {1, 100}) {
    EXPECT_EQ(parse("GET / HTTP/1.1\r\nH/st: a\r\n", size).status, Status::kNeedMore);
    EXPECT_EQ(parse("GET / HTTP/1.1\r\nH/st: a\r\n\r\n", size).problem.status, 400);
  }
}

TEST(RequestParser, limits_headers_and_bodies_to_the_byte) {
  HttpLimits limits;
  limits.header_bytes = 200;
  limits.max_headers = 3;
  limits.body_bytes = 10;
  const std::string line = "POST / HTTP/1.1\r\nHost: a\r\n";
  const auto with_headers = [&](size_t bytes) {
    return line + "X: " + std::string(bytes - line.size() - 7, 'x') + "\r\n\r\n";
  };
  for (const size_t size : {size_t{1} << 20, size_t{1}, size_t{13}}) {
    EXPECT_EQ(parse(with_headers(200), size, limits).status, Status::kComplete);
    EXPECT_EQ(parse(with_headers(201), size, limits).problem.status, 431);
    EXPECT_EQ(parse(with_headers(100'000), size, limits).problem.status, 431);
    EXPECT_EQ(parse(line + "A: 1\r\nB: 1\r\n\r\n", size, limits).status, Status::kComplete);
    EXPECT_EQ(parse(line + "A: 1\r\nB: 1\r\nC: 1\r\n\r\n", size, limits).problem.status, 431);

    const std::string fixed = line + "Content-Length: ";
    EXPECT_EQ(parse(fixed + "10\r\n\r\n0123456789", size, limits).status, Status::kComplete);
    const Parsed large = parse(fixed + "11\r\n\r\n", size, limits);
    EXPECT_EQ(large.problem.status, 413);
    const std::string chunked = line + "Transfer-Encoding: chunked\r\n\r\n";
    EXPECT_EQ(parse(chunked + "a\r\n0123456789\r\n0\r\n\r\n", size, limits).status,
              Status::kComplete);
    EXPECT_EQ(parse(chunked + "b\r\n", size, limits).status, Status::kNeedMore);
    EXPECT_EQ(parse(chunked + "b\r\n01234", size, limits).problem.status, 413);
    EXPECT_EQ(parse(chunked + "9\r\n012345678\r\n2\r\n01", size, limits).problem.status, 413);
    // A line or trailers without end.
    const std::string endless(300, '1');
    EXPECT_EQ(parse(chunked + "1;" + endless, size, limits).status, Status::kProblem);
    EXPECT_EQ(parse(chunked + "0\r\nX: " + endless + "\r\n\r\n", size, limits).status,
              Status::kProblem);
  }
}

TEST(HttpMessage, gives_memory_back) {
  std::string text(1000, 'x');
  release(text);
  EXPECT_LT(text.capacity(), 100u);
}

TEST(HttpMessage, lets_no_value_add_a_header) {
  const std::string head =
      response_head(200, {{"X", "a\r\nSet-Cookie: b"}}, "id", {.content_length = 3});
  EXPECT_EQ(head.find("\r\nSet-Cookie"), std::string::npos);
  EXPECT_TRUE(head.starts_with("HTTP/1.1 200 OK\r\nDate: "));
  EXPECT_NE(head.find("Content-Length: 3\r\n"), std::string::npos);
  EXPECT_TRUE(head.ends_with("\r\n\r\n"));
}

TEST(HttpMessage, decodes_escapes_or_refuses_them) {
  EXPECT_EQ(percent_decode("a%41+%7e"), "aA+~");
  for (const char* bad : {"%", "%4", "%4g", "%g4", "%00", "a%"}) {
    EXPECT_EQ(percent_decode(bad), std::nullopt) << bad;
  }
}

TEST(HttpMessage, writes_dates_as_the_standard_does) {
  EXPECT_EQ(http_date(784'111'777), "Sun, 06 Nov 1994 08:49:37 GMT");  // example of RFC 9110
}

}  // namespace
}  // namespace dsv4
