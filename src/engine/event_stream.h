// The replies to one request on their way from the step thread to whoever reads them.
#pragma once

#include "engine/sampler.h"

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

namespace dsv4 {

enum class EndReason {
  kStopId,      // a stop id came
  kStopString,  // a stop string came
  kLength,      // max_tokens or the context is used up
  kCancelled,   // by the reader
  kDeadline,    // the request's time is over
  kError,       // StreamEvent::error says what
};

// Where the tokens of a prompt came from.
struct PromptUsage {
  int64_t n_prompt = 0;
  int64_t n_done = 0;         // computed or cached so far
  int64_t n_cached = 0;       // not computed: taken from the prefix cache
  int64_t n_cached_disk = 0;  // of n_cached: from its disk tier
  const char* miss = "";      // why not more were cached (PrefixCache), "" if all that could be
  double queued_s = 0;        // from submission to the first step
  double prefill_s = 0;       // from the first step to the first token
};

struct StreamEvent {
  enum class Kind {
    kStarted,   // admitted; `usage` without times
    kProgress,  // a piece of the prompt is computed; likewise
    kPrompt,    // the prompt is computed; `usage` complete
    kToken,     // `token` and `text`, the text that became certain with it (may be empty)
    kEnd,       // of choice `choice`: `reason`; `text` that was held back
  };
  Kind kind = Kind::kToken;
  int64_t choice = 0;
  std::optional<SampledToken> token = {};
  std::string text = {};
  EndReason reason = EndReason::kStopId;
  std::string stop_string = {};  // of kStopString: the one that came
  PromptUsage usage = {};
  std::string error = {};
};

// One producer (the step thread), one reader; cancel() from any thread.
class EventStream {
 public:
  // `notify` is called by the step thread after events have been added, and must not block or
  // throw. It is not called again before take() has been.
  explicit EventStream(std::function<void()> notify) : notify_(std::move(notify)) {}

  // Moves the events that have arrived to the end of `events`. Returns false once the last event of
  // the last choice has been taken. Never waits.
  bool take(std::vector<StreamEvent>& events);
  // The same, but waits until there is something.
  bool wait_and_take(std::vector<StreamEvent>& events);

  // The reader is gone: the engine stops computing for it within one step.
  void cancel() { cancelled_.store(true, std::memory_order_relaxed); }
  bool cancelled() const { return cancelled_.load(std::memory_order_relaxed); }

  // For the step thread.
  void push(StreamEvent event);
  void close();

 private:
  std::mutex mutex_;
  std::condition_variable arrived_;
  std::vector<StreamEvent> events_;
  bool notified_ = false;
  bool closed_ = false;
  std::atomic<bool> cancelled_ = false;
  std::function<void()> notify_;
};

}  // namespace dsv4
