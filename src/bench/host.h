// What the system tells about the computer that this runs on.
#pragma once

#include "plan/machine.h"

#include <filesystem>
#include <string>
#include <vector>

namespace dsv4 {

// The processor's name, "unknown" where the system does not tell.
std::string processor_name(const std::filesystem::path& root = "/");

struct HostMemory {
  double total = 0;   // bytes, those that this process may use where a control group has a limit
  double in_use = 0;  // of them, by this and other processes; what the page cache holds is free
};

// From <root>/proc and <root>/sys. Throws Error(kUnsupported) where the system does not tell.
HostMemory host_memory(const std::filesystem::path& root = "/");

// GPUs that the system knows of, by name as far as their drivers tell one.
std::vector<std::string> gpu_names(const std::filesystem::path& root = "/");

// The PCIe links of those GPUs, and network interfaces that are up and have hardware of their own.
// What the system does not tell, or tells in a way that makes no sense, stays 0.
std::vector<SystemLink> system_links(const std::filesystem::path& root = "/");

}  // namespace dsv4
