#include "base/error.h"
#include "base/mapped_file.h"
#include "plan/machine.h"

#include <algorithm>

#include <fmt/core.h>
#include <fmt/ranges.h>
#include <gtest/gtest.h>

namespace dsv4 {
namespace {

constexpr const char* kToday = "2026-11-28";

// One with nothing wrong.
Machine good() {
  Machine machine;
  machine.name = "box";
  machine.memory_bytes = 64e9;
  machine.rates.read = 80e9;
  machine.rates.f32 = 1e12;
  machine.price.per_hour = 1;
  machine.price.date = kToday;
  machine.date = kToday;
  const Source sheet{"A data sheet", "", kToday};
  for (const char* key : {"memory_gib", "read_gb_s", "f32_tflops", "price.per_hour"}) {
    machine.sources[key] = sheet;
  }
  return machine;
}

std::vector<std::string> problems_of(const Machine& machine) {
  return catalogue_problems(std::span(&machine, 1), kToday);
}

TEST(Catalogue, has_no_problems_on_the_day_of_its_figures) {
  const std::vector<Machine>& machines = machine_catalogue();
  std::string date;
  for (const Machine& machine : machines) {
    date = std::max({date, machine.date, machine.price.date});
  }
  const std::vector<std::string> problems = catalogue_problems(machines, date);
  EXPECT_TRUE(problems.empty()) << fmt::format("{}", fmt::join(problems, "\n"));
}

TEST(Catalogue, has_the_machines_that_people_ask_about) {
  for (const char* name :
       {"mac-studio-192", "mac-studio-512", "mi300x", "2x-h100-nvl", "4x-h100-pcie", "8x-h100",
        "h200", "8x-h200", "8x-b200", "dgx-spark", "rtx-4090", "rtx-5090", "epyc-genoa",
        "epyc-turin", "laptop-16", "laptop-32", "laptop-64", "desktop-64"}) {
    EXPECT_EQ(catalogue_machine(name).name, name);
  }
  const Machine& node = catalogue_machine("8x-h100");
  EXPECT_EQ(node.kind, DeviceKind::kGpu);
  EXPECT_EQ(node.n_devices, 8);
  EXPECT_EQ(node.memory_bytes, 80.0 * (1 << 30));
  EXPECT_EQ(node.rates.read, 3.35e12);
  EXPECT_EQ(node.sources.at("read_gb_s").title, "G. Lockwood, H100 SXM5, dense");
  // The M3 Ultra was never sold with 192 GB, which the title must not hide.
  EXPECT_NE(catalogue_machine("mac-studio-192").title.find("M2 Ultra"), std::string::npos);
}

TEST(Catalogue, is_the_table_of_the_documentation) {
  const std::string text = read_file(DSV4_SOURCE_DIR "/docs/hardware.md");
  size_t at = 0;
  for (const Machine& machine : machine_catalogue()) {
    const std::string row = fmt::format("\n| `{}` | {} |", machine.name, machine.title);
    at = text.find(row, at);
    ASSERT_NE(at, std::string::npos) << row;
  }
  EXPECT_EQ(text.find("\n| `", at + 1), std::string::npos);
}

TEST(Catalogue, lists_its_names_when_there_is_no_such_machine) {
  try {
    catalogue_machine("cray-1");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kNotFound);
    EXPECT_EQ(error.where(), "cray-1");
    EXPECT_NE(std::string(error.what()).find("8x-b200"), std::string::npos);
  }
}

TEST(CatalogueProblems, are_none_for_a_good_machine) {
  EXPECT_EQ(problems_of(good()), std::vector<std::string>{});
}

TEST(CatalogueProblems, name_a_value_without_a_source) {
  Machine machine = good();
  machine.sources.erase("read_gb_s");
  machine.price.watts = 100;
  EXPECT_EQ(problems_of(machine), (std::vector<std::string>{"box: read_gb_s has no source",
                                                            "box: price.watts has no source"}));
}

TEST(CatalogueProblems, name_a_figure_in_a_wrong_unit) {
  Machine machine = good();
  machine.rates.read = 80e6;  // megabytes taken for gigabytes
  const std::vector<std::string> problems = problems_of(machine);
  ASSERT_EQ(problems.size(), 2u);
  EXPECT_EQ(problems[0], "box: seconds to read all memory once is 800, expected 0.001 to 60");
  EXPECT_EQ(problems[1], "box: operations per byte of memory read is 1.25e+04, expected 1 to 3000");
  machine = good();
  machine.price.per_hour = 400;
  EXPECT_EQ(
      problems_of(machine),
      (std::vector<std::string>{"box: price per hour and device is 400, expected 0.01 to 100"}));
}

TEST(CatalogueProblems, name_a_narrow_type_that_is_slower_than_a_wide_one) {
  Machine machine = good();
  machine.rates.fp8 = 0.5e12;
  machine.sources["fp8_tflops"] = machine.sources["f32_tflops"];
  EXPECT_EQ(problems_of(machine),
            (std::vector<std::string>{"box: fp8_tflops is below that of a wider type"}));
}

TEST(CatalogueProblems, name_what_is_there_twice_old_or_undated) {
  const Machine twice[] = {good(), good()};
  EXPECT_EQ(catalogue_problems(twice, kToday),
            (std::vector<std::string>{"box: the name is there twice"}));
  Machine machine = good();
  machine.date = "";
  machine.price.date = "2025-11-01";
  machine.sources["f32_tflops"].date = "2027-01-01";
  EXPECT_EQ(
      problems_of(machine),
      (std::vector<std::string>{
          "box: the entry has no date", "box: the price is of 2025-11-01, more than a year ago",
          "box: the source of f32_tflops is of 2027-01-01, which is yet to come"}));
  EXPECT_THROW(catalogue_problems(twice, "2026"), Error);
}

TEST(CatalogueProblems, want_the_memory_of_a_host) {
  Machine machine = good();
  machine.kind = DeviceKind::kGpu;
  EXPECT_EQ(problems_of(machine), (std::vector<std::string>{"box: host_memory_gib is missing"}));
}

}  // namespace
}  // namespace dsv4
