#include "bench/host.h"

#include "base/error.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>

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

}  // namespace
}  // namespace dsv4
