#include "server/metrics.h"

#include "base/check.h"

#include <algorithm>
#include <cmath>

#include <fmt/core.h>

namespace dsv4 {
namespace {

bool is_name(std::string_view name, bool with_colon) {
  const auto is_letter = [&](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (with_colon && c == ':');
  };
  return !name.empty() && is_letter(name.front()) &&
         std::ranges::all_of(name, [&](char c) { return is_letter(c) || (c >= '0' && c <= '9'); });
}

void append_escaped(std::string& out, std::string_view text, bool escape_quote) {
  for (const char c : text) {
    if (c == '\\' || (escape_quote && c == '"')) {
      out += '\\';
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else {
      out += c;
    }
  }
}

// `name="value",...` without braces.
std::string print_labels(const MetricLabels& labels) {
  std::string out;
  for (const auto& [name, value] : labels) {
    CHECK(is_name(name, false), name);
    if (!out.empty()) out += ',';
    out += name + "=\"";
    append_escaped(out, value, true);
    out += '"';
  }
  return out;
}

std::string print_value(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "+Inf" : "-Inf";
  // Whole numbers up to 2^53 print as such.
  if (value == std::floor(value) && std::abs(value) < 9e15) return fmt::format("{:.0f}", value);
  return fmt::format("{}", value);
}

void append_line(std::string& out, std::string_view name, std::string_view labels,
                 std::string_view value) {
  out += name;
  if (!labels.empty()) out += fmt::format("{{{}}}", labels);
  out += fmt::format(" {}\n", value);
}

}  // namespace

void Histogram::observe(double value) {
  const auto bucket = std::ranges::lower_bound(bounds_, value) - bounds_.begin();
  counts_[static_cast<size_t>(bucket)].fetch_add(1, std::memory_order_relaxed);
  sum_.fetch_add(value, std::memory_order_relaxed);
}

Metrics::Series& Metrics::series(std::string_view name, std::string_view help, Type type,
                                 const MetricLabels& labels) {
  CHECK(is_name(name, true), name);
  const auto [family, is_new] =
      families_.try_emplace(std::string(name), Family{type, std::string(help), {}});
  CHECK(family->second.type == type, name);
  return family->second.series[print_labels(labels)];
}

Counter& Metrics::counter(std::string_view name, std::string_view help,
                          const MetricLabels& labels) {
  const std::lock_guard lock(mutex_);
  Series& found = series(name, help, Type::kCounter, labels);
  if (found.counter == nullptr) found.counter = &counters_.emplace_back();
  return *found.counter;
}

Histogram& Metrics::histogram(std::string_view name, std::string_view help,
                              std::vector<double> bounds, const MetricLabels& labels) {
  CHECK(std::ranges::is_sorted(bounds), name);
  const std::lock_guard lock(mutex_);
  Series& found = series(name, help, Type::kHistogram, labels);
  if (found.histogram == nullptr) found.histogram = &histograms_.emplace_back(std::move(bounds));
  return *found.histogram;
}

void Metrics::counter_of(std::string_view name, std::string_view help, const MetricLabels& labels,
                         std::function<double()> value) {
  const std::lock_guard lock(mutex_);
  series(name, help, Type::kCounter, labels).value = std::move(value);
}

void Metrics::gauge_of(std::string_view name, std::string_view help, const MetricLabels& labels,
                       std::function<double()> value) {
  const std::lock_guard lock(mutex_);
  series(name, help, Type::kGauge, labels).value = std::move(value);
}

void Metrics::print_histogram(std::string& out, const std::string& name, const std::string& labels,
                              const Histogram& histogram) {
  const std::string prefix = labels.empty() ? "" : labels + ",";
  uint64_t sum = 0;
  for (size_t i = 0; i < histogram.counts_.size(); ++i) {
    sum += histogram.counts_[i].load(std::memory_order_relaxed);
    const bool is_last = i == histogram.bounds_.size();
    const std::string bound = is_last ? "+Inf" : fmt::format("{}", histogram.bounds_[i]);
    append_line(out, name + "_bucket", fmt::format("{}le=\"{}\"", prefix, bound),
                fmt::format("{}", sum));
  }
  append_line(out, name + "_sum", labels,
              print_value(histogram.sum_.load(std::memory_order_relaxed)));
  append_line(out, name + "_count", labels, fmt::format("{}", sum));
}

std::string Metrics::print() const {
  constexpr const char* kTypes[] = {"counter", "gauge", "histogram"};
  const std::lock_guard lock(mutex_);
  std::string out;
  for (const auto& [name, family] : families_) {
    out += "# HELP " + name + " ";
    append_escaped(out, family.help, false);
    out += fmt::format("\n# TYPE {} {}\n", name, kTypes[static_cast<int>(family.type)]);
    for (const auto& [labels, found] : family.series) {
      if (found.histogram != nullptr) {
        print_histogram(out, name, labels, *found.histogram);
      } else if (found.counter != nullptr) {
        append_line(out, name, labels, fmt::format("{}", found.counter->value()));
      } else {
        append_line(out, name, labels, print_value(found.value()));
      }
    }
  }
  return out;
}

}  // namespace dsv4
