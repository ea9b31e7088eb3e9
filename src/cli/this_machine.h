// The machine that this runs on, as the planner knows it, and where that is kept between runs.
#pragma once

#include "plan/machine.h"

#include <filesystem>
#include <optional>

namespace dsv4::cli {

// A file among those that the program keeps for itself: $XDG_STATE_HOME/dsv4/NAME, else
// ~/.local/state/dsv4/NAME. Throws Error(kNotFound) where neither is set.
std::filesystem::path state_file(const char* name);

inline constexpr const char* kMachineFile = "machine.json";
inline constexpr const char* kRecordFile = "plans.jsonl";

// Measures it, with a progress bar, and writes the file. Half a minute. The disk is that of the
// file. A link to another machine that was measured before stays.
Machine probe_this_machine();
// Writes the file.
void keep_machine(const Machine& machine);

// As it was measured by this version of the program; its memory as it is now. Nothing where that
// has not been done.
std::optional<Machine> known_machine();
// The same, or else measured now.
Machine this_machine();

// The most memory that this process has had in use since reset_peak_memory(), in bytes; 0 where the
// system does not tell.
void reset_peak_memory();
double peak_memory();

}  // namespace dsv4::cli
