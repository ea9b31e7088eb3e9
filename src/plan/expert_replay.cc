#include "plan/expert_replay.h"

#include "base/check.h"
#include "base/error.h"
#include "base/rng.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>

#include <fmt/core.h>

namespace dsv4 {
namespace {

// Numbers of experts in memory, two bytes each.
constexpr int64_t kMaxIds = int64_t{1} << 30;

// Different numbers, ascending.
void assign_distinct(std::span<const uint16_t> ids, std::vector<int32_t>& out) {
  out.assign(ids.begin(), ids.end());
  std::ranges::sort(out);
  out.erase(std::unique(out.begin(), out.end()), out.end());
}

void check_skew(const RoutingShape& shape, const RoutingSkew& skew) {
  const auto refuse = [](const char* field, const std::string& message) {
    throw Error(ErrorCode::kInvalidInput, field, message);
  };
  if (!(skew.zipf >= 0) || std::isinf(skew.zipf)) {
    refuse("zipf", fmt::format("is {}, expected a number from 0", skew.zipf));
  }
  if (skew.n_passes < 1)
    refuse("n_passes", fmt::format("is {}, expected 1 or more", skew.n_passes));
  if (skew.tokens_per_pass < 1) {
    refuse("tokens_per_pass", fmt::format("is {}, expected 1 or more", skew.tokens_per_pass));
  }
  const double n_ids = static_cast<double>(skew.n_passes) *
                       static_cast<double>(skew.tokens_per_pass) *
                       static_cast<double>(shape.n_layers * shape.n_active);
  if (n_ids > static_cast<double>(kMaxIds)) {
    refuse("n_passes", fmt::format("{} passes of {} tokens are too many to keep", skew.n_passes,
                                   skew.tokens_per_pass));
  }
}

// Draws experts by weight, each at most once for a token.
class Drawer {
 public:
  Drawer(const RoutingShape& shape, const RoutingSkew& skew)
      : shape_(shape), seed_(skew.seed), is_taken_(static_cast<size_t>(shape.n_experts)) {
    for (int64_t r = 1; r <= shape.n_experts; ++r) {
      weights_.push_back(std::pow(static_cast<double>(r), -skew.zipf));
    }
    sum_ = std::accumulate(weights_.begin(), weights_.end(), 0.0);
    for (int64_t layer = 0; layer < shape.n_layers; ++layer) shuffle(layer);
  }

  void draw(int64_t layer, std::vector<uint16_t>& ids) {
    std::fill(is_taken_.begin(), is_taken_.end(), false);
    double left = sum_;
    for (int64_t i = 0; i < shape_.n_active; ++i) {
      const size_t rank = pick(random_uniform(seed_, kDraws, n_draws_++) * left);
      is_taken_[rank] = true;
      left -= weights_[rank];
      ids.push_back(expert_of_rank_[static_cast<size_t>(layer * shape_.n_experts) + rank]);
    }
  }

 private:
  static constexpr uint64_t kDraws = 0;
  static constexpr uint64_t kShuffles = 1;

  // The rank at which the weights of those that are not taken reach `target`.
  size_t pick(double target) const {
    size_t last = 0;
    for (size_t rank = 0; rank < weights_.size(); ++rank) {
      if (is_taken_[rank]) continue;
      last = rank;
      target -= weights_[rank];
      if (target < 0) break;
    }
    return last;  // the last one also where rounding leaves a rest
  }

  void shuffle(int64_t layer) {
    const auto first = static_cast<std::ptrdiff_t>(expert_of_rank_.size());
    for (int64_t e = 0; e < shape_.n_experts; ++e) {
      expert_of_rank_.push_back(static_cast<uint16_t>(e));
    }
    for (int64_t n = shape_.n_experts; n > 1; --n) {
      const auto index = static_cast<uint64_t>(layer * shape_.n_experts + n);
      const auto other = static_cast<std::ptrdiff_t>(random_bits(seed_, kShuffles, index) %
                                                     static_cast<uint64_t>(n));
      std::swap(expert_of_rank_.begin()[first + n - 1], expert_of_rank_.begin()[first + other]);
    }
  }

  const RoutingShape& shape_;
  uint64_t seed_;
  uint64_t n_draws_ = 0;
  std::vector<double> weights_;           // by rank
  double sum_ = 0;                        // of weights_
  std::vector<uint16_t> expert_of_rank_;  // by layer, then rank
  std::vector<bool> is_taken_;            // by rank
};

}  // namespace

double ExpertReplay::bytes_per_token() const {
  return n_tokens > 0 ? static_cast<double>(stats.loaded_bytes) / static_cast<double>(n_tokens) : 0;
}

ExpertReplay replay_experts(const RoutingTrace& trace, int64_t budget_bytes) {
  const RoutingShape& shape = trace.shape;
  ExpertPolicy policy(budget_bytes, shape.n_experts, shape.expert_bytes);
  ExpertReplay replay;
  replay.passes.reserve(trace.passes.size());
  std::vector<int32_t> experts;
  for (const RoutingTrace::Pass& pass : trace.passes) {
    ReplayedPass result{.n_tokens = pass.n_tokens};
    for (int64_t layer = 0; layer < shape.n_layers; ++layer) {
      assign_distinct(trace.chosen(pass, layer), experts);
      const ExpertPolicy::Decision decision = policy.access(layer, experts);
      const int64_t n_missing = std::ssize(decision.missing);
      result.n_evicted += std::ssize(decision.evicted);
      result.n_misses += n_missing;
      result.n_hits += std::ssize(experts) - n_missing;
      result.n_waits += n_missing > 0 ? 1 : 0;
      result.loaded_bytes += n_missing * shape.expert_bytes[static_cast<size_t>(layer)];
    }
    replay.n_tokens += pass.n_tokens;
    replay.passes.push_back(result);
  }
  replay.stats = policy.stats();
  return replay;
}

ExpertReplay since_pass(const ExpertReplay& replay, int64_t first) {
  ExpertReplay rest;
  rest.stats.resident_bytes = replay.stats.resident_bytes;
  rest.stats.peak_bytes = replay.stats.peak_bytes;
  for (size_t i = static_cast<size_t>(std::max<int64_t>(first, 0)); i < replay.passes.size(); ++i) {
    const ReplayedPass& pass = replay.passes[i];
    rest.passes.push_back(pass);
    rest.n_tokens += pass.n_tokens;
    rest.stats.n_hits += pass.n_hits;
    rest.stats.n_misses += pass.n_misses;
    rest.stats.n_evicted += pass.n_evicted;
    rest.stats.loaded_bytes += pass.loaded_bytes;
  }
  return rest;
}

double read_seconds(const ReplayedPass& pass, const DiskRates& disk) {
  if (pass.loaded_bytes == 0) return 0;
  if (disk.read <= 0) return std::numeric_limits<double>::infinity();
  return static_cast<double>(pass.loaded_bytes) / disk.read +
         static_cast<double>(pass.n_waits) * disk.latency_s;
}

double read_seconds_quantile(const ExpertReplay& replay, const DiskRates& disk, double q) {
  CHECK(q >= 0 && q <= 1, q);
  if (replay.passes.empty()) return 0;
  std::vector<double> seconds;
  for (const ReplayedPass& pass : replay.passes) seconds.push_back(read_seconds(pass, disk));
  const auto n = static_cast<double>(seconds.size());
  const auto rank = static_cast<std::ptrdiff_t>(std::max(std::ceil(q * n), 1.0)) - 1;
  std::nth_element(seconds.begin(), seconds.begin() + rank, seconds.end());
  return seconds[static_cast<size_t>(rank)];
}

RoutingTrace synthetic_trace(const RoutingShape& shape, const RoutingSkew& skew) {
  check_skew(shape, skew);
  RoutingTrace trace{.shape = shape, .passes = {}, .ids = {}};
  Drawer drawer(shape, skew);
  for (int64_t i = 0; i < skew.n_passes; ++i) {
    trace.passes.push_back({skew.tokens_per_pass, trace.ids.size()});
    for (int64_t layer = 0; layer < shape.n_layers; ++layer) {
      for (int64_t t = 0; t < skew.tokens_per_pass; ++t) drawer.draw(layer, trace.ids);
    }
  }
  return trace;
}

}  // namespace dsv4
