// The engine: requests in, tokens out. One thread, the step thread, owns the model's state and the
// prefix cache; everybody else talks to it through a queue of requests and their event streams.
#pragma once

#include "cache/disk_store.h"
#include "cache/prefix_cache.h"
#include "engine/event_stream.h"
#include "engine/request.h"
#include "engine/scheduler.h"
#include "engine/sequence.h"
#include "model/model.h"
#include "text/tokenizer.h"

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

namespace dsv4 {

struct EngineOptions {
  int64_t max_running = 64;     // sequences at once
  int64_t max_requests = 2048;  // running and waiting; more are refused
  // Memory for the states of sequences and the prefix cache. At least what one sequence of the
  // model's context takes.
  int64_t state_bytes = int64_t{1} << 30;
  PrefixCacheOptions cache = {};
  std::optional<DiskStoreOptions> disk = {};  // of the cache; nothing: memory only
};

// A copy of the engine's counters. Totals since the start unless said otherwise.
struct EngineStats {
  int64_t n_running = 0;  // now
  int64_t n_waiting = 0;  // now
  int64_t n_requests = 0;
  int64_t n_refused = 0;
  int64_t n_cancelled = 0;
  int64_t n_preempted = 0;
  int64_t n_steps = 0;
  int64_t n_prompt_tokens = 0;  // computed
  int64_t n_cached_tokens = 0;  // of prompts, not computed
  int64_t n_reply_tokens = 0;
  double step_s = 0;
  int64_t last_batch_tokens = 0;
  int64_t state_bytes = 0;  // now, of running sequences and the cache
  int64_t state_bytes_limit = 0;
  int64_t expert_runs = 0;
  ExpertCacheStats experts = {};  // without a limit of expert_memory all zero
  PrefixCacheStats cache = {};
  DiskStoreStats disk = {};
};

// Thread-safe except for construction and destruction. The model and the tokenizer must outlive it,
// and belong to it while it lives.
class Engine {
 public:
  Engine(Model& model, const Tokenizer& tokenizer, const EngineOptions& options);
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  enum class Refusal { kNone, kQueueFull, kStopping };
  struct Submission {
    std::shared_ptr<EventStream> stream;  // null if refused
    Refusal refusal = Refusal::kNone;
  };
  // Puts the request in the queue. `notify`: see EventStream. Throws Error(kInvalidInput or
  // kOutOfRange) naming the field for a request that can never run.
  Submission submit(Request request, std::function<void()> notify = {});

  // Most tokens of prompt and reply.
  int64_t context() const { return model_.state_layout().max_tokens; }
  EngineStats stats() const;

  // Refuses new requests from now on.
  void refuse_new() { stopping_.store(true); }
  // Ends what runs, writes the cache to its disk tier, joins the step thread. Streams of unfinished
  // requests end as cancelled.
  void stop();

 private:
  // A sequence that has state in memory.
  struct Live;
  struct Ticket {
    std::shared_ptr<const Request> request;
    std::shared_ptr<EventStream> stream;
    std::chrono::steady_clock::time_point submitted;
  };

  void check(const Request& request) const;
  void check_ids(std::span<const int32_t> ids, const char* name) const;
  int64_t bytes_for(int64_t n_tokens) const;

  // Of the step thread.
  void run();
  bool wait_for_work();
  void step();
  void accept(Ticket ticket);
  void drop_gone();
  int64_t bytes_in_use() const;
  int64_t bytes_to_come() const;
  bool make_room(int64_t n_bytes, size_t n_spare);
  void start_waiting();
  bool follows_another(SequenceId id);
  bool start_or_end(SequenceId id);
  bool start(SequenceId id);
  void suspend(SequenceId id);
  const std::vector<Scheduler::Share>& plan_within_memory();
  int64_t next_stop(const Live& live) const;
  void compute(const std::vector<Scheduler::Share>& shares);
  void advance(SequenceId id, int64_t n_tokens, std::span<const float> logits);
  bool extend(Sequence& sequence, std::span<const float> logits);
  void keep_on_the_way(const Live& live);
  void keep_at(const Live& live, int64_t position);
  void keep(const Live& live, CheckpointKind kind);
  void report_prompt(Live& live);
  void release_followers(Live& live);
  void release_behind(Live& live);
  void release_state(Live& live);
  void finish(SequenceId id);
  void close(EventStream& stream);
  void fail(const std::vector<Scheduler::Share>& shares, const std::string& error);
  void publish();

  Model& model_;
  const Tokenizer& tokenizer_;
  EngineOptions options_;

  mutable std::mutex mutex_;  // of the next five
  std::condition_variable work_;
  std::vector<Ticket> queue_;
  int64_t n_present_ = 0;  // requests that have not ended
  EngineStats stats_;
  bool joining_ = false;
  std::atomic<bool> stopping_{false};

  // Of the step thread.
  Scheduler scheduler_;
  std::shared_ptr<PagePool> pool_;
  PrefixCache cache_;
  int64_t ring_bytes_;  // of a state without pages
  std::unordered_map<SequenceId, std::unique_ptr<Live>> live_;
  std::vector<std::unique_ptr<SequenceState>> spare_states_;
  std::vector<std::pair<SequenceId, EndReason>> gone_;
  std::vector<SequenceId> passed_;
  std::vector<Ticket> tickets_;
  SequenceId last_id_ = 0;
  Batch batch_;
  Tensor<float, 3> last_streams_;  // [rows, hc, d] of last tokens
  Tensor<float, 2> logits_;        // [rows, V]
  SamplingScratch scratch_;
  EngineStats counts_;

  std::thread thread_;
};

}  // namespace dsv4
