#include "server/service_metrics.h"

#include <dirent.h>
#include <sys/resource.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <string>
#include <vector>

namespace dsv4 {
namespace {

const std::vector<double> kLatencies = {0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08,
                                        0.1,   0.25,  0.5,  0.75, 1,    2.5,  5,
                                        7.5,   10,    20,   40,   80,   160,  640};
const std::vector<double> kGaps = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1,
                                   0.15,  0.2,    0.3,   0.4,  0.5,   0.75, 1,     2.5};
const std::vector<double> kLengths = {1,    2,    5,    10,    20,    50,    100,    200,   500,
                                      1000, 2000, 5000, 10000, 20000, 50000, 100000, 500000};

// Something that the engine counts.
struct EngineMetric {
  const char* name;
  const char* help;
  double (*value)(const EngineStats& stats);
};

constexpr EngineMetric kEngineGauges[] = {
    {"dsv4_num_requests_running", "Sequences that are computed",
     [](const EngineStats& s) { return static_cast<double>(s.n_running); }},
    {"dsv4_num_requests_waiting", "Sequences that wait for a place",
     [](const EngineStats& s) { return static_cast<double>(s.n_waiting); }},
    {"dsv4_batch_tokens", "Tokens of the last step",
     [](const EngineStats& s) { return static_cast<double>(s.last_batch_tokens); }},
    {"dsv4_state_bytes", "Memory of sequences and the prefix cache",
     [](const EngineStats& s) { return static_cast<double>(s.state_bytes); }},
    {"dsv4_state_limit_bytes", "Memory set aside for them",
     [](const EngineStats& s) { return static_cast<double>(s.state_bytes_limit); }},
    {"dsv4_prefix_cache_entries", "States kept in memory",
     [](const EngineStats& s) { return static_cast<double>(s.cache.n_entries); }},
    {"dsv4_prefix_cache_bytes", "Memory that only kept states use",
     [](const EngineStats& s) { return static_cast<double>(s.cache.used_bytes); }},
    {"dsv4_disk_cache_bytes", "Files of the disk tier",
     [](const EngineStats& s) { return static_cast<double>(s.disk.used_bytes); }},
    {"dsv4_disk_cache_queued_bytes", "Bytes that wait to be written",
     [](const EngineStats& s) { return static_cast<double>(s.disk.queued_bytes); }},
};

constexpr EngineMetric kEngineCounters[] = {
    {"dsv4_requests_refused_total", "Requests that found the queue full",
     [](const EngineStats& s) { return static_cast<double>(s.n_refused); }},
    {"dsv4_requests_cancelled_total", "Sequences ended because the reader left",
     [](const EngineStats& s) { return static_cast<double>(s.n_cancelled); }},
    {"dsv4_num_preemptions_total", "Sequences that gave their memory to others",
     [](const EngineStats& s) { return static_cast<double>(s.n_preempted); }},
    {"dsv4_engine_steps_total", "Forward passes",
     [](const EngineStats& s) { return static_cast<double>(s.n_steps); }},
    {"dsv4_engine_step_seconds_total", "Time of all forward passes",
     [](const EngineStats& s) { return s.step_s; }},
    {"dsv4_prompt_tokens_computed_total", "Tokens of prompts that were computed",
     [](const EngineStats& s) { return static_cast<double>(s.n_prompt_tokens); }},
    {"dsv4_prompt_tokens_cached_total", "Tokens of prompts that the prefix cache had",
     [](const EngineStats& s) { return static_cast<double>(s.n_cached_tokens); }},
    {"dsv4_generation_tokens_total", "Tokens of replies",
     [](const EngineStats& s) { return static_cast<double>(s.n_reply_tokens); }},
    {"dsv4_expert_runs_total", "Experts whose weights were read, over all layers and steps",
     [](const EngineStats& s) { return static_cast<double>(s.expert_runs); }},
    {"dsv4_expert_cache_hits_total", "Experts that ran from memory (with --expert-memory)",
     [](const EngineStats& s) { return static_cast<double>(s.experts.n_hits); }},
    {"dsv4_expert_cache_misses_total", "Experts that were read before they ran",
     [](const EngineStats& s) { return static_cast<double>(s.experts.n_misses); }},
    {"dsv4_expert_cache_read_bytes_total", "Bytes of these",
     [](const EngineStats& s) { return static_cast<double>(s.experts.loaded_bytes); }},
    {"dsv4_prefix_cache_queries_total", "Prompts looked up",
     [](const EngineStats& s) { return static_cast<double>(s.cache.n_lookups); }},
    {"dsv4_prefix_cache_hits_total", "Prompts of which a prefix was found",
     [](const EngineStats& s) { return static_cast<double>(s.cache.n_hits); }},
    {"dsv4_prefix_cache_evictions_total", "States given up for memory",
     [](const EngineStats& s) { return static_cast<double>(s.cache.n_evicted); }},
    {"dsv4_disk_cache_loaded_total", "States read from files",
     [](const EngineStats& s) { return static_cast<double>(s.disk.n_loaded); }},
    {"dsv4_disk_cache_written_total", "Files written",
     [](const EngineStats& s) { return static_cast<double>(s.disk.n_written); }},
    {"dsv4_disk_cache_refused_total", "Damaged or foreign files that were not used",
     [](const EngineStats& s) { return static_cast<double>(s.disk.n_refused + s.disk.n_foreign); }},
    {"dsv4_disk_cache_failed_total", "Writes that the system refused or that found no room",
     [](const EngineStats& s) { return static_cast<double>(s.disk.n_failed + s.disk.n_dropped); }},
};

void register_engine(Metrics& metrics, const Engine& engine) {
  for (const EngineMetric& gauge : kEngineGauges) {
    metrics.gauge_of(gauge.name, gauge.help, {},
                     [&engine, value = gauge.value] { return value(engine.stats()); });
  }
  for (const EngineMetric& counter : kEngineCounters) {
    metrics.counter_of(counter.name, counter.help, {},
                       [&engine, value = counter.value] { return value(engine.stats()); });
  }
  for (size_t i = 0; i < EngineStats().cache.misses.size(); ++i) {
    metrics.counter_of(
        "dsv4_prefix_cache_misses_total", "Why not more of a prompt was found",
        {{"reason", i == 0 ? "none" : prefix_miss_name(static_cast<PrefixMiss>(i))}},
        [&engine, i] { return static_cast<double>(engine.stats().cache.misses[i]); });
  }
}

int64_t n_descriptors() {
  DIR* folder = ::opendir("/proc/self/fd");
  if (folder == nullptr) return 0;
  int64_t n = 0;
  while (::readdir(folder) != nullptr) ++n;
  ::closedir(folder);
  return n - 3;  // ".", ".." and the folder itself
}

}  // namespace

int64_t resident_bytes() {
  std::FILE* file = std::fopen("/proc/self/statm", "r");
  if (file == nullptr) return 0;
  long long size = 0;
  long long resident = 0;
  const bool read = std::fscanf(file, "%lld %lld", &size, &resident) == 2;
  std::fclose(file);
  return read ? resident * ::sysconf(_SC_PAGESIZE) : 0;
}

namespace {

double cpu_seconds() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) * 1e-6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

}  // namespace

ServiceMetrics::ServiceMetrics(Metrics& metrics, const Engine& engine)
    : first_token_s(metrics.histogram("dsv4_time_to_first_token_seconds",
                                      "From the arrival of a request to its first token",
                                      kLatencies)),
      inter_token_s(metrics.histogram("dsv4_inter_token_latency_seconds",
                                      "Between two tokens of a reply", kGaps)),
      request_s(metrics.histogram("dsv4_e2e_request_latency_seconds",
                                  "From the arrival of a request to the end of its reply",
                                  kLatencies)),
      queue_s(metrics.histogram("dsv4_request_queue_time_seconds",
                                "From submission to the first step", kLatencies)),
      prompt_tokens(
          metrics.histogram("dsv4_request_prompt_tokens", "Tokens of a prompt", kLengths)),
      reply_tokens(
          metrics.histogram("dsv4_request_generation_tokens", "Tokens of a reply", kLengths)),
      replayed_messages(metrics.counter("dsv4_replayed_messages_total",
                                        "Messages of prompts whose sampled tokens were put back")),
      metrics_(metrics) {
  register_engine(metrics, engine);
}

void ServiceMetrics::count_end(std::string_view reason) {
  metrics_
      .counter("dsv4_request_success_total", "Replies by the reason of their end",
               {{"finished_reason", std::string(reason)}})
      .add();
}

void ServiceMetrics::count_tokens(std::string_view key_name, int64_t n_prompt, int64_t n_cached,
                                  int64_t n_reply) {
  const std::string key(key_name);
  const auto count = [&](const char* kind, int64_t n) {
    metrics_
        .counter("dsv4_key_tokens_total", "Tokens by API key and kind",
                 {{"key", key}, {"kind", kind}})
        .add(static_cast<uint64_t>(n));
  };
  count("prompt", n_prompt);
  count("cached", n_cached);
  count("generation", n_reply);
}

void ServiceMetrics::count_status(std::string_view route, int status) {
  metrics_
      .counter("dsv4_responses_total", "Answers by route and status",
               {{"route", std::string(route)}, {"status", std::to_string(status)}})
      .add();
}

void register_process_metrics(Metrics& metrics) {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  const double started = std::chrono::duration<double>(now).count();
  metrics.gauge_of("process_start_time_seconds", "When the process began, since 1970", {},
                   [started] { return started; });
  metrics.gauge_of("process_resident_memory_bytes", "Resident memory", {},
                   [] { return static_cast<double>(resident_bytes()); });
  metrics.gauge_of("process_open_fds", "Open files and sockets", {},
                   [] { return static_cast<double>(n_descriptors()); });
  metrics.counter_of("process_cpu_seconds_total", "Time on processors", {}, cpu_seconds);
}

}  // namespace dsv4
