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

bool more_probable(const TokenLogprob& a, const TokenLogprob& b) {
  return a.logprob != b.logprob ? a.logprob > b.logprob : a.id < b.id;
}

// The lowest id of the largest logit.
int32_t argmax(std::span<const float> logits) {
  const auto best = std::ranges::find(logits, largest_of(logits));
  return best == logits.end() ? 0 : static_cast<int32_t>(best - logits.begin());
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

// The most probable tokens, among them all that truncation keeps: of a large vocabulary mostly few
// are to be put in order.
void collect(const SamplingParams& params, std::span<const float> logits, const Softmax& softmax,
             std::vector<TokenLogprob>& tokens) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  for (const float distance : {8.0f, 16.0f, kInfinity}) {
    const float least = std::isfinite(softmax.largest) ? softmax.largest - distance : -kInfinity;
    double mass = 0;
    tokens.clear();
    for (size_t i = 0; i < logits.size(); ++i) {
      if (logits[i] < least) continue;
      tokens.push_back({static_cast<int32_t>(i), softmax.logprob(logits[i])});
      mass += softmax.weights[i];
    }
    const bool below_floor = params.min_p > 0 && std::exp(-distance) < params.min_p;
    const bool enough = params.top_k > 0  // whose sum top_p is a part of
                            ? std::ssize(tokens) >= params.top_k
                            : below_floor || mass >= double{params.top_p} * softmax.total;
    if (enough) return;
  }
}

double probability(const TokenLogprob& token) { return std::exp(double{token.logprob}); }

// Keeps the most probable tokens by top_k, top_p and min_p, best first.
void truncate(const SamplingParams& params, std::vector<TokenLogprob>& tokens) {
  double total = 1;
  if (params.top_k > 0) {
    const size_t n = std::min(static_cast<size_t>(params.top_k), tokens.size());
    sort_front(tokens, n);
    tokens.resize(n);
    total = 0;
    for (const TokenLogprob& token : tokens) total += probability(token);
  }
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

// The index where the sum of weight(i) over [0, n) first exceeds a random part of the total.
template <typename Weight>
size_t draw(size_t n, double total, const Weight& weight, double random) {
  double left = random * total;
  size_t last_possible = 0;
  for (size_t i = 0; i < n; ++i) {
    const double part = weight(i);
    if (part > 0) last_possible = i;
    left -= part;
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

// The logits with biases, penalties, the constraint and the temperature, if there is any of these.
std::span<const float> Sampler::adjust(std::span<const float> logits, const SamplingParams& params,
                                       const TokenCounts& counts,
                                       std::span<const uint64_t> allowed) {
  const bool scaled = params.temperature != 0 && params.temperature != 1;
  if (params.logit_bias.empty() && !params.has_penalties() && allowed.empty() && !scaled) {
    return logits;
  }
  adjusted_.assign(logits.begin(), logits.end());
  for (const auto& [id, bias] : params.logit_bias) {
    if (id >= 0 && static_cast<size_t>(id) < adjusted_.size()) {
      adjusted_[static_cast<size_t>(id)] += bias;
    }
  }
  apply_penalties(params, counts, adjusted_);
  if (!allowed.empty()) forbid_others(allowed, adjusted_);
  if (scaled) {
    for (float& logit : adjusted_) logit /= params.temperature;
  }
  return adjusted_;
}

// One of the tokens that truncation leaves.
int32_t Sampler::draw_token(std::span<const float> logits, const SamplingParams& params,
                            double random) {
  const std::vector<float>& weights = softmax_.weights;
  if (params.top_k == 0 && params.top_p >= 1 && params.min_p <= 0) {
    const auto weight = [&](size_t i) { return double{weights[i]}; };
    return static_cast<int32_t>(draw(weights.size(), softmax_.total, weight, random));
  }
  collect(params, logits, softmax_, tokens_);
  truncate(params, tokens_);
  double total = 0;
  for (const TokenLogprob& token : tokens_) total += probability(token);
  const auto weight = [&](size_t i) { return probability(tokens_[i]); };
  return tokens_[draw(tokens_.size(), total, weight, random)].id;
}

SampledToken Sampler::sample(std::span<const float> logits, const SamplingParams& params,
                             const TokenCounts& counts, int64_t position,
                             std::span<const uint64_t> allowed) {
  const std::span<const float> adjusted = adjust(logits, params, counts, allowed);
  SampledToken result;
  if (params.temperature == 0) {
    result.id = argmax(adjusted);
  } else {
    softmax_.compute(adjusted);
    const auto at = static_cast<uint64_t>(position);
    result.id = draw_token(adjusted, params, random_uniform(params.seed, kSamplingStream, at));
  }
  // Where the logits are no numbers, none is larger than those of the others.
  if (!allowed.empty() && !may_come(allowed, result.id)) {
    result.id = first_of(allowed, logits.size());
  }

  if (params.n_logprobs < 0) return result;
  if (params.temperature == 0 || adjusted.data() != logits.data()) softmax_.compute(logits);
  result.logprob = softmax_.logprob(logits[static_cast<size_t>(result.id)]);
  if (params.n_logprobs == 0) return result;
  const auto n_top = std::min(params.n_logprobs, std::ssize(logits));
  collect({.top_k = n_top}, logits, softmax_, tokens_);
  sort_front(tokens_, static_cast<size_t>(n_top));
  result.top.assign(tokens_.begin(), tokens_.begin() + n_top);
  return result;
}

}  // namespace dsv4
