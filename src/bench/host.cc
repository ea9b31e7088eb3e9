#include "bench/host.h"

#include "base/error.h"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <optional>
#include <string_view>
#include <system_error>

#include <fmt/core.h>

namespace dsv4 {
namespace {

namespace fs = std::filesystem;

// Of the form "name: value" or "name value": the value without the space around it; "" if there is
// no such line.
std::string value_of(const fs::path& path, std::string_view name) {
  constexpr const char* kSpace = " \t:";
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with(name)) continue;
    const std::string_view rest = std::string_view(line).substr(name.size());
    const size_t begin = rest.find_first_not_of(kSpace);
    if (begin == 0 || begin == std::string_view::npos) continue;  // a longer name, or nothing
    return std::string(rest.substr(begin, rest.find_last_not_of(kSpace) + 1 - begin));
  }
  return "";
}

std::string first_line(const fs::path& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

// The number that a text begins with.
std::optional<double> number(std::string_view text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc()) return std::nullopt;
  return value;
}

double kilobytes(const fs::path& meminfo, std::string_view name) {
  const auto value = number(value_of(meminfo, name));
  if (value && *value > 0) return *value * 1024;
  throw Error(ErrorCode::kUnsupported, meminfo.string(),
              fmt::format("has no {}, which the memory of this machine is read from", name));
}

// The names of files by which a version of control groups tells what one may use and uses.
struct GroupFiles {
  const char* limit;
  const char* usage;
  std::vector<std::string_view> cache;  // lines of memory.stat
};

// Lowers what is there by the limits of a group and all those that it is in.
void apply_group(const fs::path& mount, const fs::path& group, const GroupFiles& files,
                 HostMemory& memory) {
  for (fs::path path = group.relative_path();; path = path.parent_path()) {
    const fs::path folder = mount / path;
    const auto limit = number(first_line(folder / files.limit));  // "max" is none
    const auto usage = number(first_line(folder / files.usage));
    if (limit && usage && *limit < memory.total) {
      double cached = 0;
      for (const std::string_view name : files.cache) {
        cached += number(value_of(folder / "memory.stat", name)).value_or(0);
      }
      const double of_group = *limit - std::max(0.0, *usage - cached);
      const double free = std::clamp(memory.total - memory.in_use, 0.0, std::max(0.0, of_group));
      memory = {.total = *limit, .in_use = *limit - free};
    }
    if (path.empty()) return;
  }
}

void apply_groups(const fs::path& root, HostMemory& memory) {
  const fs::path mount = root / "sys/fs/cgroup";
  std::ifstream file(root / "proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {  // id:controllers:path
    const size_t first = line.find(':');
    const size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const fs::path group = line.substr(second + 1);
    if (controllers.empty()) {
      apply_group(mount, group, {"memory.max", "memory.current", {"inactive_file", "active_file"}},
                  memory);
    } else if (("," + controllers + ",").find(",memory,") != std::string::npos) {
      apply_group(mount / "memory", group,
                  {"memory.limit_in_bytes",
                   "memory.usage_in_bytes",
                   {"total_inactive_file", "total_active_file"}},
                  memory);
    }
  }
}

// Names come from firmware and drivers; they are written to a file of JSON and to terminals.
std::string printable(std::string name) {
  constexpr size_t kMaxName = 64;
  name.resize(std::min(name.size(), kMaxName));
  for (char& c : name) {
    if (c < ' ' || c > '~') c = '?';
  }
  return name;
}

// The entries of a folder by name; none where there is no such folder.
std::vector<fs::path> entries(const fs::path& folder) {
  std::vector<fs::path> paths;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    paths.push_back(it->path());
  }
  std::ranges::sort(paths);
  return paths;
}

struct Gpu {
  std::string name;
  fs::path device;  // its folder among those of PCI
};

std::vector<Gpu> gpus(const fs::path& root) {
  std::vector<Gpu> found;
  for (const fs::path& gpu : entries(root / "proc/driver/nvidia/gpus")) {  // by PCI address
    const std::string model = value_of(gpu / "information", "Model");
    found.push_back({model.empty() ? "NVIDIA GPU" : printable(model),
                     root / "sys/bus/pci/devices" / gpu.filename()});
  }
  const bool has_nvidia = !found.empty();
  for (const fs::path& card : entries(root / "sys/class/drm")) {
    const std::string name = card.filename().string();
    if (!name.starts_with("card") || name.find('-') != std::string::npos) continue;  // an output
    const std::string vendor = first_line(card / "device/vendor");
    // Others are displays of servers and virtual machines.
    const char* maker = vendor == "0x1002"                  ? "AMD"
                        : vendor == "0x8086"                ? "Intel"
                        : vendor == "0x10de" && !has_nvidia ? "NVIDIA"
                                                            : nullptr;
    if (maker == nullptr) continue;
    const std::string product = first_line(card / "device/product_name");
    const std::string id = fmt::format("{} GPU {}", maker, first_line(card / "device/device"));
    found.push_back({printable(product.empty() ? id : product), card / "device"});
  }
  return found;
}

// Bytes per second each way of a PCI device's link as it is ("current") or as the device could have
// it ("max"); 0 where that is not known.
double pcie_rate(const fs::path& device, const std::string& which) {
  constexpr double kMostSpeed = 128;  // GT/s, of the seventh generation
  constexpr double kMostWidth = 32;   // an unknown one is 255
  const double speed = number(first_line(device / (which + "_link_speed"))).value_or(0);
  const double width = number(first_line(device / (which + "_link_width"))).value_or(0);
  // Written so that NaN is out of range.
  if (!(speed >= 1 && speed <= kMostSpeed && width >= 1 && width <= kMostWidth)) return 0;
  // What the encoding leaves: 8 of 10 bits, then 128 of 130, then 242 of the 256 bytes of a unit.
  const double share = speed <= 5 ? 8.0 / 10 : speed <= 32 ? 128.0 / 130 : 242.0 / 256;
  return speed * 1e9 / 8 * width * share;
}

double network_rate(const fs::path& interface) {
  constexpr double kMostSpeed = 1e8;  // Mbit/s; an unknown one is -1 or 2^32 - 1
  const double speed = number(first_line(interface / "speed")).value_or(0);
  return speed > 0 && speed <= kMostSpeed ? speed * 1e6 / 8 : 0;
}

}  // namespace

std::string processor_name(const fs::path& root) {
  const std::string name = value_of(root / "proc/cpuinfo", "model name");
  return name.empty() ? "unknown" : printable(name);
}

HostMemory host_memory(const fs::path& root) {
  const fs::path meminfo = root / "proc/meminfo";
  const double total = kilobytes(meminfo, "MemTotal");
  HostMemory memory{.total = total, .in_use = total - kilobytes(meminfo, "MemAvailable")};
  apply_groups(root, memory);
  return memory;
}

std::vector<std::string> gpu_names(const fs::path& root) {
  std::vector<std::string> names;
  for (const Gpu& gpu : gpus(root)) names.push_back(gpu.name);
  return names;
}

std::vector<SystemLink> system_links(const fs::path& root) {
  std::vector<SystemLink> links;
  for (const Gpu& gpu : gpus(root)) {
    links.push_back({.name = gpu.name,
                     .kind = LinkKind::kPcie,
                     .rate = pcie_rate(gpu.device, "current"),
                     .most = pcie_rate(gpu.device, "max")});
  }
  std::error_code ignored;
  for (const fs::path& interface : entries(root / "sys/class/net")) {
    // Bridges, tunnels, the loopback and the like have no device.
    if (!fs::exists(interface / "device", ignored)) continue;
    if (first_line(interface / "operstate") != "up") continue;
    links.push_back({.name = printable(interface.filename().string()),
                     .kind = LinkKind::kNetwork,
                     .rate = network_rate(interface)});
  }
  return links;
}

}  // namespace dsv4
