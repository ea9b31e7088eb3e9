#include "bench/product_bench.h"

#include "bench/timing.h"

#include <algorithm>
#include <string>

namespace dsv4 {
namespace {

// A product that would take longer is not measured but taken to be as fast as one with fewer
// tokens, by operations: with so many, arithmetic is the limit. Only the scalar kernels are so
// slow.
constexpr double kLongestProduct = 0.5;

}  // namespace

ProductBench::ProductBench(Ops& ops, ProductPlan plan)
    : ops_(ops), plan_(std::move(plan)), memory_(plan_.memory_bytes) {}

void ProductBench::measure(WeightFormat format, const std::function<double()>& read_roof) {
  Round round{.format = format, .read = read_roof()};
  const BenchWeights weights(format, plan_.shape, memory_);
  const auto n_weights = static_cast<double>(weights.n_weights());
  BenchProduct first(ops_, weights, 1, 1);
  first.run();
  double per_weight = first.run() / n_weights;  // seconds, with n_before tokens
  int64_t n_before = 1;
  for (const int64_t n : plan_.n_tokens) {
    std::vector<double>& samples = round.seconds_per_weight.emplace_back();
    const double at_most = per_weight * static_cast<double>(n) / static_cast<double>(n_before);
    n_before = n;
    if (at_most * n_weights > kLongestProduct) {
      samples.push_back(per_weight = at_most);
      continue;
    }
    const int64_t n_at_once =
        std::min(weights.n_matrices(),
                 std::max(plan_.min_matrices,
                          static_cast<int64_t>(plan_.step_seconds / (per_weight * n_weights))));
    BenchProduct product(ops_, weights, n, n_at_once);
    product.run();  // first touch of the results
    std::vector<double> times;
    add_times(
        plan_.seconds, [&] { return product.run(); }, times);
    for (const double seconds : times) {
      samples.push_back(seconds / (static_cast<double>(n_at_once) * n_weights));
    }
    per_weight = median(std::move(times)).value / (static_cast<double>(n_at_once) * n_weights);
  }
  round.read = std::max(round.read, read_roof());
  const auto place = std::ranges::find(best_, format, &Round::format);
  if (place == best_.end()) {
    best_.push_back(std::move(round));
  } else if (round.read > place->read) {
    *place = std::move(round);
  }
}

std::vector<ProductRate> ProductBench::rates() const {
  std::vector<ProductRate> rates;
  for (const Round& round : best_) {
    for (size_t i = 0; i < plan_.n_tokens.size(); ++i) {
      const Median seconds = median(round.seconds_per_weight[i]);
      rates.push_back({std::string(weight_format_name(round.format)), plan_.n_tokens[i],
                       1 / seconds.value, round.read, seconds.spread});
    }
  }
  return rates;
}

double product_call_seconds(Ops& ops, double seconds) {
  constexpr WeightFormat kFormat = WeightFormat::kFP8;
  constexpr BenchShape kTiny{128, 128};
  std::vector<std::byte> memory(static_cast<size_t>(BenchWeights::bytes_of(kFormat, kTiny)));
  const BenchWeights weights(kFormat, kTiny, memory);
  BenchProduct product(ops, weights, 1, 1);
  std::vector<double> times;
  add_call_times(
      seconds, [&] { product.run(); }, times);
  return median(std::move(times)).value;
}

}  // namespace dsv4
