// Input: a byte that says where to cut, then the bytes of an HTTP response with an event stream of
// a chat completion, as `dsv4 bench serve` reads it. A cut changes nothing. The same bytes are also
// read as a trace file.
#include "base/check.h"
#include "base/error.h"
#include "bench/chat_reply.h"
#include "bench/http_response.h"
#include "bench/serve_load.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

using namespace dsv4;

namespace {

struct Read {
  std::string body;
  std::vector<std::string> events;
  int status = 0;
  bool failed = false;
  bool complete = false;
};

Read read(std::initializer_list<std::string_view> parts) {
  Read result;
  HttpResponse response;
  EventReader reader;
  try {
    for (const std::string_view part : parts) {
      std::string body;
      response.take(part, body);
      reader.take(body, result.events);
      result.body += body;
    }
    result.complete = response.complete();
    response.close();
  } catch (const Error&) {
    result.failed = true;
  }
  result.status = response.status();
  return result;
}

void take_reply(const std::vector<std::string>& events) {
  ChatReply reply;
  try {
    for (const std::string& data : events) reply.take(data);
  } catch (const Error&) {
  }
  const std::string printed = reply.message().print();
  CHECK(Json::parse(printed, "message").print() == printed);
  const ServeLoad load{.model = "m", .turns = 2};
  Conversation conversation(load, 0);
  CHECK(conversation.next(reply));
  Json::parse(conversation.request(), "request");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view input(reinterpret_cast<const char*>(data) + 1, size - 1);
  const Read whole = read({input});
  const size_t cut = input.empty() ? 0 : data[0] % (input.size() + 1);
  const Read parts = read({input.substr(0, cut), input.substr(cut)});
  CHECK(parts.failed == whole.failed && parts.status == whole.status);
  if (!whole.failed) CHECK(parts.body == whole.body && parts.events == whole.events);
  take_reply(whole.events);
  try {
    for (const TraceEntry& entry : parse_trace(input, "trace")) {
      const ServeLoad load{.model = "m", .trace = {entry}};
      if (entry.prompt_words < 1000) Json::parse(Conversation(load, 0).request(), "request");
    }
  } catch (const Error&) {
  }
  return 0;
}
