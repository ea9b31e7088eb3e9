// Text of machine and tariff files. What is accepted is finite and survives writing and reading.
#include "base/check.h"
#include "base/error.h"
#include "plan/machine.h"
#include "plan/record.h"
#include "plan/tariff.h"

#include <cmath>
#include <cstdint>
#include <string_view>

#include <nlohmann/json.hpp>

namespace dsv4 {
namespace {

// The unit of a key may round a value, once.
bool close(double a, double b) { return std::abs(a - b) <= 1e-12 * std::abs(a) + 1e-300; }

void check_machine(const Machine& machine) {
  CHECK(std::isfinite(machine.usable_bytes()) && machine.usable_bytes() > 0);
  CHECK(std::isfinite(machine.rates.read) && machine.rates.read > 0);
  CHECK(std::isfinite(machine.memory_bytes / machine.rates.read));
  for (const std::string& problem : catalogue_problems({&machine, 1}, "2026-11-28")) {
    CHECK(!problem.empty());
  }

  const Machine again =
      parse_machine(nlohmann::json::parse(machine_to_json(machine).dump()), "written");
  CHECK(again.name == machine.name && again.title == machine.title);
  CHECK(again.kind == machine.kind && again.n_devices == machine.n_devices);
  CHECK(close(machine.usable_bytes(), again.usable_bytes()));
  CHECK(close(machine.rates.read, again.rates.read));
  CHECK(close(machine.rates.int8, again.rates.int8));
  CHECK(close(machine.disk.latency_s, again.disk.latency_s));
  CHECK(close(machine.price.per_hour, again.price.per_hour));
  CHECK(machine.date == again.date && machine.note == again.note);
  CHECK(machine.links.size() == again.links.size());
  for (size_t i = 0; i < machine.links.size(); ++i) {
    CHECK(machine.links[i].name == again.links[i].name);
    CHECK(machine.links[i].kind == again.links[i].kind);
    CHECK(close(machine.links[i].rate, again.links[i].rate));
  }
  CHECK(machine.cluster_link.has_value() == again.cluster_link.has_value());
  if (machine.cluster_link) {
    CHECK(machine.cluster_link->peer == again.cluster_link->peer);
    CHECK(close(machine.cluster_link->send, again.cluster_link->send));
    CHECK(close(machine.cluster_link->round_trip_s, again.cluster_link->round_trip_s));
  }
  CHECK(machine.probe.has_value() == again.probe.has_value());
  if (machine.probe) {
    CHECK(machine.probe->products.size() == again.probe->products.size());
    CHECK(machine.probe->operations.size() == again.probe->operations.size());
  }
}

void fuzz_machines(std::string_view text) {
  try {
    for (const Machine& machine : parse_machines(text, "input")) check_machine(machine);
  } catch (const Error&) {
    // What an input may cause.
  }
}

void fuzz_tariffs(std::string_view text) {
  try {
    for (const Tariff& tariff : parse_tariffs(text, "input")) {
      CHECK(tariff.input >= 0 && tariff.cached_input >= 0 && tariff.output >= 0);
      tariff_warning(tariff, "2026-11-28");
    }
  } catch (const Error&) {
    // As above.
  }
}

void fuzz_record(std::string_view text) {
  try {
    const PlanRecord record = parse_record(text, "input");
    const PlanRecord again = parse_record(record_line(record), "again");
    CHECK(record.comparisons.size() == again.comparisons.size());
    accuracy_of({record});
  } catch (const Error&) {
    // As above.
  }
}

}  // namespace
}  // namespace dsv4

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  dsv4::fuzz_machines(text);
  dsv4::fuzz_tariffs(text);
  dsv4::fuzz_record(text);
  return 0;
}
