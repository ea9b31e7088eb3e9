#include "cli/this_machine.h"

#include "base/error.h"
#include "base/output_file.h"
#include "bench/host.h"
#include "bench/machine_probe.h"
#include "cli/bench_report.h"
#include "cli/progress.h"

#include <malloc.h>

#include <cstdlib>
#include <fstream>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

namespace dsv4::cli {
namespace {

namespace fs = std::filesystem;

bool is_probe_of_this(const std::vector<Machine>& machines) {
  return machines.size() == 1 && machines[0].probe &&
         machines[0].title.starts_with(processor_name());
}

// What an earlier run of this version wrote on this machine; nothing for anything else.
std::optional<Machine> kept_machine(const fs::path& file) {
  std::error_code ignored;
  if (!fs::exists(file, ignored)) return std::nullopt;
  try {
    const std::vector<Machine> machines = load_machines(file.string());
    const bool fits = is_probe_of_this(machines) && machines[0].probe->version == DSV4_VERSION &&
                      machines[0].probe->isa == isa_name(best_isa());
    if (fits) return machines[0];
  } catch (const Error& error) {
    fmt::print(stderr, "dsv4: warning: {}\n", error.what());
  }
  return std::nullopt;
}

// The link that an earlier run of any version measured from this machine: that takes another one,
// which need not listen whenever this is measured anew.
std::optional<ClusterLink> kept_link(const fs::path& file) {
  try {
    const std::vector<Machine> machines = load_machines(file.string());
    if (is_probe_of_this(machines)) return machines[0].cluster_link;
  } catch (const Error&) {
    // There is no file, or one that is about to be replaced.
  }
  return std::nullopt;
}

}  // namespace

fs::path state_file(const char* name) {
  const auto variable = [](const char* key) {
    const char* value = std::getenv(key);
    return fs::path(value == nullptr ? "" : value);
  };
  const fs::path state = variable("XDG_STATE_HOME");
  if (state.is_absolute()) return state / "dsv4" / name;
  const fs::path home = variable("HOME");
  if (home.is_absolute()) return home / ".local" / "state" / "dsv4" / name;
  throw Error(ErrorCode::kNotFound, "HOME", "is not set, so there is no place to keep results in");
}

Machine probe_this_machine() {
  const fs::path file = state_file(kMachineFile);
  fs::create_directories(file.parent_path());
  Progress bar("measuring this machine");
  constexpr int64_t kParts = 1000;
  Machine machine =
      probe_machine({.disk_folder = file.parent_path(), .version = DSV4_VERSION, .date = today()},
                    [&](const std::string& what, double done) {
                      bar.update(static_cast<int64_t>(done * kParts), kParts, what);
                    });
  bar.clear();
  machine.cluster_link = kept_link(file);
  keep_machine(machine);
  return machine;
}

void keep_machine(const Machine& machine) {
  const std::string text = machine_to_json(machine).dump(2) + "\n";
  OutputFile out(state_file(kMachineFile));
  out.write(std::as_bytes(std::span(text)));
  out.finish();
}

std::optional<Machine> known_machine() {
  std::optional<Machine> kept = kept_machine(state_file(kMachineFile));
  if (!kept) return kept;
  const HostMemory memory = host_memory();
  kept->memory_bytes = memory.total;
  kept->reserved_bytes = memory.in_use;
  return kept;
}

Machine this_machine() {
  if (const std::optional<Machine> known = known_machine()) return *known;
  fmt::print(stderr, "dsv4: measuring this machine, once, for less than a minute\n");
  return probe_this_machine();
}

void reset_peak_memory() {
  ::malloc_trim(0);  // what a probe has left
  std::ofstream("/proc/self/clear_refs") << "5";
}

double peak_memory() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    constexpr std::string_view kKey = "VmHWM:";
    if (line.starts_with(kKey)) return std::strtod(line.c_str() + kKey.size(), nullptr) * 1024;
  }
  return 0;
}

}  // namespace dsv4::cli
