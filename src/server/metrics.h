// Counters, gauges and histograms, printed in the text format 0.0.4 of Prometheus.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace dsv4 {

// Updates are atomic and allocate nothing; from any thread.
class Counter {
 public:
  void add(uint64_t n = 1) { value_.fetch_add(n, std::memory_order_relaxed); }
  uint64_t value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> value_{0};
};

class Histogram {
 public:
  // Upper bounds of the buckets, rising; a last one without bound is added.
  explicit Histogram(std::vector<double> bounds)
      : bounds_(std::move(bounds)), counts_(bounds_.size() + 1) {}

  void observe(double value);

 private:
  friend class Metrics;
  const std::vector<double> bounds_;
  std::vector<std::atomic<uint64_t>> counts_;  // of each bucket alone
  std::atomic<double> sum_{0};
};

// Label and value; all series of a metric have the same labels.
using MetricLabels = std::vector<std::pair<std::string, std::string>>;

// May be used from any thread. Series live as long as this, at one address: callers keep references
// to those that they update often.
class Metrics {
 public:
  // The series with these labels, made when it is asked for first. The help of the first call for a
  // name stays. A name has one type, and valid characters, which is checked.
  Counter& counter(std::string_view name, std::string_view help, const MetricLabels& labels = {});
  Histogram& histogram(std::string_view name, std::string_view help, std::vector<double> bounds,
                       const MetricLabels& labels = {});

  // A value that is asked for when the metrics are printed. It must not use this object.
  void counter_of(std::string_view name, std::string_view help, const MetricLabels& labels,
                  std::function<double()> value);
  void gauge_of(std::string_view name, std::string_view help, const MetricLabels& labels,
                std::function<double()> value);

  // All metrics, by name, in the text format ("text/plain; version=0.0.4").
  std::string print() const;

 private:
  enum class Type { kCounter, kGauge, kHistogram };
  struct Series {
    Counter* counter = nullptr;
    Histogram* histogram = nullptr;
    std::function<double()> value;
  };
  struct Family {
    Type type;
    std::string help;
    std::map<std::string, Series> series;  // by printed labels
  };

  Series& series(std::string_view name, std::string_view help, Type type,
                 const MetricLabels& labels);
  static void print_histogram(std::string& out, const std::string& name, const std::string& labels,
                              const Histogram& histogram);

  mutable std::mutex mutex_;
  std::map<std::string, Family, std::less<>> families_;
  std::deque<Counter> counters_;
  std::deque<Histogram> histograms_;
};

inline constexpr std::string_view kMetricsContentType = "text/plain; version=0.0.4; charset=utf-8";

}  // namespace dsv4
