#include "base/error.h"
#include "base/mapped_file.h"
#include "plan/machine.h"

#include <algorithm>

#include <fmt/core.h>
#include <fmt/ranges.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

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

using Json = nlohmann::ordered_json;

// As the table has them: 1,307.4.
std::string figure(double value) {
  std::string text = fmt::format("{:.2f}", value);
  while (text.back() == '0') text.pop_back();
  if (text.back() == '.') text.pop_back();
  for (size_t at = std::min(text.find('.'), text.size()); at > 3; at -= 3) text.insert(at - 3, ",");
  return text;
}

std::string figure_or_nothing(double value) { return value > 0 ? figure(value) : ""; }

// FP32 is the last resort.
std::string arithmetic_of(const DeviceRates& rates) {
  std::vector<std::string> parts;
  const auto add = [&](const char* name, double rate) {
    if (rate > 0) parts.push_back(fmt::format("{} {}", name, figure(rate * 1e-12)));
  };
  add("BF16", rates.bf16);
  add("FP8", rates.fp8);
  add("INT8", rates.int8);
  add("FP4", rates.fp4);
  if (rates.bf16 == 0) add("FP32", rates.f32);
  return parts.empty() ? "not known" : fmt::format("{}", fmt::join(parts, ", "));
}

std::string price_of(const MachinePrice& price) {
  if (price.per_hour > 0) return fmt::format("{} an hour ({})", figure(price.per_hour), price.date);
  if (price.purchase > 0) return fmt::format("{} ({})", figure(price.purchase), price.date);
  return "";
}

void collect_sources(const Json& fields, std::vector<std::string>& ids) {
  for (const Json& field : fields) {
    if (!field.is_object() || !field.contains("source")) continue;
    const auto id = field["source"].get<std::string>();
    if (std::ranges::find(ids, id) == ids.end()) ids.push_back(id);
  }
}

// In the order of the file, each as a link if it is a page; without assumptions and calculations.
std::string sources_of(const Json& machine, const Json& sources) {
  std::vector<std::string> ids;
  collect_sources(machine, ids);
  if (machine.contains("price")) collect_sources(machine["price"], ids);
  std::vector<std::string> cells;
  for (const std::string& id : ids) {
    const Json& source = sources[id];
    const auto title = source["title"].get<std::string>();
    if (title.starts_with("assumption") || title.starts_with("calculated:")) continue;
    cells.push_back(source.contains("url")
                        ? fmt::format("[{}]({})", id, source["url"].get<std::string>())
                        : id);
  }
  return cells.empty() ? "assumptions" : fmt::format("{}", fmt::join(cells, ", "));
}

std::string row_of(const Machine& m, const std::string& sources) {
  constexpr double kGib = 1 << 30;
  const std::string devices = m.n_devices > 1 ? fmt::format("{} x ", m.n_devices) : "";
  const std::vector<std::string> cells = {"`" + m.name + "`",
                                          m.title,
                                          devices + figure(m.memory_bytes / kGib),
                                          figure(m.rates.read * 1e-9),
                                          arithmetic_of(m.rates),
                                          figure_or_nothing(m.link * 1e-9),
                                          figure_or_nothing(m.host_memory_bytes / kGib),
                                          price_of(m.price),
                                          sources};
  return fmt::format("| {} |", fmt::join(cells, " | "));
}

TEST(Catalogue, is_the_table_of_the_documentation) {
  const std::string text = read_file(DSV4_SOURCE_DIR "/docs/hardware.md");
  std::vector<std::string> rows;
  for (size_t at = text.find("\n| `"); at != std::string::npos; at = text.find("\n| `", at + 1)) {
    rows.push_back(text.substr(at + 1, text.find('\n', at + 1) - at - 1));
  }
  const Json file = Json::parse(read_file(DSV4_SOURCE_DIR "/data/machines.json"));
  const std::vector<Machine>& machines = machine_catalogue();
  ASSERT_EQ(rows.size(), machines.size());
  for (size_t i = 0; i < machines.size(); ++i) {
    EXPECT_EQ(rows[i], row_of(machines[i], sources_of(file["machines"][i], file["sources"])));
  }
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
