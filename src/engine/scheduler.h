// Who runs next: an order of the waiting requests and a plan for each step. Knows sequences by
// number and tokens by count; no tensors, no clock.
//
// Fairness (docs/serving.md): every tenant has a counter of the work done for it, and the one with
// the least goes first, so that nobody's long prompt keeps others waiting. A tenant that comes back
// begins at the least counter of those who are there: idle time saves nothing up.
#pragma once

#include <cstdint>
#include <iterator>
#include <map>
#include <span>
#include <string>
#include <vector>

namespace dsv4 {

using SequenceId = uint64_t;

struct SchedulerLimits {
  int64_t max_running = 64;        // sequences
  int64_t max_batch_tokens = 512;  // of a step
};

// Used by one thread at a time.
class Scheduler {
 public:
  explicit Scheduler(SchedulerLimits limits) : limits_(limits) {}

  // A sequence that wants to run; ids rise with arrival.
  void add(SequenceId id, const std::string& tenant, int priority);
  // It is running from now on, with `n_pending` tokens to compute before its next token.
  void start(SequenceId id, int64_t n_pending);
  // It lost its state and waits again, before those who came later.
  void suspend(SequenceId id);
  // It waits for something else, and is not started before release().
  void hold(SequenceId id);
  void release(SequenceId id);
  void remove(SequenceId id);

  // The next to start: highest priority, then least served tenant, then first come, without those
  // in `passed`. 0 if nobody waits or all places are taken.
  SequenceId next_waiting(std::span<const SequenceId> passed = {}) const;
  // The running sequence to suspend when memory is short: lowest priority, then most served tenant,
  // then last come.
  SequenceId next_victim() const;

  struct Share {
    SequenceId id = 0;
    int64_t n_tokens = 0;
  };
  // The next step: one token of each sequence whose prompt is computed, as many as fit beside a
  // quarter of the step for prompts; the rest of the step for prompts, of which the shortest goes
  // first and the oldest has a part of its own. A prompt's share may be cut by the caller.
  const std::vector<Share>& plan();
  // `n_tokens` of the sequence were computed and `n_pending` are to be computed next.
  void commit(SequenceId id, int64_t n_tokens, int64_t n_pending);

  int64_t n_running() const { return static_cast<int64_t>(running_.size()); }
  int64_t n_waiting() const { return std::ssize(waiting_) + std::ssize(held_); }

 private:
  struct Tenant {
    double served = 0;
    int64_t n_present = 0;  // sequences waiting and running
  };
  struct Entry {
    SequenceId id = 0;
    Tenant* tenant = nullptr;
    std::string name;
    int priority = 0;
    int64_t n_pending = 0;
    bool decoding = false;
  };
  using Entries = std::map<SequenceId, Entry>;

  bool has_place() const { return n_running() < limits_.max_running; }
  Tenant& enter(const std::string& name);
  void plan_decoding(int64_t budget);
  void plan_prompts(int64_t budget);
  void give(Entry& entry, int64_t n_tokens);
  bool goes_before(const Entry& a, const Entry& b) const;

  SchedulerLimits limits_;
  std::map<std::string, Tenant> tenants_;
  Entries waiting_;
  Entries held_;
  Entries running_;
  std::vector<Share> shares_;
  std::vector<Entry*> prompts_;
  SequenceId last_decoded_ = 0;  // where the turn of decoding stopped
  bool prompts_turn_ = false;    // of steps of one token
};

}  // namespace dsv4
