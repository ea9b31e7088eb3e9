#include "bench/host.h"

#include "base/error.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <fmt/core.h>

namespace dsv4 {
namespace {

namespace fs = std::filesystem;

constexpr double kGiB = 1024.0 * 1024 * 1024;

// A folder with the files that a system would show, until the end of the test.
class Root {
 public:
  explicit Root(const std::string& name) : path_(fs::path(::testing::TempDir()) / name) {
    fs::remove_all(path_);
  }
  ~Root() { fs::remove_all(path_); }
  Root(const Root&) = delete;
  Root& operator=(const Root&) = delete;

  Root& with(const std::string& file, const std::string& text) {
    fs::create_directories((path_ / file).parent_path());
    std::ofstream(path_ / file) << text;
    return *this;
  }
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

// 64 GiB, of which 48 are available.
const char* const kMeminfo =
    "MemTotal:       67108864 kB\nMemFree:        1000 kB\nMemAvailable:   50331648 kB\n";

TEST(Host, reads_the_name_of_the_processor) {
  Root root("host_cpu");
  EXPECT_EQ(processor_name(root.path()), "unknown");
  root.with("proc/cpuinfo", "vendor_id\t: X\nmodel\t\t: 17\nmodel name\t: A 9 core\n");
  EXPECT_EQ(processor_name(root.path()), "A 9 core");
}

TEST(Host, reads_memory_and_what_is_in_use) {
  Root root("host_memory");
  root.with("proc/meminfo", kMeminfo);
  const HostMemory memory = host_memory(root.path());
  EXPECT_EQ(memory.total, 64 * kGiB);
  EXPECT_EQ(memory.in_use, 16 * kGiB);
}

TEST(Host, throws_where_memory_is_not_told) {
  Root root("host_nothing");
  root.with("proc/meminfo", "MemTotal: 100 kB\n");
  try {
    host_memory(root.path());
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kUnsupported);
    EXPECT_NE(std::string(error.what()).find("MemAvailable"), std::string::npos);
  }
}

TEST(Host, heeds_the_limit_of_a_group_that_its_own_is_in) {
  Root root("host_group2");
  root.with("proc/meminfo", kMeminfo)
      .with("proc/self/cgroup", "0::/a/b\n")
      .with("sys/fs/cgroup/a/b/memory.max", "max\n")
      .with("sys/fs/cgroup/a/b/memory.current", "1000\n")
      .with("sys/fs/cgroup/a/memory.max", "8589934592\n")      // 8 GiB
      .with("sys/fs/cgroup/a/memory.current", "5368709120\n")  // 5 GiB, 2 of them cache
      .with("sys/fs/cgroup/a/memory.stat",
            "anon 1\nfile 9\ninactive_file 1073741824\nactive_file 1073741824\n");
  const HostMemory memory = host_memory(root.path());
  EXPECT_EQ(memory.total, 8 * kGiB);
  EXPECT_EQ(memory.in_use, 3 * kGiB);
}

TEST(Host, heeds_the_limit_of_a_group_of_the_first_version) {
  Root root("host_group1");
  root.with("proc/meminfo", kMeminfo)
      .with("proc/self/cgroup", "7:cpu,cpuacct:/x\n5:memory:/not/visible/here\n")
      .with("sys/fs/cgroup/memory/memory.limit_in_bytes", "51539607552\n")  // 48 GiB
      .with("sys/fs/cgroup/memory/memory.usage_in_bytes", "2147483648\n")
      .with("sys/fs/cgroup/memory/memory.stat", "total_inactive_file 1073741824\n");
  const HostMemory memory = host_memory(root.path());
  EXPECT_EQ(memory.total, 48 * kGiB);
  EXPECT_EQ(memory.in_use, 1 * kGiB);
}

TEST(Host, leaves_a_group_no_more_than_the_system_has) {
  Root root("host_busy");
  root.with("proc/meminfo", "MemTotal: 67108864 kB\nMemAvailable: 4194304 kB\n")
      .with("proc/self/cgroup", "0::/\n")
      .with("sys/fs/cgroup/memory.max", "34359738368\n")
      .with("sys/fs/cgroup/memory.current", "0\n");
  const HostMemory memory = host_memory(root.path());
  EXPECT_EQ(memory.total, 32 * kGiB);
  EXPECT_EQ(memory.in_use, 28 * kGiB);
}

TEST(Host, lists_gpus_once_and_no_outputs) {
  Root root("host_gpus");
  EXPECT_TRUE(gpu_names(root.path()).empty());
  root.with("proc/driver/nvidia/gpus/0000:01:00.0/information",
            "Model: \t\t NVIDIA H100 PCIe\nIRQ:   \t\t 99\n")
      .with("sys/class/drm/card0/device/vendor", "0x10de\n")
      .with("sys/class/drm/card1/device/vendor", "0x1002\n")
      .with("sys/class/drm/card1/device/device", "0x744c\n")
      .with("sys/class/drm/card1-DP-1/device/vendor", "0x1002\n")
      .with("sys/class/drm/card2/device/vendor", "0x1234\n")
      .with("sys/class/drm/card3/device/vendor", "0x1002\n")
      .with("sys/class/drm/card3/device/product_name", "Instinct MI300X\n");
  EXPECT_EQ(gpu_names(root.path()),
            (std::vector<std::string>{"NVIDIA H100 PCIe", "AMD GPU 0x744c", "Instinct MI300X"}));
}

SystemLink only_link(const Root& root) {
  const std::vector<SystemLink> links = system_links(root.path());
  EXPECT_EQ(links.size(), 1u);
  return links.empty() ? SystemLink{} : links[0];
}

TEST(Host, tells_what_pcie_links_of_gpus_carry) {
  Root root("host_pcie");
  EXPECT_TRUE(system_links(root.path()).empty());
  const std::string device = "sys/class/drm/card0/device/";
  root.with(device + "vendor", "0x1002\n").with(device + "product_name", "Instinct MI300X\n");
  EXPECT_EQ(only_link(root).name, "Instinct MI300X");
  EXPECT_EQ(only_link(root).kind, LinkKind::kPcie);
  EXPECT_EQ(only_link(root).rate, 0);  // not told
  const auto rate = [&](const char* speed, const char* width) {
    root.with(device + "current_link_speed", speed).with(device + "current_link_width", width);
    return only_link(root).rate;
  };
  EXPECT_DOUBLE_EQ(rate("2.5 GT/s PCIe\n", "16\n"), 4e9);  // saves power
  EXPECT_DOUBLE_EQ(rate("5 GT/s\n", "1\n"), 0.5e9);
  EXPECT_DOUBLE_EQ(rate("8.0 GT/s PCIe\n", "16\n"), 16e9 * 128 / 130);
  EXPECT_DOUBLE_EQ(rate("32.0 GT/s PCIe\n", "8\n"), 32e9 * 128 / 130);
  EXPECT_DOUBLE_EQ(rate("64.0 GT/s PCIe\n", "16\n"), 128e9 * 242 / 256);
  EXPECT_EQ(only_link(root).most, 0);
  root.with(device + "max_link_speed", "32.0 GT/s PCIe\n").with(device + "max_link_width", "16\n");
  EXPECT_DOUBLE_EQ(only_link(root).most, 64e9 * 128 / 130);
}

TEST(Host, finds_the_link_of_a_gpu_that_a_driver_lists_by_its_address) {
  Root root("host_nvidia_link");
  const std::string device = "sys/bus/pci/devices/0000:01:00.0/";
  root.with("proc/driver/nvidia/gpus/0000:01:00.0/information", "Model: NVIDIA H100 PCIe\n")
      .with("sys/class/drm/card0/device/vendor", "0x10de\n")
      .with(device + "max_link_speed", "32.0 GT/s PCIe\n")
      .with(device + "max_link_width", "16\n");
  EXPECT_EQ(only_link(root).name, "NVIDIA H100 PCIe");
  EXPECT_DOUBLE_EQ(only_link(root).most, 64e9 * 128 / 130);
}

TEST(Host, takes_no_pcie_link_from_what_makes_no_sense) {
  Root root("host_pcie_strange");
  const std::string device = "sys/class/drm/card0/device/";
  root.with(device + "vendor", "0x1002\n");
  const std::string strange[] = {"",     "Unknown", "0",        "-1",
                                 "nan",  "inf",     "255",      "1e300",
                                 "1e-9", "\n16",    "\xff\xfe", std::string(9999, '9')};
  for (const std::string& value : strange) {
    root.with(device + "current_link_speed", "8.0 GT/s").with(device + "current_link_width", value);
    EXPECT_EQ(only_link(root).rate, 0) << value;
    root.with(device + "current_link_speed", value).with(device + "current_link_width", "16");
    EXPECT_EQ(only_link(root).rate, 0) << value;
  }
}

TEST(Host, tells_rates_of_network_interfaces_that_are_up) {
  Root root("host_network");
  const auto add = [&](const std::string& name, const char* state, const std::string& speed) {
    const std::string folder = "sys/class/net/" + name;
    root.with(folder + "/operstate", state).with(folder + "/speed", speed);
  };
  add("lo", "unknown\n", "");
  add("docker0", "up\n", "10000\n");  // a bridge: no device
  add("eth0", "up\n", "100000\n");
  add("eth1", "down\n", "1000\n");
  add("eth2", "up\n", "-1\n");  // as virtual machines tell it
  for (const char* name : {"eth0", "eth1", "eth2"}) {
    root.with(fmt::format("sys/class/net/{}/device/vendor", name), "0x1af4\n");
  }
  const std::vector<SystemLink> links = system_links(root.path());
  ASSERT_EQ(links.size(), 2u);
  EXPECT_EQ(links[0].name, "eth0");
  EXPECT_EQ(links[0].kind, LinkKind::kNetwork);
  EXPECT_EQ(links[0].rate, 12.5e9);
  EXPECT_EQ(links[1].name, "eth2");
  EXPECT_EQ(links[1].rate, 0);
  for (const char* strange : {"4294967295", "fast", "", "1e300", "nan", "-inf", "0"}) {
    root.with("sys/class/net/eth0/speed", strange);
    EXPECT_EQ(system_links(root.path()).at(0).rate, 0) << strange;
  }
}

TEST(Host, makes_names_printable_and_short) {
  Root root("host_names");
  root.with("proc/cpuinfo", "model name\t: A\x1b[2J\xff\n")
      .with("sys/class/net/e\xc3(/operstate", "up\n")
      .with("sys/class/net/e\xc3(/device/vendor", "0x1af4\n")
      .with("sys/class/drm/card0/device/vendor", "0x1002\n")
      .with("sys/class/drm/card0/device/product_name", std::string(5000, 'x'));
  EXPECT_EQ(processor_name(root.path()), "A?[2J?");
  EXPECT_EQ(gpu_names(root.path()).at(0), std::string(64, 'x'));
  EXPECT_EQ(system_links(root.path()).at(1).name, "e?(");
}

}  // namespace
}  // namespace dsv4
