#include "bench/http_response.h"

#include "base/error.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace dsv4 {
namespace {

using Events = std::vector<std::string>;

struct Taken {
  int status = 0;
  std::string body;
  bool complete = false;
  bool operator==(const Taken&) const = default;
};

Taken take_parts(std::initializer_list<std::string_view> parts) {
  HttpResponse response;
  Taken taken;
  for (const std::string_view part : parts) response.take(part, taken.body);
  taken.status = response.status();
  taken.complete = response.complete();
  return taken;
}

// The same whatever the place of two cuts.
Taken take_everywhere(std::string_view bytes) {
  const Taken whole = take_parts({bytes});
  for (size_t i = 0; i <= bytes.size(); ++i) {
    for (size_t j = i; j <= bytes.size(); ++j) {
      EXPECT_EQ(take_parts({bytes.substr(0, i), bytes.substr(i, j - i), bytes.substr(j)}), whole)
          << "cut at " << i << " and " << j;
    }
  }
  return whole;
}

std::string failure_of(std::string_view bytes, bool closed = false) {
  try {
    HttpResponse response;
    std::string body;
    response.take(bytes, body);
    if (closed) response.close();
  } catch (const Error& error) {
    return error.what();
  }
  return "none";
}

TEST(HttpResponse, reads_a_body_of_given_length_cut_anywhere) {
  const Taken taken = take_everywhere(
      "HTTP/1.1 429 Too Many Requests\r\nRetry-After:  7\t\r\nContent-Length: 5\r\n\r\nhello");
  EXPECT_EQ(taken, (Taken{429, "hello", true}));
}

TEST(HttpResponse, reads_chunks_cut_anywhere) {
  const Taken taken = take_everywhere(
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n"
      "5\r\nhello\r\nA;x=1\r\n, a\r\nworld\r\n0\r\nTrailer: 1\r\n\r\n");
  EXPECT_EQ(taken, (Taken{200, "hello, a\r\nworld", true}));
}

TEST(HttpResponse, passes_over_interim_responses) {
  EXPECT_EQ(take_everywhere("HTTP/1.1 100 Continue\r\nX: y\r\n\r\nHTTP/1.1 204 No\r\n\r\n"),
            (Taken{204, "", true}));
}

TEST(HttpResponse, reads_until_the_connection_ends) {
  HttpResponse response;
  std::string body;
  response.take("HTTP/1.0 200 OK\nServer: a\nserver: b\n\nall of ", body);
  response.take("it", body);
  EXPECT_FALSE(response.complete());
  response.close();
  EXPECT_TRUE(response.complete());
  EXPECT_EQ(body, "all of it");
  EXPECT_EQ(response.header("server"), "b");
  EXPECT_EQ(response.header("content-length"), "");
}

TEST(HttpResponse, says_what_is_wrong_and_where) {
  EXPECT_EQ(failure_of("SSH-2.0-x\r\n"),
            "response at byte 0: expected the status line of HTTP/1.1");
  EXPECT_EQ(failure_of("HTTP/1.1 99 x\r\n"),
            "response at byte 0: expected the status line of HTTP/1.1");
  EXPECT_EQ(failure_of("HTTP/1.1 200 OK\r\nno colon\r\n"),
            "response at byte 17: expected NAME: VALUE");
  EXPECT_NE(failure_of("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n").find("no number"),
            std::string::npos);
  EXPECT_NE(failure_of("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n").find("not asked for"),
            std::string::npos);
  const std::string chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
  EXPECT_NE(failure_of(chunked + "x\r\n").find("size of a chunk"), std::string::npos);
  EXPECT_NE(failure_of(chunked + "1\r\nab\r\n").find("end of a chunk"), std::string::npos);
  EXPECT_NE(failure_of(chunked + "fffffffffffffffff\r\n").find("size of a chunk"),
            std::string::npos);
  EXPECT_NE(failure_of("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nab").find("behind"),
            std::string::npos);
  EXPECT_NE(failure_of("HTTP/1.1 200 OK\r\nX: " + std::string(70000, 'x')).find("the head has"),
            std::string::npos);
  EXPECT_NE(failure_of("", /*closed=*/true).find("without a response"), std::string::npos);
  EXPECT_NE(failure_of(chunked + "5\r\nhell", /*closed=*/true).find("within the response"),
            std::string::npos);
}

TEST(EventReader, gives_the_same_events_for_every_cut) {
  const std::string text =
      ": comment\r\ndata: {\"a\": 1}\r\n\r\nevent: x\ndata: one\ndata: two\n\n"
      "data:three\r\rdata\n\n\n\ndata: lost";
  const Events expected = {"{\"a\": 1}", "one\ntwo", "three", ""};
  for (size_t i = 0; i <= text.size(); ++i) {
    for (size_t j = i; j <= text.size(); ++j) {
      EventReader reader;
      Events events;
      const std::string_view view = text;
      reader.take(view.substr(0, i), events);
      reader.take(view.substr(i, j - i), events);
      reader.take(view.substr(j), events);
      ASSERT_EQ(events, expected) << "cut at " << i << " and " << j;
    }
  }
}

TEST(EventReader, refuses_events_without_end) {
  EventReader reader;
  Events events;
  const std::string part(1 << 20, 'x');
  EXPECT_THROW(
      {
        for (int i = 0; i < 17; ++i) reader.take(part, events);
      },
      Error);
}

TEST(HttpAddress, is_read_from_a_url) {
  const HttpAddress plain = parse_http_address("http://localhost:8080");
  EXPECT_EQ(plain.host, "localhost");
  EXPECT_EQ(plain.port, "8080");
  EXPECT_EQ(plain.prefix, "");
  EXPECT_EQ(plain.text(), "localhost:8080");
  const HttpAddress six = parse_http_address("HTTP://[::1]/some/prefix//");
  EXPECT_EQ(six.host, "::1");
  EXPECT_EQ(six.port, "80");
  EXPECT_EQ(six.prefix, "/some/prefix");
  EXPECT_EQ(six.text(), "[::1]:80");
  for (const char* bad : {"", "localhost", "http://", "http://:1", "http://a:", "http://a:0",
                          "http://a:65536", "http://a:1x", "http://[::1", "http://[::1]x",
                          "http://a b:1", "http://a:1/\r\nX: y", "ftp://a", "https://a"}) {
    EXPECT_THROW(parse_http_address(bad), Error) << bad;
  }
}

}  // namespace
}  // namespace dsv4
