// Measures the computer that this runs on, as a machine that the planner can plan for: memory, disk
// and the speed of this program's own kernels. Well under a minute.
#pragma once

#include "kernels/cpu/cpu_ops.h"
#include "plan/machine.h"

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

namespace dsv4 {

struct ProbeOptions {
  int n_threads = 0;  // 0 is one for each of the allowed cores
  Isa isa = best_isa();
  bool pin = false;                   // threads stay on cores
  std::filesystem::path disk_file;    // a model's, which is only read; or
  std::filesystem::path disk_folder;  // where a file is made for it; with neither, no disk
  int64_t disk_block_bytes = int64_t{8} << 20;
  std::string version;  // of dsv4
  std::string date;     // today, YYYY-MM-DD
  bool quick = false;   // tiny sizes and times, of which nothing is learned: for tests
};

// What is measured next, and which share of the work is done.
using ProbeProgress = std::function<void(const std::string& what, double done)>;

// A machine named "this". Throws Error of bench_disk, and kUnsupported where the system does not
// tell its memory or refuses to pin threads.
Machine probe_machine(const ProbeOptions& options, const ProbeProgress& progress);

}  // namespace dsv4
