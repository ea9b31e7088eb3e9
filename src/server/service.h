// What the server does with a request: its route, whose it is, whether it may run now. What the
// APIs say is in openai_*.h and anthropic_messages.h, one reply on its way in reply_session.h.
#pragma once

#include "base/log.h"
#include "engine/engine.h"
#include "grammar/token_trie.h"
#include "server/access_log.h"
#include "server/api_keys.h"
#include "server/api_request.h"
#include "server/http_message.h"
#include "server/http_options.h"
#include "server/http_responder.h"
#include "server/log_file.h"
#include "server/metrics.h"
#include "server/prompt.h"
#include "server/replay_store.h"
#include "server/response_store.h"
#include "server/service_metrics.h"
#include "server/work_queue.h"
#include "text/tokenizer.h"

#include <atomic>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace dsv4 {

class ReplySession;

inline constexpr int kRetryAfterS = 1;  // told to those who find no room

struct ServiceOptions {
  ApiSettings api;
  ChatVariant variant = ChatVariant::kPreview;
  int64_t max_tokens = 0;              // of a reply whose request does not say; 0: the context
  std::chrono::seconds time_limit{0};  // of a request; 0: none
  int n_workers = 2;                   // threads that read and encode requests
  size_t max_jobs = 1024;              // requests that wait for one
  size_t max_job_bytes = size_t{256} << 20;  // of their bodies
  size_t replay_bytes = size_t{64} << 20;
  std::filesystem::path replay_file = {};  // where replies' tokens survive restarts; "": nowhere
  uint64_t model = 0;                      // names the model that they are of
  size_t response_bytes = size_t{64} << 20;
  uint64_t seed = 0;  // of ids and of replies whose request has no seed
};

// A request on its way: what the log will say about it, whose it is.
struct Call {
  HttpRequest http;
  std::shared_ptr<Responder> responder;
  ApiKind api = ApiKind::kChat;
  std::string_view route = {};     // pattern of the path
  std::shared_ptr<Tenant> tenant;  // null without API keys
  std::chrono::steady_clock::time_point arrived;
  // Written on the I/O thread alone once handle() has passed the call on.
  std::shared_ptr<AccessRecord> record;
};

// handle() is called on the I/O thread; all else may be called from any thread. What the
// constructor takes must outlive it; `keys`, `access_log` and `trace` may be null.
class Service {
 public:
  Service(Engine& engine, const Tokenizer& tokenizer, ServiceOptions options, Metrics& metrics,
          const Log& log, ApiKeys* keys, AccessLog* access_log, LogFile* trace);
  ~Service();
  Service(const Service&) = delete;
  Service& operator=(const Service&) = delete;

  void handle(HttpRequest request, std::shared_ptr<Responder> responder);
  // The answer to what no handler answers (HttpOptions::shape_problem).
  static HttpReply shape_problem(const HttpProblem& problem);

  // New requests are refused, and /ready says no, from now on.
  void begin_drain();
  // Ends the threads: no request may come any more.
  void stop();

 private:
  friend class ReplySession;
  using Handler = void (Service::*)(Call);
  struct Route {
    std::string_view method;
    std::string_view path;
    ApiKind api;
    bool needs_key;
    bool on_worker;  // reads a body
    Handler handler;
  };
  static const Route kRoutes[];

  const Route* find_route(const HttpRequest& request, bool& path_exists) const;
  bool admit(const Route& route, Call& call);
  void run(const Route& route, Call call);

  void health(Call call);
  void ready(Call call);
  void print_metrics(Call call);
  void openapi(Call call);
  void list_models(Call call);
  void show_model(Call call);
  void tokenize(Call call);
  void detokenize(Call call);
  void count_tokens(Call call);
  void show_response(Call call);
  void delete_response(Call call);
  void reply(Call call);

  ApiRequest parse(const Call& call);
  Request engine_request(const Call& call, const ApiRequest& asked, const Prompt& prompt,
                         uint64_t salt);
  void respond(const Call& call, const Json& body) const;
  void refuse(const Call& call, const ApiError& error, int retry_after_s = 0) const;
  void log_end(std::string_view route, AccessRecord& record,
               std::chrono::steady_clock::time_point arrived, const ResponseEnd& end);
  // For exact replay; the file is written by a worker.
  void remember(const Prompt& prompt, const Json& message, std::span<const int32_t> ids,
                const ReplyEnd& end);
  uint64_t draw();
  uint64_t salt_of(const Call& call, const ApiRequest& request) const;
  std::string tenant_of(const Call& call) const;

  Engine& engine_;
  const Tokenizer& tokenizer_;
  const ServiceOptions options_;
  Metrics& metrics_;
  const Log& log_;
  ApiKeys* keys_;
  AccessLog* access_log_;
  LogFile* trace_;
  ServiceMetrics counts_;
  std::unique_ptr<ReplayStore> replays_;
  ResponseStore responses_;
  PromptBuilder prompts_;
  std::shared_ptr<const TokenTrie> trie_;  // null where the vocabulary has no use for one
  const int64_t started_;                  // seconds since 1970
  std::atomic<uint64_t> n_drawn_{0};
  std::atomic<bool> draining_{false};
  WorkQueue workers_;  // last: its jobs use all of the others
};

}  // namespace dsv4
