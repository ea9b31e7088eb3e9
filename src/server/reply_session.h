// The replies to one request, from the engine's streams to the connection: each event is read by
// the parser, put into the API's shape, and written.
#pragma once

#include "engine/engine.h"
#include "engine/reply.h"
#include "server/prompt.h"
#include "server/reply_shape.h"
#include "server/request_trace.h"
#include "server/service.h"

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

namespace dsv4 {

// submit() is called by a worker, all else happens on the I/O thread.
class ReplySession : public std::enable_shared_from_this<ReplySession> {
 public:
  ReplySession(Service& service, Call call, ApiRequest request, std::vector<Prompt> prompts);

  // Hands one engine request for each prompt over. A refusal is answered.
  void submit(std::vector<Request> requests);

 private:
  struct Choice {
    explicit Choice(std::optional<LenientOptions> parsing) : reply(std::move(parsing)) {}
    Reply reply;
    bool ended = false;
  };
  // The stream of one prompt, with events that came before all prompts had begun.
  struct Source {
    std::shared_ptr<EventStream> stream;
    std::vector<StreamEvent> events;
    bool started = false;
    bool open = true;
  };

  void arrange_end();
  void cancel();
  void drain();
  void deliver();
  void begin();
  void take(size_t prompt, StreamEvent event);
  void end_choice(Choice& choice, size_t index, const std::string& stop_string);
  void fail(const ApiError& error, int retry_after_s = 0);
  void finish();
  void send();
  void keep_response(std::string body);
  void measure_token();
  void log(const ResponseEnd& end);

  Service& service_;
  Call call_;
  ApiRequest request_;  // without messages and prompts, and new messages that are not to be stored
  const bool is_prefill_;
  std::vector<Prompt> prompts_;
  std::unique_ptr<ReplyWriter> writer_;
  std::mutex mutex_;  // of the next two until submitted_, and for cancel()
  std::vector<Source> sources_;
  bool cancelled_ = false;
  std::atomic<bool> submitted_{false};
  std::vector<Choice> choices_;
  std::string out_;
  std::vector<ParseEvent> events_;
  std::optional<std::chrono::steady_clock::time_point> last_token_;
  std::optional<RequestTrace> trace_;
  bool begun_ = false;      // the writer has started
  bool streaming_ = false;  // the head of a stream was sent
  bool over_ = false;       // answered in full
};

}  // namespace dsv4
