#include "base/error.h"
#include "plan/date.h"
#include "plan/embedded_data.h"
#include "plan/machine.h"

#include <algorithm>
#include <set>

#include <fmt/core.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

namespace dsv4 {
namespace {

constexpr std::string_view kFile = "/machines.json";
constexpr int64_t kMaxSourceAgeDays = 366;

// Bounds that every machine of the last ten years keeps; what leaves them is a slip of units.
struct Plausible {
  const char* what;
  double least;
  double most;
};
constexpr Plausible kSweep = {"seconds to read all memory once", 1e-3, 60};
constexpr Plausible kIntensity = {"operations per byte of memory read", 1, 3000};
constexpr Plausible kHourly = {"price per hour and device", 0.01, 100};
constexpr Plausible kPurchase = {"purchase price per device", 100, 1e6};
constexpr Plausible kWatts = {"watts per device", 5, 5000};

using Problems = std::vector<std::string>;

void check_range(const Machine& machine, const Plausible& bounds, double value,
                 Problems& problems) {
  if (value == 0 || (value >= bounds.least && value <= bounds.most)) return;
  problems.push_back(fmt::format("{}: {} is {:.4g}, expected {} to {}", machine.name, bounds.what,
                                 value, bounds.least, bounds.most));
}

void check_figures(const Machine& machine, Problems& problems) {
  const DeviceRates& rates = machine.rates;
  const auto n = static_cast<double>(machine.n_devices);
  check_range(machine, kSweep, machine.memory_bytes / rates.read, problems);
  // In the order in which hardware gets faster.
  double last = 0;
  const std::pair<const char*, double> by_width[] = {{"f32_tflops", rates.f32},
                                                     {"bf16_tflops", rates.bf16},
                                                     {"fp8_tflops", rates.fp8},
                                                     {"fp4_tflops", rates.fp4}};
  for (const auto& [key, rate] : by_width) {
    check_range(machine, kIntensity, rate / rates.read, problems);
    if (rate == 0) continue;
    if (rate < last) {
      problems.push_back(fmt::format("{}: {} is below that of a wider type", machine.name, key));
    }
    last = rate;
  }
  check_range(machine, kIntensity, rates.int8 / rates.read, problems);
  check_range(machine, kHourly, machine.price.per_hour / n, problems);
  check_range(machine, kPurchase, machine.price.purchase / n, problems);
  check_range(machine, kWatts, machine.price.watts / n, problems);
  if (machine.price.idle_watts > machine.price.watts) {
    problems.push_back(fmt::format("{}: price.idle_watts is above price.watts", machine.name));
  }
  if (machine.kind == DeviceKind::kGpu && machine.host_memory_bytes == 0) {
    problems.push_back(fmt::format("{}: host_memory_gib is missing", machine.name));
  }
}

// What is written without a source is a bare number. The number of devices is what the machine is,
// and its lifetime a choice.
void check_sources(const Machine& machine, Problems& problems) {
  const auto check = [&](const nlohmann::ordered_json& object, const std::string& prefix) {
    for (const auto& [key, value] : object.items()) {
      if (!value.is_number() || key == "devices" || key == "lifetime_years") continue;
      problems.push_back(fmt::format("{}: {}{} has no source", machine.name, prefix, key));
    }
  };
  const nlohmann::ordered_json json = machine_to_json(machine);
  check(json, "");
  if (json.contains("price")) check(json["price"], "price.");
}

void check_date(const Machine& machine, const std::string& what, const std::string& date,
                int64_t now, Problems& problems) {
  const std::optional<int64_t> day = day_number(date);
  if (!day) {
    problems.push_back(fmt::format("{}: {} has no date", machine.name, what));
  } else if (*day > now) {
    problems.push_back(
        fmt::format("{}: {} is of {}, which is yet to come", machine.name, what, date));
  } else if (now - *day > kMaxSourceAgeDays) {
    problems.push_back(
        fmt::format("{}: {} is of {}, more than a year ago", machine.name, what, date));
  }
}

void check_dates(const Machine& machine, int64_t now, Problems& problems) {
  check_date(machine, "the entry", machine.date, now, problems);
  if (machine.price.per_hour > 0 || machine.price.purchase > 0) {
    check_date(machine, "the price", machine.price.date, now, problems);
  }
  for (const auto& [key, source] : machine.sources) {
    if (!source.date.empty()) {
      check_date(machine, fmt::format("the source of {}", key), source.date, now, problems);
    }
  }
}

}  // namespace

const std::vector<Machine>& machine_catalogue() {
  static const std::vector<Machine> machines =
      parse_machines(embedded_data(kFile), "data/machines.json");
  return machines;
}

const Machine& catalogue_machine(std::string_view name) {
  const std::vector<Machine>& machines = machine_catalogue();
  const auto machine = std::ranges::find(machines, name, &Machine::name);
  if (machine == machines.end()) {
    std::vector<std::string> names;
    for (const Machine& known : machines) names.push_back(known.name);
    throw Error(
        ErrorCode::kNotFound, std::string(name),
        fmt::format("not a machine of the catalogue, which has {}", fmt::join(names, ", ")));
  }
  return *machine;
}

std::vector<std::string> catalogue_problems(std::span<const Machine> machines,
                                            const std::string& today) {
  const std::optional<int64_t> now = day_number(today);
  if (!now) throw Error(ErrorCode::kInvalidInput, "today", "expected a day as YYYY-MM-DD");
  Problems problems;
  std::set<std::string> names;
  for (const Machine& machine : machines) {
    if (!names.insert(machine.name).second) {
      problems.push_back(fmt::format("{}: the name is there twice", machine.name));
    }
    check_figures(machine, problems);
    check_sources(machine, problems);
    check_dates(machine, *now, problems);
  }
  return problems;
}

}  // namespace dsv4
