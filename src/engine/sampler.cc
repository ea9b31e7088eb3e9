#include "engine/sampler.h"

#include "base/error.h"
#include "base/rng.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include <fmt/core.h>

namespace dsv4 {
namespace {

constexpr uint64_t kSamplingStream = 1;

// A NaN logit (a broken model) never wins.
float comparable(float logit) {
  return std::isnan(logit) ? -std::numeric_limits<float>::infinity() : logit;
}

bool more_probable(const TokenLogprob& a, const TokenLogprob& b) {
  return a.logprob != b.logprob ? a.logprob > b.logprob : a.id < b.id;
}

// The lowest id of the largest logit.
int32_t argmax(std::span<const float> logits) {
  size_t best = 0;
  for (size_t i = 1; i < logits.size(); ++i) {
    if (comparable(logits[i]) > comparable(logits[best])) best = i;
  }
  return static_cast<int32_t>(best);
}

// All tokens with their log-probabilities.
void log_softmax(std::span<const float> logits, std::vector<TokenLogprob>& tokens) {
  double largest = -std::numeric_limits<double>::infinity();
  for (const float logit : logits) largest = std::max(largest, double{comparable(logit)});
  double sum = 0;
  for (const float logit : logits) sum += std::exp(comparable(logit) - largest);
  const double log_sum = std::isfinite(largest) ? largest + std::log(sum) : 0;
  tokens.resize(logits.size());
  for (size_t i = 0; i < logits.size(); ++i) {
    tokens[i] = {static_cast<int32_t>(i), static_cast<float>(comparable(logits[i]) - log_sum)};
  }
}

bool may_come(std::span<const uint64_t> allowed, int32_t id) {
  const auto i = static_cast<size_t>(id);
  return (allowed[i / 64] >> (i % 64) & 1) != 0;
}

void forbid_others(std::span<const uint64_t> allowed, std::vector<float>& logits) {
  for (size_t i = 0; i < logits.size(); ++i) {
    if (may_come(allowed, static_cast<int32_t>(i))) continue;
    logits[i] = -std::numeric_limits<float>::infinity();
  }
}

int32_t first_of(std::span<const uint64_t> allowed, size_t n_tokens) {
  size_t word = 0;
  while (word < allowed.size() && allowed[word] == 0) ++word;
  const size_t id =
      word < allowed.size() ? word * 64 + static_cast<size_t>(std::countr_zero(allowed[word])) : 0;
  if (word == allowed.size() || id >= n_tokens) {
    throw Error(ErrorCode::kInvalidInput, "constraint", "allows no token of the vocabulary");
  }
  return static_cast<int32_t>(id);
}

void apply_penalties(const SamplingParams& params, const TokenCounts& counts,
                     std::vector<float>& logits) {
  if (!params.has_penalties()) return;
  for (const auto& [id, count] : counts.counts()) {
    float& logit = logits[static_cast<size_t>(id)];
    logit = logit > 0 ? logit / params.repetition_penalty : logit * params.repetition_penalty;
    if (count.reply == 0) continue;
    logit -= params.presence_penalty;
    logit -= params.frequency_penalty * static_cast<float>(count.reply);
  }
}

// Brings the `n` most probable tokens to the front, in order.
void sort_front(std::vector<TokenLogprob>& tokens, size_t n) {
  const auto middle = tokens.begin() + static_cast<int64_t>(n);
  if (n < tokens.size()) std::ranges::nth_element(tokens, middle, more_probable);
  std::sort(tokens.begin(), middle, more_probable);
}

double probability(const TokenLogprob& token) { return std::exp(double{token.logprob}); }

// Keeps the most probable tokens by top_k, top_p and min_p, best first. Of a large vocabulary
// mostly few are kept, so that only as many are put in order as are looked at.
void truncate(const SamplingParams& params, std::vector<TokenLogprob>& tokens) {
  if (params.top_k > 0 && static_cast<size_t>(params.top_k) < tokens.size()) {
    sort_front(tokens, static_cast<size_t>(params.top_k));
    tokens.resize(static_cast<size_t>(params.top_k));
  }
  double total = 0;
  for (const TokenLogprob& token : tokens) total += probability(token);
  const double enough = double{params.top_p} * total;
  size_t n_sorted = std::min<size_t>(tokens.size(), 256);
  sort_front(tokens, n_sorted);
  const double floor = std::log(std::max(params.min_p, 0.0f)) + tokens.front().logprob;
  double mass = 0;
  size_t kept = 0;
  while (kept < tokens.size()) {
    if (kept == n_sorted) sort_front(tokens, n_sorted = std::min(tokens.size(), 4 * n_sorted));
    const bool wanted = kept == 0 || (mass < enough && tokens[kept].logprob >= floor);
    if (!wanted) break;
    mass += probability(tokens[kept++]);
  }
  if (params.top_p < 1 || params.min_p > 0) tokens.resize(kept);
}

int32_t draw(const std::vector<TokenLogprob>& tokens, uint64_t seed, int64_t position) {
  double total = 0;
  for (const TokenLogprob& token : tokens) total += std::exp(double{token.logprob});
  double left = random_uniform(seed, kSamplingStream, static_cast<uint64_t>(position)) * total;
  int32_t last_possible = tokens.front().id;
  for (const TokenLogprob& token : tokens) {
    const double probability = std::exp(double{token.logprob});
    if (probability > 0) last_possible = token.id;
    left -= probability;
    if (left < 0) break;
  }
  return last_possible;  // of the last one where the sum was rounded
}

void require(bool condition, const char* name, double value, const char* range) {
  if (condition) return;
  throw Error(ErrorCode::kInvalidInput, name, fmt::format("{} is not {}", value, range));
}

}  // namespace

void SamplingParams::validate() const {
  require(temperature >= 0 && temperature <= 100, "temperature", temperature, "in 0..100");
  require(top_k >= 0, "top_k", static_cast<double>(top_k), "0 or more");
  require(top_p > 0 && top_p <= 1, "top_p", top_p, "in (0, 1]");
  require(min_p >= 0 && min_p <= 1, "min_p", min_p, "in [0, 1]");
  require(repetition_penalty > 0 && repetition_penalty <= 100, "repetition_penalty",
          repetition_penalty, "in (0, 100]");
  require(std::fabs(frequency_penalty) <= 100, "frequency_penalty", frequency_penalty,
          "in -100..100");
  require(std::fabs(presence_penalty) <= 100, "presence_penalty", presence_penalty, "in -100..100");
}

void TokenCounts::add_prompt(std::span<const int32_t> ids) {
  for (const int32_t id : ids) ++counts_[id].prompt;
}

SampledToken Sampler::sample(std::span<const float> logits, const SamplingParams& params,
                             const TokenCounts& counts, int64_t position,
                             std::span<const uint64_t> allowed) {
  adjusted_.assign(logits.begin(), logits.end());
  for (const auto& [id, bias] : params.logit_bias) {
    if (id >= 0 && static_cast<size_t>(id) < adjusted_.size()) {
      adjusted_[static_cast<size_t>(id)] += bias;
    }
  }
  apply_penalties(params, counts, adjusted_);
  if (!allowed.empty()) forbid_others(allowed, adjusted_);

  SampledToken result;
  if (params.temperature == 0) {
    result.id = argmax(adjusted_);
  } else {
    for (float& logit : adjusted_) logit /= params.temperature;
    log_softmax(adjusted_, tokens_);
    const bool all = params.top_k == 0 && params.top_p >= 1 && params.min_p <= 0;
    if (!all) {
      truncate(params, tokens_);
    }
    result.id = draw(tokens_, params.seed, position);
  }
  // Where the logits are no numbers, none is larger than those of the others.
  if (!allowed.empty() && !may_come(allowed, result.id)) {
    result.id = first_of(allowed, logits.size());
  }

  if (params.n_logprobs < 0) return result;
  log_softmax(logits, tokens_);
  result.logprob = tokens_[static_cast<size_t>(result.id)].logprob;
  const auto n_top = std::min(static_cast<size_t>(params.n_logprobs), tokens_.size());
  std::ranges::partial_sort(tokens_, tokens_.begin() + static_cast<int64_t>(n_top), more_probable);
  result.top.assign(tokens_.begin(), tokens_.begin() + static_cast<int64_t>(n_top));
  return result;
}

}  // namespace dsv4
