#include "bench/timing.h"

#include <algorithm>
#include <chrono>

namespace dsv4 {
namespace {

using Clock = std::chrono::steady_clock;

Roofs higher(const Roofs& a, const Roofs& b) {
  return {.read = std::max(a.read, b.read),
          .int8 = std::max(a.int8, b.int8),
          .f32 = std::max(a.f32, b.f32),
          .bf16 = std::max(a.bf16, b.bf16)};
}

}  // namespace

double seconds_since(Clock::time_point start, Clock::time_point now) {
  return std::chrono::duration<double>(now - start).count();
}

Median median(std::vector<double> values) {
  if (values.empty()) return {};
  std::ranges::sort(values);
  const auto quantile = [&](double q) {  // between two values where q falls between them
    const double at = q * static_cast<double>(values.size() - 1);
    const auto i = static_cast<size_t>(at);
    const double next = values[std::min(i + 1, values.size() - 1)];
    return values[i] + (at - static_cast<double>(i)) * (next - values[i]);
  };
  const double middle = quantile(0.5);
  return {middle, middle > 0 ? (quantile(0.75) - quantile(0.25)) / middle : 0};
}

void add_times(double seconds, const std::function<double()>& step, std::vector<double>& times) {
  double sum = 0;
  do {
    times.push_back(step());
    sum += times.back();
  } while (sum < seconds);
}

double seconds_per_call(double min_seconds, const std::function<void()>& call) {
  for (int64_t n = 1;; n *= 2) {
    const Clock::time_point start = Clock::now();
    for (int64_t i = 0; i < n; ++i) call();
    const double seconds = seconds_since(start);
    if (seconds >= min_seconds) return seconds / static_cast<double>(n);
  }
}

void add_call_times(double seconds, const std::function<void()>& call, std::vector<double>& times) {
  constexpr double kSample = 20e-6;
  const Clock::time_point start = Clock::now();
  do {
    times.push_back(seconds_per_call(kSample, call));
  } while (seconds_since(start) < seconds);
}

double Timing::roof(double Roofs::*which) const {
  std::vector<double> values;
  for (const Slice& slice : slices) values.push_back(slice.roofs.*which);
  return median(std::move(values)).value;
}

Median Timing::share(double work, double Roofs::*which) const {
  std::vector<double> values;
  for (const Slice& slice : slices) values.push_back(work / slice.seconds / (slice.roofs.*which));
  return median(std::move(values));
}

Timing measure_slices(const SlicePlan& plan, const std::function<Roofs()>& roofs,
                      const std::function<double()>& step) {
  Timing timing;
  std::vector<double> all_times;
  Roofs before = roofs();
  for (int i = 0; i < plan.n_slices; ++i) {
    std::vector<double> times;
    add_times(plan.min_seconds, step, times);
    all_times.insert(all_times.end(), times.begin(), times.end());
    const Roofs after = roofs();
    timing.slices.push_back({median(std::move(times)).value, higher(before, after)});
    before = after;
  }
  timing.n_steps = std::ssize(all_times);
  timing.seconds = median(std::move(all_times));
  return timing;
}

}  // namespace dsv4
