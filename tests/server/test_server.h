// A whole server in this process, with the bundled model, and clients that ask it many things at
// once.
#pragma once

#include "base/log.h"
#include "base/thread_pool.h"
#include "bench/http_client.h"
#include "bench/http_response.h"
#include "engine/engine.h"
#include "kernels/cpu/cpu_ops.h"
#include "model/gguf_tokenizer.h"
#include "model/model.h"
#include "server/http.h"
#include "server/service.h"

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>
#include <vector>

namespace dsv4 {

// Tests do more of the same with DSV4_TEST_ALL (make test-all).
inline bool test_all() { return std::getenv("DSV4_TEST_ALL") != nullptr; }

struct TestServerSetup {
  int n_threads = 2;
  int64_t chunk = 128;
  int64_t max_running = 64;
  int64_t state_bytes = int64_t{1} << 28;
  std::filesystem::path cache_folder = {};  // "" for memory only
  HttpLimits limits = {};
  int n_workers = 2;
  std::filesystem::path api_keys = {};    // "": none are needed
  std::filesystem::path access_log = {};  // JSON lines; "": none
};

class TestServer {
 public:
  using Setup = TestServerSetup;

  explicit TestServer(const Setup& setup = {})
      : log_(LogLevel::kError),
        pool_(setup.n_threads),
        ops_(make_cpu_ops(pool_)),
        model_(folder(), *ops_, {.numerics = Numerics::kFast, .max_batch_tokens = setup.chunk}),
        tokenizer_(load_tokenizer(folder())),
        engine_(model_, tokenizer_, engine_options(setup)),
        keys_(setup.api_keys.empty() ? nullptr : std::make_unique<ApiKeys>(setup.api_keys, log_)),
        access_log_(setup.access_log.empty()
                        ? nullptr
                        : std::make_unique<AccessLog>(setup.access_log, LogFormat::kJson)),
        service_(engine_, tokenizer_, service_options(setup), metrics_, log_, keys_.get(),
                 access_log_.get(), nullptr),
        http_(http_options(setup), [this](HttpRequest request, std::shared_ptr<Responder> to) {
          service_.handle(std::move(request), std::move(to));
        }) {}
  ~TestServer() { stop(); }

  void stop() {
    service_.begin_drain();
    http_.drain(std::chrono::seconds(0));
    service_.stop();
    engine_.stop();
  }

  HttpAddress address() const { return parse_http_address(http_.url()); }
  int port() const { return http_.port(); }
  HttpCounters counters() const { return http_.counters(); }
  const Engine& engine() const { return engine_; }
  const Model& model() const { return model_; }

 private:
  static std::string folder() { return std::string(DSV4_SOURCE_DIR) + "/models/mini"; }

  static EngineOptions engine_options(const Setup& setup) {
    EngineOptions options{.max_running = setup.max_running, .max_requests = 20'000};
    options.state_bytes = setup.state_bytes;
    options.cache.budget_bytes = setup.state_bytes;
    if (setup.cache_folder.empty()) return options;
    options.disk.emplace();
    options.disk->folder = setup.cache_folder;
    return options;
  }

  static ServiceOptions service_options(const Setup& setup) {
    ServiceOptions options;
    if (!setup.cache_folder.empty()) options.replay_file = setup.cache_folder / "replies";
    options.seed = 7;
    options.n_workers = setup.n_workers;
    options.api.models = {"mini"};
    options.api.vocab_size = 1 << 20;
    return options;
  }

  HttpOptions http_options(const Setup& setup) {
    HttpOptions options;
    options.port = 0;
    options.limits = setup.limits;
    options.shape_problem = Service::shape_problem;
    return options;
  }

  Log log_;
  Metrics metrics_;
  ThreadPool pool_;
  std::unique_ptr<Ops> ops_;
  Model model_;
  Tokenizer tokenizer_;
  Engine engine_;
  std::unique_ptr<ApiKeys> keys_;
  std::unique_ptr<AccessLog> access_log_;
  Service service_;
  HttpServer http_;
};

// Within ten seconds.
template <typename Condition>
bool becomes_true(const Condition& condition) {
  for (int i = 0; i < 2000; ++i) {
    if (condition()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return false;
}

// A request as it is sent.
inline std::string post(const std::string& path, const std::string& body,
                        const std::string& headers = "") {
  return fmt::format(
      "POST {} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
      "Content-Length: {}\r\n{}\r\n{}",
      path, body.size(), headers, body);
}

// An answer as a client has it.
struct Answer {
  int status = 0;  // 0: the connection broke
  std::string body;

  Json json() const { return Json::parse(body, "answer"); }
};

// Something to ask, `at_s` after the beginning.
struct Question {
  std::string path = "/v1/chat/completions";
  std::string body;
  double at_s = 0;
};

// All answers, of requests on connections of their own.
inline std::vector<Answer> ask(const HttpAddress& address, const std::vector<Question>& questions) {
  using Clock = HttpClient::Clock;
  HttpClient client(address, 120);
  std::vector<Answer> answers(questions.size());
  std::vector<size_t> order(questions.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::ranges::stable_sort(order, {}, [&](size_t i) { return questions[i].at_s; });
  const Clock::time_point begin = Clock::now();
  const auto elapsed_s = [&] {
    return std::chrono::duration<double>(Clock::now() - begin).count();
  };
  size_t n_begun = 0;
  while (n_begun < order.size() || client.n_open() > 0) {
    while (n_begun < order.size() && questions[order[n_begun]].at_s <= elapsed_s()) {
      const Question& question = questions[order[n_begun]];
      Answer& answer = answers[order[n_begun++]];
      client.start(
          {.path = question.path, .body = question.body},
          [&answer](const HttpResponse&, std::string_view bytes) { answer.body += bytes; },
          [&answer](const HttpEnd& end) {
            if (end.kind == HttpEnd::Kind::kComplete) answer.status = end.status;
          });
    }
    client.run_once(Clock::now() + std::chrono::milliseconds(5));
  }
  return answers;
}

inline Answer ask(const HttpAddress& address, const std::string& path, const Json& body) {
  return ask(address, {{.path = path, .body = body.print()}})[0];
}

}  // namespace dsv4
