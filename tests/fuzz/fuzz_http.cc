// Input: one byte of settings, then what a client sends on one connection. However the bytes are
// cut, the handler sees the same requests; every request is answered once; nothing is left over.
#include "base/check.h"
#include "base/error.h"
#include "server/http_testing.h"

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace dsv4 {
namespace {

struct Outcome {
  std::vector<std::string> requests;  // all that the handler saw of each
  std::string received;
  int64_t n_problems = 0;
};

std::string describe(const HttpRequest& request) {
  std::string text = request.method + " " + request.path + "?" + request.query + "\n";
  for (const HttpHeader& header : request.headers) text += header.name + ":" + header.value + "\n";
  return text + (request.keep_alive ? "keep " : "close ") + request.body;
}

size_t count(std::string_view text, std::string_view what) {
  size_t n = 0;
  for (size_t at = text.find(what); at != text.npos; at = text.find(what, at + 1)) ++n;
  return n;
}

// By the path: at once, in a stream, not at all, or with an exception.
void answer(const HttpRequest& request, Responder& responder) {
  if (request.path.starts_with("/s")) {
    responder.start_stream(200, {});
    responder.write("some ");
    responder.write("more");
    return responder.finish();
  }
  if (request.path.starts_with("/e")) throw Error(ErrorCode::kInvalidInput, "fuzz", "no");
  if (!request.path.starts_with("/n")) responder.respond(200, {}, "Answer");
}

Outcome serve(std::string_view bytes, size_t piece, bool is_small) {
  HttpOptions options;
  options.cors_origins = {"http://a"};
  if (is_small) options.limits = {.header_bytes = 300, .max_headers = 5, .body_bytes = 50};
  Outcome outcome;
  MemoryServer server(options, [&](HttpRequest request, std::shared_ptr<Responder> responder) {
    outcome.requests.push_back(describe(request));
    answer(request, *responder);
  });
  const auto peer = server.connect();
  peer->read_size = piece;
  peer->to_server = bytes;
  server.run();
  server.pass(std::chrono::seconds(1));
  peer->ended = true;
  server.run();
  const HttpCounters counters = server.counters();
  CHECK(peer->closed);
  CHECK(counters.connections_open == 0 && counters.responses_running == 0);
  CHECK(counters.body_bytes_held == 0, counters.body_bytes_held);
  CHECK(counters.requests_total == static_cast<int64_t>(outcome.requests.size()));
  outcome.received = peer->received;
  outcome.n_problems = counters.problems_total;
  return outcome;
}

}  // namespace
}  // namespace dsv4

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace dsv4;
  if (size == 0 || size > 16384) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data + 1), size - 1);
  const bool is_small = (data[0] & 1) != 0;
  const Outcome whole = serve(bytes, size, is_small);
  for (const size_t piece : {size_t{1}, size_t{2} + data[0] / 2}) {
    const Outcome split = serve(bytes, piece, is_small);
    CHECK(split.n_problems == whole.n_problems, piece, split.n_problems, whole.n_problems);
    CHECK(split.requests == whole.requests, piece, split.requests.size(), whole.requests.size());
  }
  // Preflights are answered without the handler.
  const size_t n_answers =
      count(whole.received, "\r\nDate: ") - count(whole.received, "HTTP/1.1 204 No Content\r\n");
  CHECK(n_answers == whole.requests.size() + static_cast<size_t>(whole.n_problems), n_answers,
        whole.requests.size(), whole.n_problems);
  return 0;
}
