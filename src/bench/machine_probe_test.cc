#include "bench/machine_probe.h"

#include "bench/kernel_bench.h"
#include "kernels/cpu/roofs.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include <cmath>
#include <filesystem>
#include <set>
#include <string>
#include <utility>

namespace dsv4 {
namespace {

namespace fs = std::filesystem;

bool is_rate(double value) { return std::isfinite(value) && value > 0; }

ProbeOptions quick_options() {
  ProbeOptions options;
  options.n_threads = 2;
  options.version = "1.2.3";
  options.date = "2026-01-31";
  options.quick = true;
  return options;
}

void expect_complete(const Probe& probe) {
  EXPECT_EQ(probe.version, "1.2.3");
  EXPECT_EQ(probe.isa, isa_name(best_isa()));
  EXPECT_EQ(probe.n_threads, 2);
  ASSERT_EQ(probe.read_by_threads.size(), 2u);
  for (const double rate : probe.read_by_threads) EXPECT_TRUE(is_rate(rate)) << rate;
  EXPECT_TRUE(is_rate(probe.product_call_s)) << probe.product_call_s;
  std::set<std::pair<std::string, int64_t>> products;
  for (const ProductRate& rate : probe.products) {
    EXPECT_TRUE(is_rate(rate.weights_per_s)) << rate.format << ": " << rate.weights_per_s;
    EXPECT_TRUE(std::isfinite(rate.spread) && rate.spread >= 0) << rate.format;
    EXPECT_TRUE(products.emplace(rate.format, rate.n_tokens).second) << rate.format;
  }
  for (const WeightFormat format : kernel_formats()) {
    for (const int64_t n : {1, 4}) {
      EXPECT_EQ(products.count({std::string(weight_format_name(format)), n}), 1u);
    }
  }
  EXPECT_EQ(products.size(), 2 * kernel_formats().size());
  EXPECT_EQ(probe.operations.size(), 17u);  // each is looked at in operation_bench_test.cc
}

TEST(MachineProbe, measures_a_machine_that_can_be_planned_for) {
  const fs::path folder = fs::path(::testing::TempDir()) / "machine_probe";
  fs::create_directories(folder);
  ProbeOptions options = quick_options();
  options.disk_folder = folder;
  double last = -1;
  const Machine machine = probe_machine(options, [&](const std::string& what, double done) {
    EXPECT_FALSE(what.empty());
    EXPECT_GT(done, last);
    EXPECT_LT(done, 1);
    last = done;
  });
  EXPECT_GT(last, 0.9);
  EXPECT_TRUE(fs::is_empty(folder));
  fs::remove_all(folder);

  EXPECT_EQ(machine.name, "this");
  EXPECT_EQ(machine.date, "2026-01-31");
  EXPECT_NE(machine.title.find("2 threads"), std::string::npos) << machine.title;
  EXPECT_TRUE(is_rate(machine.memory_bytes));
  EXPECT_TRUE(is_rate(machine.usable_bytes()));
  for (const double rate : {machine.rates.read, machine.rates.int8, machine.rates.f32,
                            machine.disk.read, machine.disk.latency_s}) {
    EXPECT_TRUE(is_rate(rate)) << rate;
  }
  EXPECT_NE(machine.note.find("spread of the rates: read "), std::string::npos) << machine.note;
  EXPECT_NE(machine.note.find("disk: "), std::string::npos) << machine.note;
  ASSERT_TRUE(machine.probe.has_value());
  expect_complete(*machine.probe);
}

TEST(MachineProbe, reads_no_more_with_many_threads) {
  constexpr int64_t kMiB = int64_t{1} << 20;
  for (const int n_threads : {1, 4, 16}) EXPECT_EQ(roof_bytes_per_thread(n_threads), 256 * kMiB);
  EXPECT_EQ(roof_bytes_per_thread(128), 32 * kMiB);
  EXPECT_EQ(roof_bytes_per_thread(128, kMiB), kMiB);
  const int64_t of_48 = roof_bytes_per_thread(48);
  EXPECT_LE(48 * of_48, 4096 * kMiB);
  EXPECT_EQ(of_48 % 4096, 0);
}

TEST(MachineProbe, can_be_written_and_read_without_a_disk) {
  const Machine machine = probe_machine(quick_options(), {});
  EXPECT_EQ(machine.disk.read, 0);
  EXPECT_NE(machine.note.find("disk not measured"), std::string::npos) << machine.note;
  const Machine again =
      parse_machine(nlohmann::json::parse(machine_to_json(machine).dump()), "probe");
  EXPECT_EQ(again.note, machine.note);
  ASSERT_TRUE(again.probe.has_value());
  EXPECT_EQ(again.probe->products.size(), machine.probe->products.size());
  EXPECT_EQ(again.probe->operations.size(), machine.probe->operations.size());
}

}  // namespace
}  // namespace dsv4
