// An engine with the bundled model for tests, and an oracle for what it should say.
#pragma once

#include "base/error.h"
#include "base/rng.h"
#include "base/thread_pool.h"
#include "engine/engine.h"
#include "kernels/cpu/cpu_ops.h"
#include "model/gguf_tokenizer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

namespace dsv4 {

// What came of a choice.
struct Outcome {
  std::vector<int32_t> ids;
  std::string text;
  EndReason reason = EndReason::kError;
  std::string error;
  PromptUsage usage;  // of the request

  bool operator==(const Outcome& other) const {
    return ids == other.ids && text == other.text && reason == other.reason;
  }
};

inline std::ostream& operator<<(std::ostream& out, const Outcome& reply) {
  return out << reply.ids.size() << " ids, reason " << static_cast<int>(reply.reason) << " "
             << reply.error << ": " << reply.text;
}

// Reads a stream to its end.
inline std::vector<Outcome> read(EventStream& stream, int64_t n_choices = 1) {
  std::vector<Outcome> replies(static_cast<size_t>(n_choices));
  std::vector<StreamEvent> events;
  for (bool more = true; more;) {
    events.clear();
    more = stream.wait_and_take(events);
    for (const StreamEvent& event : events) {
      Outcome& reply = replies[static_cast<size_t>(event.choice)];
      reply.text += event.text;
      if (event.token) reply.ids.push_back(event.token->id);
      if (event.kind == StreamEvent::Kind::kStarted) reply.usage = event.usage;
      if (event.kind != StreamEvent::Kind::kEnd) continue;
      reply.reason = event.reason;
      reply.error = event.error;
    }
  }
  return replies;
}

class EngineTest : public testing::Test {
 protected:
  EngineTest()
      : pool_(2),
        ops_(make_cpu_ops(pool_)),
        model_(folder(), *ops_,
               {.numerics = Numerics::kFast, .max_batch_tokens = 64, .context = 1200}),
        tokenizer_(load_tokenizer(folder())),
        lone_pool_(1),
        lone_ops_(make_cpu_ops(lone_pool_)),
        lone_model_(folder(), *lone_ops_,
                    {.numerics = Numerics::kFast, .max_batch_tokens = 512, .context = 1200}) {}

  static std::string folder() { return std::string(DSV4_SOURCE_DIR) + "/models/mini"; }

  EngineOptions options(int64_t max_running = 8) const {
    return {.max_running = max_running, .max_requests = 100, .state_bytes = int64_t{1} << 28};
  }

  // Text of `n` words, the same for the same stream.
  std::vector<int32_t> prompt(uint64_t stream, int64_t n) const {
    std::vector<int32_t> ids;
    for (int64_t i = 0; i < n; ++i) {
      ids.push_back(static_cast<int32_t>(random_bits(3, stream, static_cast<uint64_t>(i)) %
                                         static_cast<uint64_t>(model_.config().vocab_size)));
    }
    return ids;
  }

  Request request(uint64_t stream, int64_t n_prompt, int64_t max_tokens = 24) const {
    Request result{.prompt = prompt(stream, n_prompt), .max_tokens = max_tokens};
    result.sampling = {.temperature = stream % 2 == 0 ? 0.0f : 1.5f, .seed = stream};
    result.sampling.n_logprobs = -1;
    result.stop_ids = {1};
    if (stream % 3 == 0) result.stop_strings = {"e"};
    return result;
  }

  // The oracle: the same request in a session of its own, with one thread and other chunks.
  Outcome alone(const Request& request, uint64_t choice = 0) {
    SequenceState state(lone_model_.state_layout());
    SamplingParams params = request.sampling;
    params.seed += choice;
    std::vector<int32_t> tokens = request.prompt;
    TokenCounts counts;
    TokenStream text(tokenizer_, SkipSpecial::kNo);
    StopStrings stops(request.stop_strings);
    Outcome outcome;
    outcome.reason = EndReason::kLength;
    while (std::ssize(outcome.ids) < request.max_tokens) {
      const SampledToken token =
          Sampler().sample(lone_logits(state, tokens), params, counts, std::ssize(tokens));
      tokens.push_back(token.id);
      outcome.ids.push_back(token.id);
      counts.add_reply(token.id);
      if (std::ranges::count(request.stop_ids, token.id) > 0) {
        outcome.reason = EndReason::kStopId;
        break;
      }
      outcome.text += stops.push(text.push(token.id));
      if (stops.stopped_by()) {
        outcome.reason = EndReason::kStopString;
        break;
      }
    }
    outcome.text += stops.push(text.finish());
    outcome.text += stops.finish();
    return outcome;
  }

  // Logits after the last token; computes those that the state lacks.
  std::vector<float> lone_logits(SequenceState& state, const std::vector<int32_t>& tokens) {
    Tensor<float, 2> logits({1, lone_model_.config().vocab_size});
    while (state.n_tokens() < std::ssize(tokens)) {
      const int64_t n = std::min<int64_t>(333, std::ssize(tokens) - state.n_tokens());
      Batch batch;
      batch.add(state, std::span(tokens).subspan(static_cast<size_t>(state.n_tokens()),
                                                 static_cast<size_t>(n)));
      lone_model_.logits(lone_model_.forward(batch).slice(n - 1, 1), logits.view());
    }
    const auto row = logits.view()[0].span();
    return {row.begin(), row.end()};
  }

  ThreadPool pool_;
  std::unique_ptr<Ops> ops_;
  Model model_;
  Tokenizer tokenizer_;
  ThreadPool lone_pool_;
  std::unique_ptr<Ops> lone_ops_;
  Model lone_model_;
};

}  // namespace dsv4
