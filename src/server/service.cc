#include "server/service.h"

#include "server/anthropic_messages.h"
#include "server/models_list.h"
#include "server/openai_chat.h"
#include "server/openai_completions.h"
#include "server/openai_responses.h"
#include "server/openapi.h"
#include "server/page.h"
#include "server/replay_file.h"
#include "server/reply_constraint.h"
#include "server/reply_session.h"
#include "text/special_tokens.h"

#include <utility>

#include <fmt/core.h>

namespace dsv4 {
namespace {

int64_t unix_ms() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::milliseconds>(now).count();
}

std::unique_ptr<const TokenTrie> make_trie(const Tokenizer& tokenizer, const Log& log) {
  try {
    return std::make_unique<const TokenTrie>(tokenizer);
  } catch (const Error& error) {
    log.warning("structured output is off", {{"reason", error.what()}});
    return nullptr;
  }
}

std::unique_ptr<ReplayStore> open_replays(const ServiceOptions& options, const Log& log) {
  if (options.replay_file.empty()) {
    return std::make_unique<ReplayStore>(options.replay_bytes, options.seed);
  }
  auto file = std::make_unique<ReplayFile>(options.replay_file, options.model, options.seed,
                                           [&log](const std::string& line) { log.warning(line); });
  return std::make_unique<ReplayStore>(options.replay_bytes, std::move(file));
}

// The last part of "/v1/responses/{id}".
std::string last_part(const std::string& path) { return path.substr(path.rfind('/') + 1); }

bool matches(std::string_view pattern, std::string_view path) {
  if (!pattern.ends_with("/*")) return pattern == path;
  pattern.remove_suffix(1);
  return path.starts_with(pattern) && path.size() > pattern.size() &&
         path.find('/', pattern.size()) == std::string_view::npos;
}

ApiError::Kind kind_of_status(int status) {
  switch (status) {
    case 403:
      return ApiError::Kind::kPermission;
    case 408:
      return ApiError::Kind::kTimeout;
    case 413:
      return ApiError::Kind::kTooLarge;
    case 500:
      return ApiError::Kind::kInternal;
    case 503:
      return ApiError::Kind::kOverloaded;
    default:
      return ApiError::Kind::kInvalid;
  }
}

Json parse_body(const Call& call) {
  return Json::parse(call.http.body, "body", Json::NonFinite::kReject);
}

}  // namespace

// Also under the paths of DeepSeek's own service.
const Service::Route Service::kRoutes[] = {
    {"POST", "/v1/chat/completions", ApiKind::kChat, true, true, &Service::reply},
    {"POST", "/chat/completions", ApiKind::kChat, true, true, &Service::reply},
    {"POST", "/v1/completions", ApiKind::kCompletions, true, true, &Service::reply},
    {"POST", "/completions", ApiKind::kCompletions, true, true, &Service::reply},
    {"POST", "/v1/responses", ApiKind::kResponses, true, true, &Service::reply},
    {"GET", "/v1/responses/*", ApiKind::kResponses, true, false, &Service::show_response},
    {"DELETE", "/v1/responses/*", ApiKind::kResponses, true, false, &Service::delete_response},
    {"POST", "/v1/messages", ApiKind::kMessages, true, true, &Service::reply},
    {"POST", "/anthropic/v1/messages", ApiKind::kMessages, true, true, &Service::reply},
    {"POST", "/v1/messages/count_tokens", ApiKind::kMessages, true, true, &Service::count_tokens},
    {"POST", "/anthropic/v1/messages/count_tokens", ApiKind::kMessages, true, true,
     &Service::count_tokens},
    {"GET", "/v1/models", ApiKind::kChat, true, false, &Service::list_models},
    {"GET", "/models", ApiKind::kChat, true, false, &Service::list_models},
    {"GET", "/v1/models/*", ApiKind::kChat, true, false, &Service::show_model},
    {"POST", "/tokenize", ApiKind::kChat, true, true, &Service::tokenize},
    {"POST", "/detokenize", ApiKind::kChat, true, true, &Service::detokenize},
    {"GET", "/metrics", ApiKind::kChat, true, false, &Service::print_metrics},
    {"GET", "/openapi.json", ApiKind::kChat, false, false, &Service::openapi},
    {"GET", "/health", ApiKind::kChat, false, false, &Service::health},
    {"GET", "/ready", ApiKind::kChat, false, false, &Service::ready},
};

Service::Service(Engine& engine, const Tokenizer& tokenizer, ServiceOptions options,
                 Metrics& metrics, const Log& log, ApiKeys* keys, AccessLog* access_log,
                 LogFile* trace)
    : engine_(engine),
      tokenizer_(tokenizer),
      options_(std::move(options)),
      metrics_(metrics),
      log_(log),
      keys_(keys),
      access_log_(access_log),
      trace_(trace),
      counts_(metrics, engine),
      replays_(open_replays(options_, log)),
      responses_(options_.response_bytes),
      prompts_(tokenizer, options_.variant, replays_.get()),
      trie_(make_trie(tokenizer, log)),
      started_(unix_ms() / 1000),
      workers_(options_.n_workers, options_.max_jobs, options_.max_job_bytes) {}

Service::~Service() { stop(); }

void Service::begin_drain() {
  draining_.store(true);
  engine_.refuse_new();
}

void Service::stop() { workers_.stop(); }

// ---- Every request

const Service::Route* Service::find_route(const HttpRequest& request, bool& path_exists) const {
  const std::string_view asked = request.method;
  const std::string_view method = asked == "HEAD" ? "GET" : asked;
  for (const Route& route : kRoutes) {
    if (!matches(route.path, request.path)) continue;
    path_exists = true;
    if (route.method == method) return &route;
  }
  return nullptr;
}

void Service::handle(HttpRequest request, std::shared_ptr<Responder> responder) {
  Call call{.http = std::move(request), .responder = std::move(responder)};
  call.arrived = std::chrono::steady_clock::now();
  call.record = std::make_shared<AccessRecord>(AccessRecord{.unix_ms = unix_ms(),
                                                            .id = call.http.id,
                                                            .remote = call.http.remote,
                                                            .method = call.http.method,
                                                            .path = call.http.path});
  bool path_exists = false;
  const Route* route = find_route(call.http, path_exists);
  call.route = route != nullptr ? route->path : "other";
  call.api = route != nullptr ? route->api : ApiKind::kChat;
  call.responder->on_done([this, route_name = call.route, record = call.record,
                           arrived = call.arrived](const ResponseEnd& end) {
    log_end(route_name, *record, arrived, end);
  });
  if (route == nullptr) {
    if (auto page = page_reply(call.http)) return call.responder->respond(std::move(*page));
    const auto kind = path_exists ? ApiError::Kind::kMethod : ApiError::Kind::kNotFound;
    return refuse(call, {kind, fmt::format("{} {} is no route of this server", call.http.method,
                                           call.http.path)});
  }
  if (route->needs_key && !admit(*route, call)) return;
  if (!route->on_worker) return run(*route, std::move(call));
  auto shared = std::make_shared<Call>(std::move(call));
  const size_t n_bytes = shared->http.body.size();
  if (workers_.push([this, route, shared] { run(*route, std::move(*shared)); }, n_bytes)) return;
  refuse(*shared, {ApiError::Kind::kOverloaded, "too many requests wait; try again later"},
         kRetryAfterS);
}

bool Service::admit(const Route& route, Call& call) {
  if (keys_ == nullptr) return true;
  call.tenant = keys_->find(call.http.headers);
  if (call.tenant == nullptr) {
    refuse(call, {ApiError::Kind::kAuthentication,
                  "no valid API key was given; send it as Authorization: Bearer KEY or x-api-key"});
    return false;
  }
  call.record->key_name = call.tenant->name();
  if (!route.on_worker) return true;
  if (const auto wait_s = call.tenant->admit()) {
    refuse(call, {ApiError::Kind::kRateLimit, "the quota of this key is used up for now"}, *wait_s);
    return false;
  }
  return true;
}

// What a request can cause is an Error; anything else is a fault, and ends this request only.
void Service::run(const Route& route, Call call) {
  const std::shared_ptr<Responder> responder = call.responder;
  if (responder->gone()) return;
  const Call for_errors{.http = {.id = call.http.id}, .responder = responder, .api = call.api};
  try {
    (this->*route.handler)(std::move(call));
  } catch (const Error& error) {
    if (error.code() == ErrorCode::kIo) log_.error("request failed", {{"reason", error.what()}});
    refuse(for_errors, api_error_of(error));
  } catch (const std::exception& error) {
    log_.error("request failed", {{"id", for_errors.http.id}, {"reason", error.what()}});
    refuse(for_errors, {ApiError::Kind::kInternal, "the server could not do its work"});
  }
}

void Service::refuse(const Call& call, const ApiError& error, int retry_after_s) const {
  HttpHeaders headers = {{"Content-Type", "application/json"}};
  if (retry_after_s > 0) headers.push_back({"Retry-After", std::to_string(retry_after_s)});
  call.responder->respond(error.status(), std::move(headers),
                          error_json(call.api, error, call.http.id).print());
}

HttpReply Service::shape_problem(const HttpProblem& problem) {
  const ApiKind api =
      problem.path.find("/messages") != std::string::npos ? ApiKind::kMessages : ApiKind::kChat;
  const ApiError error{
      .kind = kind_of_status(problem.status), .message = problem.message, .code = problem.code};
  HttpReply reply{.status = problem.status, .headers = {{"Content-Type", "application/json"}}};
  reply.body = error_json(api, error, problem.id).print();
  return reply;
}

void Service::respond(const Call& call, const Json& body) const {
  call.responder->respond(200, {{"Content-Type", "application/json"}}, body.print());
}

void Service::log_end(std::string_view route, AccessRecord& record,
                      std::chrono::steady_clock::time_point arrived, const ResponseEnd& end) {
  record.status = end.status;
  record.response_bytes = end.body_bytes;
  record.client_gone = end.client_gone;
  record.duration_s =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - arrived).count();
  counts_.count_status(route, end.status);
  if (access_log_ != nullptr) access_log_->write(record);
}

std::string Service::tenant_of(const Call& call) const {
  return call.tenant ? call.tenant->name() : std::string();
}

void Service::remember(const Prompt& prompt, const Json& message, std::span<const int32_t> ids,
                       const ReplyEnd& end) {
  prompts_.remember(prompt, message, ids, end);
  // Where the workers have no room, a later reply or the end brings this one along.
  if (replays_->has_unwritten()) workers_.push([this] { replays_->flush(); });
}

// A number that nobody can tell from those before it, of which replies' ids let clients see some.
uint64_t Service::draw() { return sha256_bits(fmt::format("{}\n{}", options_.seed, ++n_drawn_)); }

uint64_t Service::salt_of(const Call& call, const ApiRequest& request) const {
  const uint64_t salt = call.tenant ? call.tenant->salt() : 0;
  if (request.cache_salt.empty()) return salt;
  return sha256_bits(fmt::format("{}\n{}", salt, request.cache_salt));
}

// ---- Routes

void Service::health(Call call) { respond(call, Json().set("status", "ok")); }

void Service::ready(Call call) {
  if (!draining_) return respond(call, Json().set("status", "ready"));
  refuse(call, {ApiError::Kind::kOverloaded, "the server is shutting down"}, kRetryAfterS);
}

void Service::print_metrics(Call call) {
  call.responder->respond(200, {{"Content-Type", std::string(kMetricsContentType)}},
                          metrics_.print());
}

void Service::openapi(Call call) {
  call.responder->respond(200, {{"Content-Type", "application/json"}},
                          openapi_description(options_.api).print());
}

void Service::list_models(Call call) {
  respond(call, models_json(options_.api, {started_, engine_.context()}));
}

void Service::show_model(Call call) {
  respond(call, model_json(last_part(call.http.path), options_.api, {started_, engine_.context()}));
}

void Service::tokenize(Call call) {
  const TokenizeRequest request = parse_tokenize_request(parse_body(call), options_.api);
  const std::vector<int32_t> ids =
      request.is_chat ? prompts_.chat(request.chat, salt_of(call, request.chat)).ids
                      : tokenizer_.encode(request.text, request.parse_special ? ParseSpecial::kYes
                                                                              : ParseSpecial::kNo);
  respond(call, tokens_json(ids, tokenizer_, request.with_pieces, engine_.context()));
}

void Service::detokenize(Call call) {
  respond(call, text_json(parse_detokenize_request(parse_body(call), options_.api), tokenizer_));
}

void Service::count_tokens(Call call) {
  const ApiRequest request =
      parse_messages_request(parse_body(call), options_.api, MessagesPurpose::kCountTokens);
  respond(call, count_json(std::ssize(prompts_.chat(request, salt_of(call, request)).ids)));
}

void Service::show_response(Call call) {
  const std::string id = last_part(call.http.path);
  const auto body = responses_.body(tenant_of(call), id);
  if (!body)
    throw Error(ErrorCode::kNotFound, "response_id", fmt::format("'{}' is not stored", id));
  call.responder->respond(200, {{"Content-Type", "application/json"}}, *body);
}

void Service::delete_response(Call call) {
  const std::string id = last_part(call.http.path);
  if (!responses_.erase(tenant_of(call), id)) {
    throw Error(ErrorCode::kNotFound, "response_id", fmt::format("'{}' is not stored", id));
  }
  respond(call, Json().set("id", id).set("object", "response").set("deleted", true));
}

// ---- Replies

ApiRequest Service::parse(const Call& call) {
  const Json body = parse_body(call);
  switch (call.api) {
    case ApiKind::kCompletions:
      return parse_completions_request(body, options_.api);
    case ApiKind::kMessages:
      return parse_messages_request(body, options_.api);
    case ApiKind::kResponses:
      return parse_responses_request(body, options_.api, [&](const std::string& id) {
        return responses_.conversation(tenant_of(call), id);
      });
    case ApiKind::kChat:
      break;
  }
  return parse_chat_request(body, options_.api);
}

Request Service::engine_request(const Call& call, const ApiRequest& asked, const Prompt& prompt,
                                uint64_t salt) {
  Request request{.prompt = prompt.ids,
                  .boundaries = prompt.boundaries,
                  .sampling = asked.sampling,
                  .n_choices = asked.n,
                  .max_tokens = asked.max_tokens > 0 ? asked.max_tokens : options_.max_tokens,
                  .stop_strings = asked.stop,
                  .tenant = tenant_of(call),
                  .salt = salt,
                  .priority = call.tenant ? call.tenant->priority() : 0};
  if (!asked.has_seed) request.sampling.seed = draw();
  request.sampling.n_logprobs = asked.logprobs.value_or(-1);
  if (const auto eos = tokenizer_.eos_id()) request.stop_ids = {*eos};
  const auto think_end = tokenizer_.id_of(kThinkEnd);
  if (asked.thinking_budget && prompt.mode == ThinkingMode::kThinking && think_end) {
    request.thinking = {.tokens = *asked.thinking_budget, .closing = {*think_end}};
  }
  request.constraint = reply_constraint(asked, prompt.mode, trie_);
  if (options_.time_limit.count() > 0) request.deadline = call.arrived + options_.time_limit;
  return request;
}

void Service::reply(Call call) {
  ApiRequest asked = parse(call);
  const uint64_t salt = salt_of(call, asked);
  std::vector<Prompt> prompts;
  if (asked.api == ApiKind::kCompletions) {
    for (const RawPrompt& raw : asked.prompts) prompts.push_back(prompts_.raw(raw));
  } else {
    prompts.push_back(prompts_.chat(asked, salt));
    counts_.replayed_messages.add(static_cast<uint64_t>(prompts[0].n_replayed));
  }
  std::vector<Request> requests;
  for (const Prompt& prompt : prompts) {
    requests.push_back(engine_request(call, asked, prompt, salt));
  }
  release(call.http.body);
  std::make_shared<ReplySession>(*this, std::move(call), std::move(asked), std::move(prompts))
      ->submit(std::move(requests));
}

}  // namespace dsv4
