// A machine as the planner sees it: how much it holds, how fast it reads, computes and talks, what
// it costs. Read from JSON, one object a machine: the catalogue (data/machines.json), or a file
// that `dsv4 plan --probe` has written (docs/planning.md describes every key).
#pragma once

#include "plan/source.h"

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json_fwd.hpp>

namespace dsv4 {

// What the weights are read by.
enum class DeviceKind {
  kCpu,      // processors with their memory
  kUnified,  // processors and a GPU that share one memory
  kGpu       // GPUs with memory of their own, in a host
};

// Limits of one device; 0 where not known or not there.
struct DeviceRates {
  double read = 0;  // bytes per second, of the memory that weights lie in
  // Operations per second, a product and its sum count as two, dense.
  double f32 = 0;
  double bf16 = 0;
  double fp8 = 0;
  double int8 = 0;
  double fp4 = 0;
};

// Reads of the size of one expert at random places, past the page cache.
struct DiskRates {
  double read = 0;       // bytes per second with several requests at once; 0: not known
  double latency_s = 0;  // of a single one, besides its bytes
};

enum class LinkKind { kPcie, kNetwork };

// A link that the system tells of, as it is; nothing of it was measured.
struct SystemLink {
  std::string name;  // of the GPU or the network interface
  LinkKind kind = LinkKind::kPcie;
  double rate = 0;  // bytes per second each way; 0: not known
  double most = 0;  // the same of PCIe where the device does not save power; 0: not known
};

// The link to another machine, as it was measured.
struct ClusterLink {
  std::string peer;  // host and port
  double send = 0;   // bytes per second to there
  double send_spread = 0;
  double receive = 0;  // from there
  double receive_spread = 0;
  double round_trip_s = 0;  // of a small message and its answer
  double round_trip_spread = 0;
  std::string date;  // YYYY-MM-DD
};

struct MachinePrice {
  double per_hour = 0;        // rented; 0: not offered
  double purchase = 0;        // bought; 0: not known
  double watts = 0;           // under load
  double idle_watts = 0;      // without any
  double lifetime_years = 4;  // over which the purchase is written off
  std::string currency = "USD";
  std::string date;  // of the prices, YYYY-MM-DD
};

// How long one call of an operation takes: call_s + work / rate. Work is in the units that
// plan/step_cost.h states for the operation.
struct OperationRate {
  double call_s = 0;
  double one_row = 0;    // per second where there is a single token
  double many_rows = 0;  // per second where tokens can be shared out among threads
};

// Speed of the product of a weight with so many tokens at once.
struct ProductRate {
  std::string format;  // "FP4", "Q4_K", ... (weight_format_name)
  int64_t n_tokens = 0;
  double weights_per_s = 0;
  double read = 0;    // bytes per second that memory gave at that time
  double spread = 0;  // (third quartile - first quartile) / median
};

// What `dsv4 plan --probe` measured with the kernels of this program.
struct Probe {
  std::string version;  // of dsv4
  std::string isa;
  int n_threads = 0;
  std::vector<double> read_by_threads;  // bytes per second with 1, 2, ... threads
  double product_call_s = 0;            // of a product besides its weights
  std::vector<ProductRate> products;    // by format, then n_tokens
  std::map<std::string, OperationRate> operations;
};

struct Machine {
  std::string name;   // for --machine
  std::string title;  // for people
  DeviceKind kind = DeviceKind::kCpu;
  int64_t n_devices = 1;         // that share the work of one model
  double memory_bytes = 0;       // of one device
  double reserved_bytes = 0;     // of it, that the system and drivers keep
  DeviceRates rates;             // of one device
  double host_memory_bytes = 0;  // of a machine with GPUs: where experts may lie too
  double host_link = 0;          // bytes per second from there to all devices together
  double link = 0;               // bytes per second between devices, each way
  double link_latency_s = 0;
  DiskRates disk;
  std::vector<SystemLink> links;
  std::optional<ClusterLink> cluster_link;  // to another machine that may share a model
  MachinePrice price;
  std::string date;                       // of a probe, or of the last look at the sources
  std::string note;                       // what a reader of its figures should know
  std::map<std::string, Source> sources;  // by key of the JSON object ("price.per_hour")
  std::optional<Probe> probe;

  double usable_bytes() const {
    return static_cast<double>(n_devices) * (memory_bytes - reserved_bytes);
  }
};

// Reads one machine. Throws Error(kInvalidInput) naming `where` and the key: one that is missing,
// unknown, of another type, not finite, negative, or zero where a machine cannot have zero (memory,
// bandwidth, devices).
Machine parse_machine(const nlohmann::json& json, const std::string& where);
// The text of a file: one machine, or {"sources": {...}, "machines": [...]}.
std::vector<Machine> parse_machines(std::string_view text, const std::string& where);
// What parse_machine reads. Values that are not known are left out.
nlohmann::ordered_json machine_to_json(const Machine& machine);

// A file with one machine, or with a list of them. Throws Error(kNotFound, kInvalidInput).
std::vector<Machine> load_machines(const std::string& path);

// The machines that are part of the program (data/machines.json), in the order of the file.
const std::vector<Machine>& machine_catalogue();
// One of them by name. Throws Error(kNotFound) listing the names.
const Machine& catalogue_machine(std::string_view name);

// What is wrong with a catalogue besides its form: a value without a source, a name twice, a figure
// that is not plausible (memory bandwidth against arithmetic, prices), sources older than a year
// before `today` (YYYY-MM-DD). One line each, empty if nothing is.
std::vector<std::string> catalogue_problems(std::span<const Machine> machines,
                                            const std::string& today);

}  // namespace dsv4
