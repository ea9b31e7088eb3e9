#include "plan/step_time.h"

#include "base/error.h"

#include <algorithm>
#include <array>
#include <cmath>

#include <fmt/core.h>

namespace dsv4 {
namespace {

// What the probe's sums leave out: misses of the caches, threads that wait for each other.
constexpr double kProbeError = 0.15;

Estimate with_probe_error(double seconds) {
  return {seconds * (1 - kProbeError), seconds, seconds * (1 + kProbeError)};
}

bool is_attention(const std::string& operation) {
  return operation == "attend" || operation == "indexer_scores" || operation == "top_k";
}

double operation_seconds(const OperationRate& rate, const OperationWork& work, bool one_row) {
  const double per_second = one_row ? rate.one_row : rate.many_rows;
  return work.calls * rate.call_s + work.work / per_second;
}

// Formats from few to many bits: a format that was not measured is as fast as the next one.
constexpr std::array<std::string_view, 18> kBySize = {
    "IQ2_XXS", "Q2_K", "Q3_K", "FP4",  "MXFP4", "INT4", "Q4_0", "Q4_1", "Q4_K",
    "Q5_0",    "Q5_1", "Q5_K", "Q6_K", "FP8",   "Q8_0", "BF16", "F16",  "F32"};

// The measured speeds of a format, ascending in tokens; empty if there are none.
std::vector<ProductRate> rates_of(const Probe& probe, std::string_view format) {
  std::vector<ProductRate> rates;
  for (const ProductRate& rate : probe.products) {
    if (rate.format == format) rates.push_back(rate);
  }
  return rates;
}

struct TimePerWeight {
  double n_tokens = 0;
  double seconds = 0;
};

// What was measured, where memory reads at another rate now. A product takes what its memory takes
// or what its computing takes, whichever is longer. Where it was memory, how long computing takes
// follows from its growth with more tokens.
std::vector<TimePerWeight> times_at(const std::vector<ProductRate>& rates, double bytes_per_weight,
                                    double read) {
  constexpr double kReadable = 0.9;   // of the read rate, by the steps of a model
  constexpr double kComputes = 1.15;  // times the wait for memory: certainly not memory
  const auto wait = [&](double rate) { return bytes_per_weight / (kReadable * rate); };
  std::vector<TimePerWeight> times;
  for (const ProductRate& rate : rates) {
    times.push_back({static_cast<double>(rate.n_tokens), 1 / rate.weights_per_s});
  }
  size_t computes = 0;
  while (computes < times.size() &&
         times[computes].seconds < kComputes * wait(rates[computes].read)) {
    ++computes;
  }
  const bool grows = computes + 1 < times.size();
  for (size_t i = 0; i < computes; ++i) {
    double computing = 0;
    if (grows) {
      const auto [n0, t0] = times[computes];
      const auto [n1, t1] = times[computes + 1];
      computing = t0 - (t1 - t0) / (n1 - n0) * (n0 - times[i].n_tokens);
    }
    times[i].seconds = std::clamp(computing, 0.0, times[i].seconds);
  }
  for (TimePerWeight& time : times) time.seconds = std::max(time.seconds, wait(read));
  return times;
}

double interpolate(const std::vector<TimePerWeight>& times, double n) {
  size_t i = 0;
  while (i + 1 < times.size() && times[i + 1].n_tokens < n) ++i;
  const auto [n0, t0] = times[i];
  if (n <= n0) return t0;
  if (i + 1 == times.size()) return t0 * n / n0;
  const auto [n1, t1] = times[i + 1];
  return t0 + (t1 - t0) * (n - n0) / (n1 - n0);
}

StepTime probed_time(const StepWork& work, const Machine& machine) {
  const Probe& probe = *machine.probe;
  StepTime time;
  for (const ProductWork& product : work.products) {
    time.weights_s += product_seconds(probe, product, machine.rates.read);
  }
  for (const auto& [name, operation] : work.operations) {
    const auto rate = probe.operations.find(name);
    if (rate == probe.operations.end()) {
      throw Error(ErrorCode::kInvalidInput, "probe.operations",
                  fmt::format("has no '{}'; measure the machine again", name));
    }
    (is_attention(name) ? time.attention_s : time.other_s) +=
        operation_seconds(rate->second, operation, work.rows == 1);
  }
  return time;
}

// Seconds at both ends of an efficiency, and between them.
Estimate at_efficiency(double seconds_at_limit, Efficiency efficiency) {
  return {seconds_at_limit / efficiency.high,
          seconds_at_limit * 2 / (efficiency.low + efficiency.high),
          seconds_at_limit / efficiency.low};
}

// All-reduce of the outputs of both sublayers in every layer.
double link_seconds(const Machine& machine, const ModelConfig& config, double rows) {
  if (machine.n_devices < 2 || machine.link <= 0) return 0;
  const double bytes = rows * static_cast<double>(config.hidden_size) * 2;  // BF16
  const auto n = static_cast<double>(machine.n_devices);
  const double each = machine.link_latency_s + 2 * (n - 1) / n * bytes / machine.link;
  return 2 * static_cast<double>(config.n_layers) * each;
}

double attention_ops(const StepWork& work) {
  double ops = 0;
  for (const char* name : {"attend", "indexer_scores"}) {
    const auto found = work.operations.find(name);
    if (found != work.operations.end()) ops += (name[0] == 'a' ? 4 : 2) * found->second.work;
  }
  return ops;
}

StepTime limited_time(const StepWork& work, const Machine& machine) {
  const auto n = static_cast<double>(machine.n_devices);
  const double bytes = work.weight_bytes + work.state_bytes;
  const Estimate memory =
      at_efficiency(bytes / (n * machine.rates.read), memory_efficiency(machine.kind));
  double at_limit = 0;
  for (const ProductWork& product : work.products) {
    const double rate = arithmetic_rate(machine, product.format);
    if (rate > 0) at_limit += 2 * product.n_tokens * product.weights / (n * rate);
  }
  const double plain = std::max(machine.rates.bf16, machine.rates.f32);
  if (plain > 0) at_limit += attention_ops(work) / (n * plain);
  const Estimate arithmetic = at_efficiency(at_limit, arithmetic_efficiency(machine.kind));
  const Efficiency call = call_seconds(machine.kind);
  StepTime time;
  time.limit = memory.expected >= arithmetic.expected ? Limit::kMemory : Limit::kArithmetic;
  time.weights_s = std::max(memory.expected, arithmetic.expected);
  time.other_s = work.calls * (call.low + call.high) / 2;
  if (time.other_s > time.weights_s) time.limit = Limit::kCalls;
  time.seconds = {std::max(memory.low, arithmetic.low) + work.calls * call.high,
                  time.weights_s + time.other_s,
                  std::max(memory.high, arithmetic.high) + work.calls * call.low};
  return time;
}

// Whether products are bound by reading weights: the time per weight hardly falls with fewer
// tokens.
Limit probed_limit(const StepWork& work, const StepTime& time, const Machine& machine) {
  if (time.attention_s + time.other_s > time.weights_s) {
    return time.attention_s > time.other_s ? Limit::kArithmetic : Limit::kCalls;
  }
  const double reading = (work.weight_bytes + work.state_bytes) / machine.rates.read;
  return reading > 0.5 * time.weights_s ? Limit::kMemory : Limit::kArithmetic;
}

}  // namespace

std::string_view limit_name(Limit limit) {
  constexpr std::string_view kNames[] = {"memory", "arithmetic", "disk", "link", "calls"};
  return kNames[static_cast<size_t>(limit)];
}

Efficiency memory_efficiency(DeviceKind kind) {
  switch (kind) {
    case DeviceKind::kCpu:
      return {0.6, 0.9};
    case DeviceKind::kUnified:
      return {0.5, 0.8};
    case DeviceKind::kGpu:
      return {0.35, 0.7};
  }
  return {0.35, 0.7};
}

Efficiency arithmetic_efficiency(DeviceKind kind) {
  switch (kind) {
    case DeviceKind::kCpu:
      return {0.25, 0.45};
    case DeviceKind::kUnified:
      return {0.2, 0.5};
    case DeviceKind::kGpu:
      return {0.2, 0.5};
  }
  return {0.2, 0.5};
}

// A fork and a join of threads, or the launch of a kernel in a graph.
Efficiency call_seconds(DeviceKind kind) {
  return kind == DeviceKind::kCpu ? Efficiency{10e-6, 2e-6} : Efficiency{5e-6, 1.5e-6};
}

double arithmetic_rate(const Machine& machine, std::string_view format) {
  const DeviceRates& r = machine.rates;
  const auto first = [](std::initializer_list<double> rates) {
    for (const double rate : rates) {
      if (rate > 0) return rate;
    }
    return 0.0;
  };
  const bool plain = format == "F32" || format == "F16" || format == "BF16";
  if (plain) return first({r.bf16, r.f32});
  // Processors multiply integers; GPUs unpack integers to what their matrix units take.
  if (machine.kind == DeviceKind::kCpu) return first({r.int8, r.bf16, r.f32});
  const bool native = format == "FP8" || format == "FP4" || format == "MXFP4";
  if (format != "FP8" && native && r.fp4 > 0) return r.fp4;
  return native ? first({r.fp8, r.bf16, r.f32}) : first({r.bf16, r.f32});
}

double product_seconds(const Probe& probe, const ProductWork& product, double read) {
  auto place = std::ranges::find(kBySize, std::string_view(product.format));
  std::vector<ProductRate> rates;
  for (; place != kBySize.end() && rates.empty(); ++place) rates = rates_of(probe, *place);
  if (rates.empty()) {
    throw Error(ErrorCode::kInvalidInput, "probe.products",
                fmt::format("has no speed for {}; measure the machine again", product.format));
  }
  const std::vector<TimePerWeight> times = times_at(rates, product.bytes / product.weights, read);
  return product.n_products * probe.product_call_s +
         product.weights * interpolate(times, product.n_tokens);
}

bool is_narrow(const ModelConfig& config) {
  constexpr int64_t kWide = 1024;
  return config.hidden_size < kWide;
}

StepTime step_time(const StepWork& work, const Machine& machine, const ModelConfig& config) {
  StepTime time;
  if (machine.probe) {
    time = probed_time(work, machine);
    const double sum = time.weights_s + time.attention_s + time.other_s;
    time.seconds = with_probe_error(sum);
    time.limit = probed_limit(work, time, machine);
  } else {
    time = limited_time(work, machine);
  }
  time.link_s = link_seconds(machine, config, work.rows);
  if (time.link_s > time.seconds.expected) time.limit = Limit::kLink;
  for (double* seconds : {&time.seconds.low, &time.seconds.expected, &time.seconds.high}) {
    *seconds += time.link_s;
  }
  return time;
}

Estimate copy_seconds(double bytes, const Machine& machine) {
  const double moved = 2 * bytes;
  if (machine.probe && !machine.probe->read_by_threads.empty()) {
    return with_probe_error(moved / machine.probe->read_by_threads.front());
  }
  return at_efficiency(moved / (static_cast<double>(machine.n_devices) * machine.rates.read),
                       memory_efficiency(machine.kind));
}

double prompt_seconds(const WeightTable& table, const StateLayout& layout, const Machine& machine,
                      int64_t before, int64_t n_tokens, int64_t chunk) {
  double seconds = 0;
  for (int64_t begin = 0; begin < n_tokens; begin += chunk) {
    const int64_t n = std::min(chunk, n_tokens - begin);
    const StepShape shape{
        .n_tokens = n, .context = before + begin, .n_logits = begin + n == n_tokens ? 1 : 0};
    seconds += step_time(step_work(table, layout, shape), machine, table.config).seconds.expected;
  }
  return seconds;
}

}  // namespace dsv4
