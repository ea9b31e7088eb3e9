// `dsv4 serve`: the model behind HTTP, for many users at once.
#include "base/error.h"
#include "base/log.h"
#include "base/output_file.h"
#include "cli/commands.h"
#include "cli/conversation.h"
#include "cli/option_types.h"
#include "cli/serve_forecast.h"
#include "server/http.h"
#include "server/http_metrics.h"
#include "server/service.h"

#include <CLI/CLI.hpp>

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <memory>
#include <random>
#include <span>

#include <fmt/core.h>

namespace dsv4::cli {
namespace {

constexpr int64_t kMaxSeconds = 100'000'000;  // some years

struct ServeArgs {
  ModelArgs model;
  SamplingArgs sampling;
  ThinkArgs think;
  RoutingRecorder routing;
  HttpOptions http;
  std::string port_file;
  std::string api_keys;
  std::string new_key;
  std::vector<std::string> names;
  bool any_model = false;
  int64_t max_running = 64;
  int64_t max_requests = 2048;
  uint64_t state_memory = 0;  // 0: by the machine
  uint64_t cache_memory = 0;  // 0: all of state_memory
  std::string cache_dir;
  uint64_t cache_disk = uint64_t{16} << 30;
  int64_t max_tokens = 0;
  int64_t time_limit_s = 0;
  int64_t drain_s = 30;
  std::string access_log;
  std::string trace;
  LogFormat log_format = LogFormat::kText;
  bool quiet = false;
};

// Memory for states: what is asked for, else half of what the machine has besides the weights (of
// the experts what may stay in memory), and room for one sequence of the whole context at least.
int64_t state_memory(const ServeArgs& args, const Model& model) {
  if (args.state_memory > 0) return static_cast<int64_t>(args.state_memory);
  const int64_t physical = ::sysconf(_SC_PHYS_PAGES) * ::sysconf(_SC_PAGESIZE);
  int64_t weights = 0;
  for (const MappedFile& file : model.checkpoint().files()) weights += std::ssize(file.bytes());
  if (const ExpertStore* experts = model.experts()) {
    weights -= std::max<int64_t>(experts->total_bytes() - experts->budget_bytes(), 0);
  }
  const StateLayout& layout = model.state_layout();
  const int64_t longest = state_bytes(layout, layout.max_tokens).total();
  const int64_t begun = args.max_running * state_bytes(layout, 0).total();
  return std::max((physical - weights) / 2, longest + begun);
}

EngineOptions engine_options_of(const ServeArgs& args, const Model& model, const Log& log) {
  EngineOptions options{.max_running = args.max_running, .max_requests = args.max_requests};
  options.state_bytes = state_memory(args, model);
  options.cache.budget_bytes =
      args.cache_memory > 0 ? static_cast<int64_t>(args.cache_memory) : options.state_bytes;
  if (args.cache_dir.empty()) return options;
  options.disk.emplace();
  options.disk->folder = args.cache_dir;
  options.disk->budget_bytes = static_cast<int64_t>(args.cache_disk);
  options.disk->log = [&log](const std::string& line) { log.warning(line); };
  return options;
}

ServiceOptions service_options_of(const ServeArgs& args, const ChatModel& chat) {
  ServiceOptions options;
  options.api.models = args.names;
  options.api.any_model = args.any_model;
  if (args.names.empty()) {
    auto path = std::filesystem::absolute(args.model.path).lexically_normal();
    if (path.filename().empty()) path = path.parent_path();
    options.api.models = {path.filename().string()};
  }
  options.api.max_choices = std::min(options.api.max_choices, args.max_running);
  options.api.sampling = chat.sampling();
  options.api.effort = args.think.effort;
  options.api.vocab_size = static_cast<int32_t>(chat.model().config().vocab_size);
  options.variant = chat.chat_options().variant;
  options.model = chat.model().state_layout().fingerprint;
  if (!args.cache_dir.empty()) {
    options.replay_file = std::filesystem::path(args.cache_dir) / "replies";
  }
  options.max_tokens = args.max_tokens;
  options.time_limit = std::chrono::seconds(args.time_limit_s);
  std::random_device random;
  options.seed = (uint64_t{random()} << 32) | random();
  return options;
}

// Written whole or not at all: who waits for it never reads half a number.
void write_port(const std::string& path, int port) {
  const std::string line = fmt::format("{}\n", port);
  OutputFile file(path);
  file.write(std::as_bytes(std::span(line)));
  file.finish();
}

// Waits for SIGINT or SIGTERM; SIGHUP reads the keys again and opens the log anew.
class Signals {
 public:
  Signals() {
    sigemptyset(&set_);
    for (const int signal : {SIGINT, SIGTERM, SIGHUP}) sigaddset(&set_, signal);
    ::pthread_sigmask(SIG_BLOCK, &set_, nullptr);
    ::signal(SIGPIPE, SIG_IGN);
  }

  void wait_for_end(const std::function<void()>& on_hangup) const {
    for (;;) {
      int signal = 0;
      ::sigwait(&set_, &signal);
      if (signal != SIGHUP) return;
      on_hangup();
    }
  }

 private:
  sigset_t set_;
};

// Prints a key and its line for the file of keys.
void print_new_key(const std::string& name) {
  const NewApiKey made = make_api_key(name);
  fmt::print("key (shown only here): {}\nline for --api-keys: {}\n", made.key, made.line);
}

// What only the end tells. A trace that is not whole is no reason to fail then.
void end_recording(RoutingRecorder& routing, const Log& log) {
  try {
    routing.finish();
  } catch (const Error& error) {
    log.error("the routing was not recorded in full", {{"reason", error.what()}});
  }
}

void serve(ServeArgs& args) {
  if (!args.new_key.empty()) return print_new_key(args.new_key);
  if (args.model.path.empty()) throw CLI::RequiredError("--model");
  const Signals signals;  // before any thread, which inherit what it blocks
  const Log log(args.quiet ? LogLevel::kWarning : LogLevel::kInfo, args.log_format);
  Metrics metrics;
  ChatModel chat(args.model, args.sampling, args.think);
  args.routing.start(chat.model());
  Engine engine(chat.model(), chat.tokenizer(), engine_options_of(args, chat.model(), log));
  std::unique_ptr<ApiKeys> keys;
  if (!args.api_keys.empty()) keys = std::make_unique<ApiKeys>(args.api_keys, log);
  std::unique_ptr<AccessLog> access_log;
  if (!args.access_log.empty()) {
    access_log = std::make_unique<AccessLog>(args.access_log, args.log_format);
  }
  std::unique_ptr<LogFile> trace;
  if (!args.trace.empty()) trace = std::make_unique<LogFile>(args.trace);
  const ServiceOptions options = service_options_of(args, chat);
  Service service(engine, chat.tokenizer(), options, metrics, log, keys.get(), access_log.get(),
                  trace.get());

  HttpOptions http = args.http;
  http.shape_problem = Service::shape_problem;
  const int64_t n_files = std::ssize(chat.model().checkpoint().files());  // each stays open
  raise_descriptor_limit(http.limits.max_connections + n_files + 64);
  HttpServer server(http, [&](HttpRequest request, std::shared_ptr<Responder> responder) {
    service.handle(std::move(request), std::move(responder));
  });
  add_http_metrics(metrics, server);
  register_process_metrics(metrics);
  server.run_every(std::chrono::seconds(1), [&] {
    if (keys) keys->reload_if_changed();
  });
  if (!args.port_file.empty()) write_port(args.port_file, server.port());
  log.info("ready", {{"url", server.url()},
                     {"model", options.api.models.front()},
                     {"context", engine.context()},
                     {"numerics", numerics_name(chat.model().options().numerics)},
                     {"state_memory", engine.stats().state_bytes_limit}});
  signals.wait_for_end([&] {
    if (keys) keys->reload();
    for (LogFile* file : {access_log ? &access_log->file() : nullptr, trace.get()}) {
      if (file == nullptr) continue;
      if (const auto problem = file->reopen()) {
        log.error("a log goes on in the old file", {{"reason", *problem}});
      }
    }
  });
  log.info("ending: no new requests; running ones have time to end", {{"seconds", args.drain_s}});
  service.begin_drain();
  server.drain(std::chrono::seconds(args.drain_s));
  service.stop();
  const EngineStats stats = engine.stats();  // before its memory is given back
  engine.stop();
  end_recording(args.routing, log);
  log.info("ended", {{"requests", stats.n_requests},
                     {"prompt_tokens", stats.n_prompt_tokens},
                     {"cached_tokens", stats.n_cached_tokens},
                     {"reply_tokens", stats.n_reply_tokens}});
  log_forecast(args.model, chat.model(), stats, log);
}

void add_network_options(CLI::App& command, ServeArgs& args) {
  command.add_option("--host", args.http.host, "Address to listen at")->capture_default_str();
  command.add_option("--port", args.http.port, "Port; 0 takes a free one")
      ->check(CLI::Range(0, 65535))
      ->capture_default_str();
  command.add_option("--port-file", args.port_file, "File to write the port to, once it listens");
  command.add_option("--api-keys", args.api_keys,
                     "File of API keys; without it everyone who reaches the server may use it");
  command.add_option("--new-key", args.new_key,
                     "Print a new API key of this name and its line for the file, and end");
  command.add_option("--tls-cert", args.http.tls_certificate, "Certificate chain, PEM");
  command.add_option("--tls-key", args.http.tls_key, "Its private key, PEM");
  command.add_option("--cors-origin", args.http.cors_origins,
                     "Origin whose pages may use the server, or *; repeatable");
  command.add_option("--allow-host", args.http.allowed_hosts,
                     "Name by which requests may call the server; repeatable");
  command.add_option("--max-connections", args.http.limits.max_connections, "Connections at once")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  take_bytes(
      command.add_option("--max-body", args.http.limits.body_bytes, "Bytes of the largest request"))
      ->capture_default_str();
}

void add_engine_options(CLI::App& command, ServeArgs& args) {
  command.add_option("--name", args.names,
                     "Name of the model for clients; repeatable; default: that of the folder");
  command.add_flag("--any-model", args.any_model,
                   "Answer requests for models of any name; otherwise they get 404");
  command.add_option("--parallel", args.max_running, "Sequences that are computed at once")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  command
      .add_option("--max-requests", args.max_requests, "Requests at once, waiting ones included")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  take_bytes(command.add_option(
                 "--state-memory", args.state_memory,
                 "Memory for sequences and the prefix cache, such as 8G; 0: half of what the "
                 "weights leave"))
      ->capture_default_str();
  take_bytes(command.add_option("--cache-memory", args.cache_memory,
                                "Of that, the most that the prefix cache may keep; 0: all"))
      ->capture_default_str();
  command.add_option("--cache-dir", args.cache_dir,
                     "Folder in which prefixes survive restarts; without it memory only");
  take_bytes(command.add_option("--cache-disk", args.cache_disk, "Largest size of that folder"))
      ->capture_default_str();
  command
      .add_option("--max-tokens", args.max_tokens,
                  "Longest reply where a request says nothing; 0 fills the context")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command.add_option("--time-limit", args.time_limit_s, "Seconds that a request may take; 0: any")
      ->check(CLI::Range(int64_t{0}, kMaxSeconds))
      ->capture_default_str();
}

}  // namespace

void add_serve(CLI::App& app) {
  auto args = std::make_shared<ServeArgs>();
  CLI::App* command = app.add_subcommand("serve", "Serve a model over HTTP, with a chat page");
  args->model.add_to(*command);
  command->get_option("--model")->required(false);  // not to make a key
  add_network_options(*command, *args);
  add_engine_options(*command, *args);
  command->add_option("--drain", args->drain_s, "Seconds that running requests get at the end")
      ->check(CLI::Range(int64_t{0}, kMaxSeconds))
      ->capture_default_str();
  command->add_option("--access-log", args->access_log, "File for a line per request, or -");
  command->add_option(
      "--trace", args->trace,
      "File for what happened to each request and when, with all texts: JSON lines");
  take_word<LogFormat>(
      command->add_option("--log-format", args->log_format, "text or json, of both logs"),
      {{"text", LogFormat::kText}, {"json", LogFormat::kJson}});
  args->routing.add_to(*command);
  command->add_flag("--quiet", args->quiet, "Log warnings and errors only");
  args->think.add_to(*command);
  args->sampling.add_to(*command);
  for (const char* name : {"--parse-special", "--seed"}) {  // requests say these themselves
    command->remove_option(command->get_option(name));
  }
  command->footer(
      "OpenAI's chat, completions and responses, Anthropic's messages, and a chat page at /.\n"
      "SIGTERM and Ctrl-C let running requests end; SIGHUP reads the keys again.\n"
      "Examples:\n"
      "  dsv4 serve -m models/mini\n"
      "  dsv4 serve -m models/mini --host 0.0.0.0 --api-keys keys.txt --cache-dir cache");
  command->callback([args] { serve(*args); });
}

}  // namespace dsv4::cli
