// The server's metrics, named as those of other servers of language models are.
#pragma once

#include "engine/engine.h"
#include "server/metrics.h"

#include <string_view>

namespace dsv4 {

// Those that are counted as things happen. From any thread.
class ServiceMetrics {
 public:
  // Registers all of them, and what is asked of the engine when they are printed.
  ServiceMetrics(Metrics& metrics, const Engine& engine);

  Histogram& first_token_s;    // from a request's arrival to its first token
  Histogram& inter_token_s;    // between tokens of a reply
  Histogram& request_s;        // from arrival to the last byte
  Histogram& queue_s;          // from submission to the first step
  Histogram& prompt_tokens;    // of a request
  Histogram& reply_tokens;     // of a request
  Counter& replayed_messages;  // of prompts, whose sampled tokens were put back

  // Of finished replies by reason, of requests by key, of errors by status.
  void count_end(std::string_view reason);
  void count_tokens(std::string_view key_name, int64_t n_prompt, int64_t n_cached, int64_t n_reply);
  void count_status(std::string_view route, int status);

 private:
  Metrics& metrics_;
};

// Memory of this process.
int64_t resident_bytes();

// What the system knows of the process.
void register_process_metrics(Metrics& metrics);

}  // namespace dsv4
