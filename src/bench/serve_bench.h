// A load on a running server, and what its clients saw.
#pragma once

#include "bench/http_client.h"
#include "bench/serve_load.h"

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

namespace dsv4 {

struct ServeTarget {
  HttpAddress address;
  std::string api_key = {};
  double idle_s = 120;  // most seconds without a byte
};

// When conversations begin: at the times of the trace if it has some, else at `rate` a second with
// exponentially distributed distances, whatever the server does (open loop), else always
// `concurrency` at once (closed loop).
struct ServeSchedule {
  double rate = 0;
  int64_t concurrency = 1;
  int64_t n_conversations = 0;  // 0: as many as the duration gives
  double duration_s = 0;        // no turn begins later; 0: no limit
};

// One request. Times are in seconds; latencies count from `start_s`, when it was due.
struct TurnResult {
  int64_t conversation = 0;
  int64_t turn = 0;
  double start_s = 0;  // from the beginning of the run
  double first_s = 0;  // latency of the first part of the reply
  double total_s = 0;
  std::vector<float> gaps_s = {};  // between parts of the reply
  ChatUsage usage = {};
  int64_t reusable = 0;      // prompt tokens that the turn before had in prompt or reply
  std::string finish = {};   // the reason that the server gave
  std::string failure = {};  // what kind, "" for a whole reply
  std::string message = {};  // of the failure
};

// A sorted sample. Quantiles lie between two values where q does.
class Distribution {
 public:
  explicit Distribution(std::vector<float> values);

  size_t size() const { return values_.size(); }
  double quantile(double q) const;  // 0 of nothing
  double mean() const;
  const std::vector<float>& sorted() const { return values_; }

 private:
  std::vector<float> values_;
};

struct ServeReport {
  int64_t n_requests = 0;
  int64_t n_failed = 0;
  std::map<std::string, int64_t> failures = {};           // by kind
  std::map<std::string, std::string> first_message = {};  // of each kind
  std::map<std::string, int64_t> finishes = {};
  double seconds = 0;  // from the first request to the last byte
  ChatUsage usage = {};
  int64_t reusable = 0;         // prompt tokens of later turns that were there before
  int64_t reusable_cached = 0;  // of these, taken from the cache
  Distribution first{{}};
  Distribution between{{}};
  Distribution total{{}};
};

ServeReport summarize(const std::vector<TurnResult>& results);

// Puts the load on the server until the schedule is through or stopped() is true, which is asked
// ten times a second; requests that run then are cancelled and not among the results. Calls
// on_result for each request that ended.
std::vector<TurnResult> run_serve_bench(const ServeTarget& target, const ServeLoad& load,
                                        const ServeSchedule& schedule,
                                        const std::function<bool()>& stopped,
                                        const std::function<void(const TurnResult&)>& on_result);

// The name of the server's first model. Throws Error(kIo or kInvalidInput).
std::string first_model(const ServeTarget& target);

}  // namespace dsv4
